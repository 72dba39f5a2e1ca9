"""`tags`: what a configuration selects, and what it names in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from rich.console import Console

    from config import Config

    from ..datasets.tags import Inventory
    from ..plan.ahead import FutureTags

__all__ = ["tags"]

EXIT_UNRESOLVED = 1
_COLUMNS = {
    "name": "name",
    "point_type": "type",
    "engineering_units": "units",
    "descriptor": "descriptor",
    "tag_webid": "WebID",
}


@click.command(
    epilog=examples(
        "python -m engine tags -c plant.yaml --limit 20",
        "python -m engine tags -c plant.yaml --set extraction.tag_name_filter='BOILER*'",
    )
)
@configured
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Most tags to list; 0: all.")
@as_json
def tags(path: str | None, overrides: tuple[str, ...], limit: int, json_wanted: bool) -> int:
    """List the tags a configuration selects.

    Exit code 1 if the configuration names tags that cannot be found. With --json all of them are
    listed unless --limit is given.
    """
    import asyncio

    from config import check_runnable

    from ..plan.ahead import future_tags
    from .options import loaded
    from .terminal import print_json, results

    config = loaded(path, overrides).config
    check_runnable(config)
    inventory = asyncio.run(_found(config))
    ahead = future_tags(config.extraction, inventory.tags)
    if json_wanted:
        given = click.get_current_context().get_parameter_source("limit") is not click.core.ParameterSource.DEFAULT
        print_json(_as_dict(inventory, ahead, limit if given else 0))
    else:
        _print(results(), inventory, ahead, limit)
    return EXIT_UNRESOLVED if inventory.unresolved else 0


async def _found(config: Config) -> Inventory:
    from ..datasets.tags import find_tags
    from ..wiring import connect

    async with connect(config) as source:
        return await find_tags(source.client, config.extraction)


def _as_dict(inventory: Inventory, ahead: FutureTags, limit: int) -> dict[str, Any]:
    shown = inventory.rows.slice(0, limit or None).select([*_COLUMNS, "path", "digital_set", "future"])
    return {
        "count": len(inventory.tags),
        "future": ahead.tags,
        "tags": shown.to_pylist(),
        "unresolved": [{"tag": tag, "reason": reason} for tag, reason in inventory.unresolved],
    }


def _print(console: Console, inventory: Inventory, ahead: FutureTags, limit: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from .terminal import count, plain

    shown = inventory.rows.slice(0, limit or None)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in _COLUMNS.values():
        table.add_column(title, overflow="fold" if title in {"name", "WebID"} else "ellipsis", no_wrap=title == "type")
    for row in shown.to_pylist():
        table.add_row(*(Text(plain(row[name] or "")) for name in _COLUMNS))
    if shown.num_rows:
        console.print(table)
    more = f"; --limit 0 lists all, here are {count(shown.num_rows)}" if shown.num_rows < len(inventory.tags) else ""
    console.print(Text(f"{count(len(inventory.tags), 'tag')} selected{more}", style="bold"))
    if ahead.tags:
        console.print(Text(str(ahead), style="yellow" if ahead.undecided else ""), soft_wrap=True)
    if inventory.unresolved:
        console.print(Text(f"{count(len(inventory.unresolved))} not found:", style="bold yellow"))
        for tag, reason in inventory.unresolved:
            console.print(Text(f"  {plain(tag)}: {plain(reason)}"), soft_wrap=True)
