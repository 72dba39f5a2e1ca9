"""Forecasts, over loopback into real tables: after each run a table equals the source up to now and the horizon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.run import run
from engine.simulator import Simulator, SimulatorOptions, forecast_events
from engine.simulator.times import iso
from engine.telemetry.report import RunReport
from tests.exactness.expected import Row, assert_same_rows, expected_rows, rows_of, web_id_of
from tests.exactness.plant import BEGIN, BEGIN_TEXT, HOUR, MINUTE, Plant, text_of
from tests.exactness.reading import read_table, rows_in, version_of

NOON = BEGIN + 12 * HOUR
# Two ordinary tags, then two forecasts, issued every hour for twelve.
OPTIONS = SimulatorOptions(
    tags=4,
    future_tags=2,
    begin=BEGIN_TEXT,
    now=NOON / 1e6,
    interval_secs=420,
    types=(("Float32", 1.0), ("Digital", 1.0), ("String", 1.0)),
    shapes=(("steady", 1.0), ("crowded", 1.0)),
    future_renewed_secs=3600,
    future_reach_secs=12 * 3600,
)
FORECASTS = (2, 3)


@dataclass
class Source:
    """A plant whose clock goes on between runs, and the lake it is brought into."""

    simulator: Simulator
    plant: Plant
    url: str
    low: int = NOON - 3 * HOUR

    @property
    def now(self) -> int:
        return self.simulator.now() // 10

    def set_clock(self, now: int) -> None:
        self.simulator.set_clock(now * 10)

    async def read(self, **extraction: Any) -> RunReport:
        sections = {"extraction": {"start_date": text_of(self.low), "max_count_per_tag": 50, **extraction}}
        return await run(self.plant.config(self.url, **sections))

    def rows(self, index: int, start: int, end: int) -> list[Row]:
        """What the source shows now, edits and all."""
        return rows_of(self.simulator.point(index), self.simulator.truth(index, start * 10, end * 10))

    def mark(self, index: int) -> dict[str, int | None]:
        """What is done of a tag, by all its rows in the checkpoint table."""
        rows = [row for row in _marks(self.plant.watermarks) if row["tag_webid"] == web_id_of(index)]
        presents = [row["ahead_from"] for row in rows if row["ahead_from"] is not None]
        return {
            "low": min(row["low"] for row in rows),
            "high": max(row["high"] for row in rows),
            "ahead_from": max(presents, default=None),
        }

    def assert_equal(self, high: int, *, present: int | None = None, tags: int = 4) -> None:
        """The table holds what the source shows now: of forecasts up to `high`, of other tags up to now."""
        expected = [row for index in (0, 1) for row in self.rows(index, self.low, self.now)]
        for index in range(2, tags):
            expected += self.rows(index, self.low, high)
            assert self.mark(index) == {"low": self.low, "high": high, "ahead_from": present or self.now}
        assert_same_rows(rows_in(self.plant.timeseries), expected)


def _marks(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa

    table = read_table(path)
    for name in ("low", "high", "ahead_from"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    rows = table.select(["dataset", "tag_webid", "low", "high", "ahead_from"]).to_pylist()
    return [row for row in rows if row["dataset"] == "recorded"]


@asynccontextmanager
async def source_of(root: Path) -> AsyncIterator[Source]:
    simulator = Simulator(OPTIONS)
    async with simulator.serve() as url:
        yield Source(simulator, Plant(root, OPTIONS), url)


async def test_run_after_run_the_table_equals_the_newest_forecast(tmp_path: Path) -> None:
    """Renewals, a longer horizon, a shorter one, none at all, and one again; by the closed form alone."""
    high = 0
    async with source_of(tmp_path) as source:
        for minutes, horizon in (
            (0, "4h"), (0, "4h"), (5, "4h"), (60, "4h"), (61, "9h"), (100, "9h"), (200, "2h"), (330, None), (335, None),
            (600, None), (720, "1h"), (2000, "20h"), (2001, "20h"),
        ):  # fmt: skip
            source.set_clock(NOON + minutes * MINUTE)
            report = await source.read(**({} if horizon is None else {"future_horizon": horizon}))
            assert report.status == "succeeded"
            high = max(high, source.now + (int(horizon[:-1]) * HOUR if horizon else 0))
            expected = expected_rows(OPTIONS, (0, 1), source.low, source.now)
            for index in FORECASTS:
                found = forecast_events(OPTIONS, index, source.low * 10, high * 10, source.now * 10)
                expected += rows_of(source.simulator.point(index), found)
            assert_same_rows(rows_in(source.plant.timeseries), expected, f"after {minutes} minutes")
            source.assert_equal(high)


async def test_a_renewal_is_counted_as_what_it_did_and_looking_again_for_nothing_writes_nothing(tmp_path: Path) -> None:
    async with source_of(tmp_path) as source:
        await source.read(future_horizon="4h")
        version = version_of(source.plant.timeseries)
        idle = await source.read(future_horizon="4h")
        assert (idle.records_written, idle.commits, bool(idle.corrections)) == (0, 0, False)
        assert version_of(source.plant.timeseries) == version
        before = {row[:4]: row for index in FORECASTS for row in source.rows(index, source.now, NOON + 4 * HOUR)}
        source.set_clock(NOON + HOUR)
        renewed = await source.read(future_horizon="4h")
        after = {row[:4]: row for index in FORECASTS for row in source.rows(index, NOON, NOON + 4 * HOUR)}
        counts = renewed.corrections
        assert (counts.inserted, counts.deleted) == (
            len(after.keys() - before.keys()),
            len(before.keys() - after.keys()),
        )
        assert counts.changed == sum(before[key] != after[key] for key in before.keys() & after.keys())
        assert min(counts.inserted, counts.changed, counts.deleted) > 0


async def test_edits_ahead_are_mended_wherever_they_are(tmp_path: Path) -> None:
    async with source_of(tmp_path) as source:
        await source.read(future_horizon="8h")
        ahead = source.simulator.truth(2, NOON * 10, (NOON + 8 * HOUR) * 10)
        source.simulator.change(
            {"tag": 2, "action": "delete", "at": iso(ahead[-1].ticks)},
            {"tag": 2, "action": "replace", "at": iso(ahead[3].ticks), "value": 47.11},
            {"tag": 3, "action": "insert", "at": iso((NOON + 7 * HOUR) * 10 + 5), "value": 8.15},
            {"tag": 3, "action": "delete", "at": iso(NOON * 10), "until": iso((NOON + 5 * HOUR) * 10)},
        )
        report = await source.read(future_horizon="8h")
        assert report.corrections.inserted == 1
        assert report.corrections.deleted > 10
        source.assert_equal(NOON + 8 * HOUR)


async def test_what_was_forecast_before_its_time_came_is_mended_long_after(tmp_path: Path) -> None:
    """Between two runs forecasts were renewed many times, and most of what was ahead is over."""
    async with source_of(tmp_path) as source:
        await source.read(future_horizon="8h")
        source.set_clock(NOON + 50 * HOUR)
        await source.read(future_horizon="1h")
        source.assert_equal(NOON + 51 * HOUR)


async def test_a_forecast_point_that_is_new_is_read_ahead_at_once(tmp_path: Path) -> None:
    async with source_of(tmp_path) as source:
        await source.read(future_horizon="8h")
        source.set_clock(NOON + HOUR)
        made = {"tag": "Price.DayAhead", "action": "create_point", "at": BEGIN_TEXT, "interval": "30m", "future": True}
        source.simulator.change(made)
        report = await source.read(future_horizon="8h")
        assert report.tags_extracted == 5
        source.assert_equal(NOON + 9 * HOUR, tags=5)
        assert source.rows(4, source.now, NOON + 9 * HOUR)
        points = {row["name"]: row["future"] for row in read_table(source.plant.tags).to_pylist()}
        assert points["Price.DayAhead"]
        assert sum(points.values()) == 3


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_full_mode_reads_ahead_and_the_history_behind(tmp_path: Path, order: str) -> None:
    full = {"mode": "full", "backfill_order": order, "future_horizon": "8h"}
    async with source_of(tmp_path) as source:
        source.low = BEGIN + HOUR
        report = await source.read(**full)
        assert report.status == "succeeded"
        source.assert_equal(NOON + 8 * HOUR)
        source.set_clock(NOON + 30 * HOUR)
        source.low = BEGIN
        await source.read(**full)
        source.assert_equal(NOON + 38 * HOUR)


async def test_the_lag_is_for_what_has_come_and_the_lookback_for_what_is_over(tmp_path: Path) -> None:
    async with source_of(tmp_path) as source:
        chosen = {"future_horizon": "2h", "lag": "10m", "lookback": "1h"}
        await source.read(**chosen)
        late, later = NOON * 10 - 5 * MINUTE * 10, (NOON - 65 * MINUTE) * 10
        source.simulator.change(
            {"tag": 2, "action": "insert", "at": iso(late), "value": 1.0},
            {"tag": 2, "action": "insert", "at": iso(later), "value": 2.0},
        )
        source.set_clock(NOON + 90 * MINUTE)
        report = await source.read(**chosen)
        assert report.status == "succeeded"
        assert source.mark(2) == {"low": source.low, "high": NOON + 210 * MINUTE, "ahead_from": NOON + 80 * MINUTE}
        found = [row for row in rows_in(source.plant.timeseries) if row[0] == web_id_of(2)]
        assert_same_rows(found, source.rows(2, source.low, NOON + 210 * MINUTE))


async def test_without_a_horizon_a_run_says_that_there_is_more(tmp_path: Path) -> None:
    async with source_of(tmp_path) as source:
        report = await source.read()
        [note] = report.warnings
        assert note.startswith("2 tags store future data and are read up to now; what lies ahead is read with ")
        source.assert_equal(NOON)
        assert (await source.read(future_horizon="0s")).warnings == ()
        assert (await source.read(future_horizon="1h")).warnings == ()
        source.assert_equal(NOON + HOUR)
