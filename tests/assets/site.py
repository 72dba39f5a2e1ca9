"""A simulated asset server, the tables that it is brought into, and what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from config import Config, from_mapping
from engine.commands.verify.assets import AssetsCheck, verify_assets
from engine.plan.shards import Shard
from engine.run import run
from engine.simulator import FaultPlan, Simulator, SimulatorOptions
from engine.simulator.assets.edits import AssetEdit
from engine.telemetry.report import RunReport
from tests.assets import truth
from tests.exactness.plant import settings
from tests.exactness.reading import is_table, read_table, version_of
from tests.memory_lakehouse import MemoryLakehouse
from writers import Lakehouse
from writers.asset_tables import ASSET_TABLES

__all__ = ["NAMES", "Site", "in_memory", "served"]

NOW = 1_709_640_000.0  # 2024-03-05T12:00:00Z
NAMES = tuple(spec.name for spec in ASSET_TABLES)
OWN = ("first_seen", "last_updated", "deleted_at")
# The columns by which tables of short rows are compared.
_SHORT = {
    "pi_asset_templates": ("template_name", "base_template", "instance_type", "description"),
    "pi_enumeration_values": ("set_name", "value_code", "value_name"),
    "pi_asset_categories": ("category_of", "category_name"),
    "pi_units_of_measure": ("unit_class", "unit_name", "abbreviation", "reference_unit"),
}


@dataclass
class Site:
    """One server and one lake. `lakehouse`: where the tables are, if they are not in a folder below `root`."""

    simulator: Simulator
    url: str
    root: Path
    lakehouse: Lakehouse | None = None
    last: Counter[str] = field(default_factory=Counter)

    async def run(
        self,
        shard: Shard = Shard(),  # noqa: B008 - a frozen value
        on_step: Callable[[str], None] = lambda _step: None,
        **sections: Any,
    ) -> RunReport:
        """A run that reads nothing but assets. `last` says what it has asked for, the parts of batches with `sub`."""
        log = self.simulator.requests
        before = Counter(log.routes) + _named(log.sub_routes)
        report = await run(self.config(**sections), shard=shard, on_step=on_step)
        self.last = Counter(log.routes) + _named(log.sub_routes) - before
        return report

    def config(self, **sections: Any) -> Config:
        document = settings(
            self.root,
            self.url,
            extraction={"datasets": ["assets"], **sections.pop("extraction", {})},
            asset_framework={"enabled": True, **sections.pop("assets", {})},
            **sections,
        )
        return from_mapping(document, env={}).config

    async def verify(self, **sections: Any) -> AssetsCheck:
        """What `verify` finds. It must write nothing."""
        before = files_below(self.root)
        found = await verify_assets(self.config(**sections))
        assert files_below(self.root) == before
        return found

    def change(self, action: str, **edit: Any) -> int:
        return self.simulator._site.change_assets(msgspec.convert({"action": action, **edit}, AssetEdit))

    # --- tables ----------------------------------------------------------------

    def stored(self, table: str) -> list[dict[str, Any]]:
        """All rows, also those of what is gone."""
        if self.lakehouse is not None:
            spec = next(one for one in ASSET_TABLES if one.name == table)
            rows: list[dict[str, Any]] = self.lakehouse.table(spec).open().read().read_all().to_pylist()
            return rows
        path = self.root / "main/bronze" / table
        return read_table(path).to_pylist() if is_table(path) else []

    def living(self, table: str) -> list[dict[str, Any]]:
        return [row for row in self.stored(table) if row["deleted_at"] is None]

    def versions(self) -> dict[str, int]:
        """The newest version of each table: a run that commits nothing changes none."""
        if self.lakehouse is not None:
            return {spec.name: self.lakehouse.table(spec).open().version for spec in ASSET_TABLES}
        return {name: version_of(self.root / "main/bronze" / name) for name in NAMES}

    def tables(self) -> dict[str, Any]:
        """What the tables hold, in the form of `truth.everything`."""
        found: dict[str, Any] = {}
        for name in NAMES:
            rows = self.living(name)
            if name in _SHORT:
                found[name] = sorted(tuple(row[column] for column in _SHORT[name]) for row in rows)
            elif name == "pi_asset_template_attributes":
                names = {row["template_webid"]: row["template_name"] for row in self.stored("pi_asset_templates")}
                found[name] = sorted(
                    (names[row["template_webid"]], row["attribute_name"], row["is_inherited"]) for row in rows
                )
            else:
                found[name] = truth.ordered([{k: v for k, v in row.items() if k not in OWN} for row in rows])
        return found

    def assert_exact(self) -> None:
        """The tables equal the source."""
        found, wanted = self.tables(), truth.everything(self.simulator)
        for name in NAMES:
            assert found[name] == wanted[name], name
            keys = Counter(map(_key(name), self.stored(name)))
            assert not keys or max(keys.values()) == 1, name


def files_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def _key(table: str) -> Any:
    key = next(one for one in ASSET_TABLES if one.name == table).grain.key
    return lambda row: tuple(row[name] for name in key)


def _named(sub_routes: Mapping[str, int]) -> Counter[str]:
    return Counter({f"sub {route}": count for route, count in sub_routes.items()})


@asynccontextmanager
async def served(
    root: Path,
    *,
    rules: Iterable[Mapping[str, Any]] = (),
    switches: Mapping[str, Any] | None = None,
    lakehouse: Lakehouse | None = None,
    **options: Any,
) -> AsyncIterator[Site]:
    """A server whose clock stands still. `rules` and `switches` are those of a fault plan."""
    faults = FaultPlan.from_dict({"rules": list(rules), "switches": dict(switches or {})})
    plant = {"tags": 20, "elements": 130, "now": NOW, "begin": "2024-03-05T00:00:00Z"}
    simulator = Simulator(SimulatorOptions(faults=faults, **plant | options))
    async with simulator.serve() as url:
        yield Site(simulator, url, root, lakehouse)


@asynccontextmanager
async def in_memory(root: Path, **options: Any) -> AsyncIterator[Site]:
    """As `served`, with tables in memory: where reading is tested, and other tests have the same tables in files."""
    lakehouse = MemoryLakehouse()
    with patch("engine.run.connect.lakehouse_of", lambda _config, **_kinds: lakehouse):
        async with served(root, lakehouse=lakehouse, **options) as site:
            yield site
