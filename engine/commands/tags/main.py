"""Carries out `tags`: lists the tags that the configuration selects, and those it names that cannot be found."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config import Config, check_runnable

from ...datasets.tags import Inventory, selected_tags
from ...plan.future_data import FutureTags, future_tags
from ...run.connect import connect
from ...telemetry.formats import count
from ..exit_status import CommandResult
from ..options import load_config
from ..terminal import print_json, stdout_console

EXIT_UNRESOLVED = 1
_LIMIT = 50
_COLUMNS = {
    "name": "name",
    "point_type": "type",
    "engineering_units": "units",
    "descriptor": "descriptor",
    "tag_webid": "WebID",
}


def main(*, path: str | None, overrides: tuple[str, ...], limit: int | None, json_wanted: bool) -> CommandResult:
    config = load_config(path, overrides).config
    check_runnable(config)
    inventory = asyncio.run(_find(config))
    future = future_tags(config.extraction, inventory.tags)
    if json_wanted:
        print_json(_as_dict(inventory, future, limit or 0))
    else:
        _print(stdout_console(), inventory, future, _LIMIT if limit is None else limit)
    if not inventory.unresolved:
        return CommandResult()
    return CommandResult(EXIT_UNRESOLVED, f"tags: {count(len(inventory.unresolved), 'tag')} cannot be found")


async def _find(config: Config) -> Inventory:
    async with connect(config) as source:
        return await selected_tags(source.client, source.url, config)


def _as_dict(inventory: Inventory, future: FutureTags, limit: int) -> dict[str, Any]:
    shown = inventory.rows.slice(0, limit or None).select([*_COLUMNS, "path", "digital_set", "future"])
    return {
        "count": len(inventory.tags),
        "attributes": inventory.attributes,
        "future": future.tags,
        "tags": shown.to_pylist(),
        "unresolved": [{"tag": tag, "reason": reason} for tag, reason in inventory.unresolved],
    }


def _print(console: Console, inventory: Inventory, future: FutureTags, limit: int) -> None:
    shown = inventory.rows.slice(0, limit or None)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in _COLUMNS.values():
        table.add_column(title, overflow="fold" if title in {"name", "WebID"} else "ellipsis", no_wrap=title == "type")
    for row in shown.to_pylist():
        table.add_row(*(Text(row[name] or "") for name in _COLUMNS))
    if shown.num_rows:
        console.print(table)
    more = f"; {count(shown.num_rows)} are listed, --limit 0 lists all" if shown.num_rows < len(inventory.tags) else ""
    of = f", {count(inventory.attributes)} of them attributes" if inventory.attributes else ""
    console.print(Text(f"{count(len(inventory.tags), 'tag')} selected{of}{more}", style="bold"))
    if future.tags:
        console.print(Text(str(future), style="yellow" if future.undecided else ""), soft_wrap=True)
    if inventory.unresolved:
        console.print(Text(f"{count(len(inventory.unresolved))} not found:", style="bold yellow"))
        for tag, reason in inventory.unresolved:
            console.print(Text(f"  {tag}: {reason}"), soft_wrap=True)
