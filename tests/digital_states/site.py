"""A simulated plant of digital tags that lives as long as a test wants, and what runs against it leave."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb

from engine.flow.stop import Stop
from engine.plan.shards import Shard
from engine.run import run
from engine.simulator import Simulator
from engine.simulator.archive.values import DIGITAL_SETS, SYSTEM_STATES
from engine.telemetry.events import DatasetSynced, RunEvent
from engine.telemetry.report import RunReport
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import read_table

__all__ = [
    "END", "LISTING", "STATES", "STATES_OF_EVENTS", "WHOLE", "Site", "joined", "named", "plant_of", "serving", "table_of",
    "used",
]  # fmt: skip

END = BEGIN + HOUR
DIGITAL = (("Digital", 3.0), ("Float32", 1.0))
WHOLE = {name: dict(enumerate(states)) for name, states in DIGITAL_SETS.items()} | {
    "SYSTEM": {code: name for name, code in SYSTEM_STATES.items()}
}
LISTING, STATES = "dataservers/*/enumerationsets", "enumerationsets/*/enumerationvalues"


class Site:
    """A server that lives as long as the test wants, and runs against it."""

    def __init__(self, plant: Plant, simulator: Simulator, url: str) -> None:
        self.plant, self.simulator, self.url = plant, simulator, url
        self.events: list[RunEvent] = []

    async def run(self, *, shard: Shard = Shard(), stop: Stop | None = None, **sections: Any) -> RunReport:  # noqa: B008
        self.events.clear()
        return await run(self.plant.config(self.url, **sections), shard=shard, stop=stop, emit=self.events.append)

    @property
    def synced(self) -> DatasetSynced:
        [event] = [
            event for event in self.events if isinstance(event, DatasetSynced) and event.dataset == "digital_states"
        ]
        return event

    async def control(self, path: str, body: Any) -> None:
        """As a driver in another process would."""
        request = urllib.request.Request(
            self.url.removesuffix("/piwebapi") + f"/simulator/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        await asyncio.to_thread(lambda: urllib.request.urlopen(request).close())

    async def change(self, action: str, digital_set: str, **more: Any) -> None:
        await self.control("changes", [{"action": action, "digital_set": digital_set, **more}])

    def asked(self) -> tuple[int, int, int]:
        """Lists of sets, states asked for one by one, and in batches, so far."""
        requests = self.simulator.requests
        return requests.routes[LISTING], requests.routes[STATES], requests.sub_routes[STATES]


@asynccontextmanager
async def serving(plant: Plant, faults: Mapping[str, Any] | None = None, now: int = END) -> AsyncIterator[Site]:
    simulator = plant.simulator(now, dict(faults) if faults else None)
    async with simulator.serve() as url:
        yield Site(plant, simulator, url)


def plant_of(root: Path, **options: Any) -> Plant:
    return Plant.of(root, **{"tags": 12, "types": DIGITAL, "interval_secs": 60, **options})


def table_of(plant: Plant) -> Path:
    return plant.root / "main" / "bronze" / "pi_digital_states"


def named(plant: Plant, *, gone: bool = False) -> dict[str, dict[int, str]]:
    """What another engine reads: names by set and code, of states that are there, or of those that are gone."""
    found: dict[str, dict[int, str]] = {}
    rows = read_table(table_of(plant)).to_pylist()
    assert len(rows) == len({(row["data_server"], row["digital_set"], row["state_code"]) for row in rows})
    for row in rows:
        assert row["data_server"] == "SIMDA"
        if (row["deleted_at"] is not None) == gone:
            found.setdefault(row["digital_set"], {})[row["state_code"]] = row["name"]
    return found


def used(plant: Plant) -> set[str]:
    return {row["digital_set"] for row in read_table(plant.tags).to_pylist() if row["digital_set"]}


def joined(plant: Plant, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        for table in ("pi_timeseries", "pi_tags", "pi_digital_states"):
            database.register(table, read_table(plant.root / "main" / "bronze" / table))
        return database.sql(sql).fetchall()


STATES_OF_EVENTS = """
    SELECT s.value_string, d.name, s.value_kind, d.digital_set, epoch_us(s.timestamp)
    FROM pi_timeseries AS s JOIN pi_tags AS t USING (tag_webid)
    LEFT JOIN pi_digital_states AS d ON d.data_server = t.data_server AND d.state_code = s.state_code
      AND d.digital_set = CASE WHEN s.value_kind = 'system' THEN 'SYSTEM' ELSE t.digital_set END
    WHERE s.state_code IS NOT NULL
"""
