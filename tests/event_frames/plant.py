"""A simulated plant with event frames, runs of the dataset against it, and what must then stand in the tables."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from config import from_mapping
from engine.datasets.dataset import SyncContext, SyncResult
from engine.datasets.event_frames import EVENT_FRAMES
from engine.datasets.request_mode import Mode
from engine.datasets.tags import Inventory
from engine.flow.stop import Stop
from engine.plan.run_scope import RunScope
from engine.plan.shards import Shard
from engine.run.connect import connect
from engine.simulator import FaultPlan, Simulator, SimulatorOptions
from engine.simulator.assets.frames import NO_END, PlantFrame
from engine.simulator.routes.asset_objects import attribute_web_id, element_web_id, frame_web_id
from engine.simulator.times import ticks_of
from tests.exactness.plant import BEGIN, BEGIN_TEXT, HOUR, settings, text_of
from writers import Lakehouse
from writers.asset_tables import (
    FRAME_TABLES,
    PI_EVENT_FRAME_ANNOTATIONS,
    PI_EVENT_FRAME_ATTRIBUTES,
    PI_EVENT_FRAME_ELEMENTS,
    PI_EVENT_FRAMES,
)

__all__ = ["DAY", "Plant", "serving", "stored", "versions"]

DAY = 24 * HOUR


class Plant:
    """A server that lives as long as the test wants, and runs against it. `now` is its clock, in microseconds."""

    def __init__(self, simulator: Simulator, url: str, lakehouse: Callable[[], Lakehouse]) -> None:
        self.simulator, self.url, self.lakehouse = simulator, url, lakehouse
        self._runs = 0

    @property
    def now(self) -> int:
        return self.simulator.now() // 10

    def advance(self, micros: int) -> None:
        self.simulator.set_clock(self.simulator.now() + micros * 10)

    def change(self, **edit: Any) -> int:
        plan = FaultPlan.from_dict({"asset_edits": [edit]})
        return self.simulator._site.change_assets(plan.asset_edits[0])

    def frames(self) -> list[PlantFrame]:
        """All frames there are."""
        return list(self.simulator._site.frames.overlapping(0, NO_END, self.simulator.now()))

    async def run(
        self,
        *,
        on_step: Callable[[str], None] = lambda _step: None,
        mode: Mode = Mode.BATCH,
        full: bool = False,
        scope: RunScope = RunScope.ALL,
        extraction: Mapping[str, Any] = {},
        **frames: Any,
    ) -> SyncResult:
        self._runs += 1
        sections = {
            "event_frames": {"enabled": True, "full_compare_every": "3650d", **frames},
            "extraction": {"start_date": BEGIN_TEXT, **extraction},
        }
        config = from_mapping(settings(Path("unused"), self.url, **sections)).config
        with ThreadPoolExecutor(1) as writer:
            async with connect(config) as source:
                result = await EVENT_FRAMES.sync(
                    SyncContext(
                        client=source.client,
                        base_url=source.url,
                        mode=mode,
                        config=config,
                        run_id=f"run {self._runs}",
                        lakehouse=self.lakehouse(),
                        shard=Shard(),
                        inventory=Inventory((), pa.table({}), (), complete=False, server_now=self.now),
                        writer=writer,
                        stop=Stop(),
                        full=full,
                        scope=scope,
                        on_step=on_step,
                    )
                )
        assert result is not None
        return result

    # --- what must be there -------------------------------------------------------------

    def web_id(self, frame: PlantFrame) -> str:
        return frame_web_id(self.simulator._site, "I", frame, self.simulator.now())

    def element(self, number: int) -> str:
        return element_web_id(self.simulator._site, "I", number)

    def assert_exact(self, *, values: bool = True) -> None:
        """The tables show what the server has now; rows of what is gone are marked, and there is no row twice."""
        site, now = self.simulator._site, self.simulator.now()
        frames = self.frames()
        by_number = {one.number: one for one in frames}
        elements = {one.number: [n for n in one.elements if site.plant.exists(n)] for one in frames}
        lake = self.lakehouse()
        expected = {
            self.web_id(one): {
                "event_name": one.name,
                "template_name": one.template,
                "start_time": one.start // 10,
                "end_time": None if one.end is None else one.end // 10,
                "is_open": one.end is None,
                "severity": one.severity,
                "description": one.description,
                "parent_webid": self.web_id(by_number[one.parent]) if one.parent in by_number else None,
                "is_acknowledged": one.acknowledged is not None,
                "acknowledged_by": one.acknowledged[0] if one.acknowledged else None,
                "acknowledged_at": one.acknowledged[1] // 10 if one.acknowledged else None,
                "is_locked": one.locked,
                "is_annotated": bool(one.notes),
                "values_captured": one.captured,
                "referenced_element_webids": [self.element(n) for n in elements[one.number]],
                "event_date": one.start // 10 // DAY,
            }
            for one in frames
        }
        found = {row["event_frame_webid"]: row for row in stored(lake, PI_EVENT_FRAMES)}
        assert found.keys() == expected.keys()
        for web_id, row in expected.items():
            assert {name: found[web_id][name] for name in row} == row
        assert {(r["event_frame_webid"], r["element_webid"], r["is_primary"]) for r in stored(lake, PI_EVENT_FRAME_ELEMENTS)} == {
            (self.web_id(one), self.element(n), place == 0) for one in frames for place, n in enumerate(elements[one.number])
        }  # fmt: skip
        assert sorted((r["event_frame_webid"], r["annotation_name"], r["creator"], r["created_at"]) for r in stored(lake, PI_EVENT_FRAME_ANNOTATIONS)) == sorted(
            (self.web_id(one), note.name, note.by, note.at // 10) for one in frames for note in one.notes
        )  # fmt: skip
        shown = {(r["event_frame_webid"], r["attribute_name"]): r for r in stored(lake, PI_EVENT_FRAME_ATTRIBUTES)}
        owned = {(self.web_id(one), a.name): (one, a) for one in frames for a in site.frames.attributes(one)}
        assert shown.keys() == owned.keys()
        for key, (frame, one) in owned.items():
            row = shown[key]
            assert row["attribute_webid"] == attribute_web_id(site, "I", one, frame, now)
            assert (row["captured"], row["units"], row["good"]) == (frame.captured, one.units[1], one.good)
            # Of what nobody has captured, each asking shows another number.
            if values and (frame.captured or not isinstance(one.value, float)):
                assert (row["value"], row["value_string"], row["state_code"]) == value_of(one.value)

    def request_counts(self) -> tuple[int, int]:
        """Requests, and requests within batches, so far."""
        return sum(self.simulator.requests.routes.values()), sum(self.simulator.requests.sub_routes.values())


def value_of(value: Any) -> tuple[Any, Any, Any]:
    if isinstance(value, dict) and "Errors" in value:
        return None, " ".join(value["Errors"]), None
    if isinstance(value, dict):
        return None, value["Name"], value["Value"]
    if isinstance(value, str):
        return None, value, None
    return value, None, None


def stored(lakehouse: Lakehouse, spec: Any, *, deleted: bool = False) -> list[dict[str, Any]]:
    """The rows of a table that are not marked as deleted, or those that are; times in microseconds. No key is there twice."""
    rows = lakehouse.table(spec).open().read().read_all()
    names = rows.schema.names
    plain = pa.table(
        [
            rows[f.name].cast(pa.int64()) if pa.types.is_timestamp(f.type)
            else rows[f.name].cast(pa.int32()) if pa.types.is_date(f.type) else rows[f.name]
            for f in rows.schema
        ],
        names,
    ).to_pylist()  # fmt: skip
    keys = [json.dumps([row[name] for name in spec.grain.key]) for row in plain]
    assert len(keys) == len(set(keys))
    assert all(row["first_seen"] <= row["last_updated"] for row in plain)
    return [row for row in plain if (row["deleted_at"] is not None) == deleted]


def versions(lakehouse: Lakehouse) -> list[int]:
    return [lakehouse.table(spec).open().version for spec in FRAME_TABLES]


@asynccontextmanager
async def serving(
    lakehouse: Callable[[], Lakehouse], *, days: float = 2, faults: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Plant]:
    """A plant whose clock stands `days` after its beginning."""
    now = BEGIN + round(days * DAY)
    given = {"tags": 1, "elements": 30, "frames_per_day": 12, "begin": BEGIN_TEXT, **options}
    if faults:
        given["faults"] = FaultPlan.from_dict(dict(faults))
    simulator = Simulator(SimulatorOptions(now=ticks_of(text_of(now)) / 1e7, **given))
    async with simulator.serve() as url:
        yield Plant(simulator, url, lakehouse)
