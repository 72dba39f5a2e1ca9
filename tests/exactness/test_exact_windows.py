"""Everything PI can hold, in every way of asking: what is in the table is what was recorded, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.simulator import SimulatorOptions
from tests.exactness.expected import assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, SECOND, Plant, text_of
from tests.exactness.reading import rows_in
from tests.variants import crossed, first_of

MODES = ("auto", "batch", "streamset", "single")
EVERY_TYPE = tuple((name, 1.0) for name in (
    "Float32", "Float64", "Float16", "Int32", "Int16", "Digital", "String", "Timestamp", "Blob"
))  # fmt: skip
EVERY_SHAPE = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))


def extraction(**settings: object) -> dict[str, dict[str, object]]:
    return {"extraction": settings}


@pytest.mark.parametrize("mode", MODES)
async def test_every_type_and_shape_lands_exactly(tmp_path: Path, mode: str) -> None:
    plant = Plant.of(tmp_path, tags=40, types=EVERY_TYPE, shapes=EVERY_SHAPE, bad=0.2, interval_secs=10)
    report = await plant.run(BEGIN + HOUR, **extraction(request_mode=mode))
    assert (report.status, report.exit_code) == ("succeeded", 0)
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    plant.assert_tags()
    assert {row[7] for row in rows_in(plant.timeseries)} == {
        "number", "string", "digital", "system", "timestamp", "blob", "null"
    }  # fmt: skip


@pytest.mark.parametrize("mode", MODES[1:])
async def test_pages_that_cut_anywhere_lose_and_repeat_nothing(tmp_path: Path, mode: str) -> None:
    """Pages of a few events, so that every cut falls between, and within, events of one microsecond."""
    plant = Plant.of(tmp_path, tags=12, shapes=EVERY_SHAPE, interval_secs=14)
    limits = {"performance": {"values_per_answer": 40, "commit_rows": 250}}
    report = await plant.run(BEGIN + 20 * MINUTE, **extraction(request_mode=mode, max_count_per_tag=5), **limits)
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + 20 * MINUTE)


@pytest.mark.parametrize(("max_count", "mode"), crossed([1, 2, 3], MODES[1:]))
async def test_pages_no_longer_than_one_crowded_microsecond_still_move(
    tmp_path: Path, mode: str, max_count: int
) -> None:
    plant = Plant.of(tmp_path, tags=4, shapes=(("crowded", 1.0), ("doubled", 1.0)), interval_secs=20)
    report = await plant.run(BEGIN + 5 * MINUTE, **extraction(request_mode=mode, max_count_per_tag=max_count))
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + 5 * MINUTE)


async def test_one_hertz_beside_one_a_day(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=30, profile="mixed", shapes=EVERY_SHAPE)
    limits = {"performance": {"values_per_answer": 1000}}
    report = await plant.run(BEGIN + HOUR, **extraction(request_mode="streamset", max_count_per_tag=200), **limits)
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + HOUR)


@pytest.mark.parametrize("mode", first_of(["streamset", "batch"]))
async def test_a_count_shared_by_a_whole_streamset_is_noticed(tmp_path: Path, mode: str) -> None:
    """Some servers may mean maxCount for all streams together; then answers are cut without a sign."""
    plant = Plant.of(tmp_path, tags=10, shapes=EVERY_SHAPE, interval_secs=30)
    report = await plant.run(
        BEGIN + HOUR,
        faults={"switches": {"streamset_max_count": "total"}},
        **extraction(request_mode=mode, max_count_per_tag=50),
    )
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + HOUR)


@pytest.mark.parametrize(("nan", "shows_snapshot"), crossed(["bare", "string", "null"], [True, False]))
async def test_dialects_of_servers(tmp_path: Path, nan: str, shows_snapshot: bool) -> None:
    """However NaN is written, and whether or not the newest event shows in a range that ends before it."""
    types = (("Float32", 1.0), ("Digital", 1.0))
    plant = Plant.of(tmp_path, tags=6, types=types, interval_secs=2, bad=0.0)
    switches = {"nan": nan, "recorded_shows_snapshot": shows_snapshot, "gzip": shows_snapshot}
    end = BEGIN + HOUR - MINUTE
    report = await plant.run(BEGIN + HOUR, faults={"switches": switches}, **extraction(end_date=text_of(end)))
    assert report.status == "succeeded"
    expected = plant.rows(range(6), BEGIN, end)
    assert any(row[4] == "nan" for row in expected)
    if nan == "null":
        # The server has already forgotten what it was; we keep what it says.
        expected = [row if row[4] != "nan" else (*row[:4], None, None, None, "null", *row[8:]) for row in expected]
    assert_same_rows(rows_in(plant.timeseries), expected)


@pytest.mark.parametrize("mode", first_of(MODES[1:]))
async def test_an_event_on_the_edge_belongs_to_the_window_it_begins(tmp_path: Path, mode: str) -> None:
    """Windows are half-open: the event at the end is the next run's, and comes once."""
    plant = Plant.of(tmp_path, tags=5, shapes=(("doubled", 1.0),), interval_secs=60)
    times = sorted({row[2] for row in plant.rows([0], BEGIN, BEGIN + HOUR)})
    first, second, third = times[10], times[20], times[30]
    window = {"start_date": text_of(first), "end_date": text_of(second), "request_mode": mode}
    await plant.run(BEGIN + HOUR, **extraction(**window))
    plant.assert_exact(first, second)
    await plant.run(BEGIN + HOUR, **extraction(**{**window, "end_date": text_of(third)}))
    plant.assert_exact(first, third)


@pytest.mark.parametrize("mode", first_of(MODES[1:]))
async def test_a_window_of_one_microsecond(tmp_path: Path, mode: str) -> None:
    plant = Plant.of(tmp_path, tags=3, shapes=(("crowded", 1.0),), interval_secs=60)
    crowded = next(row[2] for row in plant.rows([0], BEGIN, BEGIN + HOUR) if row[3] == 2)
    for at in (crowded - 1, crowded, crowded + 1):
        window = {"start_date": text_of(crowded - 1), "end_date": text_of(at + 1), "request_mode": mode}
        report = await plant.run(BEGIN + HOUR, **extraction(**window))
        assert report.status == "succeeded"
        plant.assert_exact(crowded - 1, at + 1)
    assert len(rows_in(plant.timeseries)) >= 3


async def test_a_window_that_ends_before_it_starts_asks_nothing(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=3)
    report = await plant.run(BEGIN + HOUR, **extraction(start_date=text_of(BEGIN + 2 * HOUR)))
    assert (report.status, report.records_written) == ("succeeded", 0)
    assert plant.count() == 0


async def test_tags_without_a_single_event_are_done_all_the_same(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=5, interval_secs=86_400)
    quiet = [i for i in range(5) if not plant.rows([i], BEGIN, BEGIN + HOUR)]
    assert quiet
    report = await plant.run(BEGIN + HOUR)
    assert report.tags_extracted == 5
    plant.assert_exact(BEGIN, BEGIN + HOUR)


async def test_windows_over_midnights_and_years(tmp_path: Path) -> None:
    """Slices end on midnights, and partitions are dates: events right at both must not fall between."""
    options = SimulatorOptions(tags=4, begin="1999-12-30T00:00:00Z", interval_secs=600, shapes=EVERY_SHAPE)
    plant = Plant(tmp_path, options)
    start, end = (BEGIN - 24 * 365 * 24 * HOUR), 0
    start = 946_598_400_000_000  # 1999-12-31
    end = start + 5 * 24 * HOUR + 7
    report = await plant.run(
        end, **extraction(start_date=text_of(start)), performance={"values_per_answer": 200, "commit_rows": 300}
    )
    assert report.status == "succeeded"
    plant.assert_exact(start, end)


async def test_a_buffer_smaller_than_an_answer_only_slows_down(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=20, interval_secs=5)
    small = {"buffer_bytes": 1000, "commit_rows": 1000, "values_per_answer": 1000, "fetchers": 8}
    report = await plant.run(BEGIN + HOUR, performance=small)
    assert report.status == "succeeded"
    assert report.commits > 5
    plant.assert_exact(BEGIN, BEGIN + HOUR)


async def test_the_same_events_for_every_commit_size(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=6, interval_secs=30, shapes=EVERY_SHAPE)
    report = await plant.run(
        BEGIN + 10 * MINUTE,
        performance={"commit_rows": 1, "values_per_answer": 20},
        **extraction(max_count_per_tag=10),
    )
    assert report.commits > 6
    plant.assert_exact(BEGIN, BEGIN + 10 * MINUTE)
    assert plant.mark(0).high == BEGIN + 600 * SECOND
    assert web_id_of(0) in plant.marks()


@pytest.mark.parametrize("mode", ["incremental", "full"])
async def test_a_window_that_has_not_begun_leaves_nothing_undone(tmp_path: Path, mode: str) -> None:
    plant = Plant.of(tmp_path, tags=3)
    report = await plant.run(BEGIN + HOUR, extraction={"mode": mode, "start_date": text_of(BEGIN + 2 * HOUR)})
    assert (report.status, report.exit_code, report.tags_undone) == ("succeeded", 0, 0)
    assert plant.count() == 0
