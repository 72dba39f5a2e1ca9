"""Compares the asset tables with the source, and shows what differs. Reads as a run does, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from config import Config
from writers import MirrorCheck, TableCheck

from ...datasets.asset_framework import ASSETS
from ...datasets.dataset import SyncContext
from ...datasets.request_mode import choose_mode
from ...datasets.tags import Inventory, ask_time
from ...flow.stop import Stop
from ...plan.shards import Shard
from ...run.connect import connect, lakehouse_of
from ...telemetry.formats import count, printable
from .repair import beside_runs

_KINDS = {
    "missing": "not in the table",
    "different": "not as in PI",
    "extra": "not in PI any more",
    "undecided": "PI neither shows nor denies it",
    "doubled": "more than once in the table",
}


@dataclass(frozen=True, slots=True)
class AssetsCheck:
    """What was compared of each table, and what could not be read, with the reason."""

    tables: tuple[TableCheck, ...]
    unread: tuple[tuple[str, str], ...] = ()

    @property
    def agrees(self) -> bool:
        return not self.unread and all(one.agrees for one in self.tables)


async def verify_assets(config: Config) -> AssetsCheck:
    """Read the assets, and compare them with the tables. Raises what the source and the destination raise.

    A run may be at work meanwhile. So this takes a share of the rate: `pi_web_api.share_of_verify`.
    """
    config, check = beside_runs(config), MirrorCheck()
    async with connect(config) as source:
        now = await ask_time(source.client, config.extraction)
        mode = await choose_mode(source.client, source.url, config.extraction.request_mode)
        with ThreadPoolExecutor(1) as writer:
            result = await ASSETS.sync(
                SyncContext(
                    client=source.client,
                    base_url=source.url,
                    mode=mode,
                    config=config,
                    run_id="verify",
                    lakehouse=lakehouse_of(config),
                    shard=Shard(),
                    inventory=Inventory((), pa.table({}), (), complete=False, server_now=now),
                    writer=writer,
                    stop=Stop(),
                    sync_mirror=check.sync,
                    on_undecided=check.undecided,
                )
            )
    found = check.tables
    tables = tuple(found[spec.name] for spec in ASSETS.tables if spec.name in found)
    return AssetsCheck(tables, () if result is None else result.unread)


def print_assets(console: Console, found: AssetsCheck, limit: int) -> None:
    """`limit`: the most names of each kind and table to print."""
    if found.agrees:
        total = sum(one.source for one in found.tables)
        text = f"Assets: PI and the tables agree on {count(total, 'row')} of {count(len(found.tables), 'table')}."
        console.print(text, soft_wrap=True)
        return
    for what, why in found.unread:
        console.print(Text(f"Assets not compared: {printable(what)}: {printable(why)}", style="bold yellow"))
    for one in found.tables:
        style = "" if one.agrees else "bold yellow"
        text = f"{count(one.source, 'row')} in PI, {count(one.held)} in the table"
        verb = "agrees" if one.agrees else "differs"
        console.print(Text(f"{one.table} {verb}: {text}", style=style), soft_wrap=True)
        for kind, of_kind in one.kinds.items():
            for name in of_kind.names[:limit]:
                console.print(Text(f"  {_KINDS[kind]}: {printable(name)}"), soft_wrap=True)
            if (more := of_kind.count - len(of_kind.names[:limit])) > 0:
                console.print(Text(f"  {_KINDS[kind]}: {count(more)} more"), soft_wrap=True)
    for hint in _hints(found):
        console.print(hint, soft_wrap=True)


def _hints(found: AssetsCheck) -> list[str]:
    def some(*kinds: str) -> bool:
        return any(one.kinds[kind].count for one in found.tables for kind in kinds)

    hints = []
    if some("missing", "different", "extra"):
        hints.append("`run --datasets assets` puts it right.")
    if some("undecided"):
        hints.append("A run keeps rows that PI neither shows nor denies: look whether the account may read them.")
    if some("doubled"):
        hints.append("A run keeps rows of one key: delete them, and `run --datasets assets` writes the row again.")
    return hints


def assets_failure(found: AssetsCheck | None) -> str | None:
    """One sentence on what differs; None where everything agrees."""
    if found is None or found.agrees:
        return None
    names = [one.table for one in found.tables if not one.agrees]
    parts = [f"{', '.join(names)} differ from PI"] if names else []
    parts += [f"{what} could not be compared" for what in dict.fromkeys(what for what, _ in found.unread)]
    return f"verify: {'; '.join(parts)}"


def assets_as_dict(found: AssetsCheck) -> dict[str, Any]:
    """As JSON values."""
    return {
        "tables": [_as_dict(one) for one in found.tables],
        "unread": [{"what": what, "reason": why} for what, why in found.unread],
    }


def _as_dict(one: TableCheck) -> Mapping[str, Any]:
    kinds = {name: {"rows": found.count, "names": found.names} for name, found in one.kinds.items()}
    return {"table": one.table, "rows_in_pi": one.source, "rows_in_table": one.held, **kinds}
