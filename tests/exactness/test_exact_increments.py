"""Many runs make the same table as one: whatever the clock does, whichever way the window grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.plan.shards import Shard
from tests.exactness.expected import assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant, text_of
from tests.exactness.reading import marks_in, read_table, rows_in
from tests.variants import slowly

EVERY_SHAPE = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))
WITHIN = {"start_date": "2024-03-05T02:00:00Z"}
TWO = BEGIN + 2 * HOUR


def plant_of(root: Path, **options: object) -> Plant:
    return Plant.of(root, **{"tags": 8, "shapes": EVERY_SHAPE, "interval_secs": 20, **options})


async def test_run_after_run_equals_one_run(tmp_path: Path) -> None:
    """Ends right before, on and after an event, no time at all, a microsecond, an hour."""
    plant = plant_of(tmp_path)
    event = next(row[2] for row in plant.rows([3], BEGIN + 10 * MINUTE, BEGIN + HOUR))
    for now in (BEGIN, BEGIN + 1, BEGIN + 61_234_567, event - 1, event, event + 1, event + 1, BEGIN + HOUR):
        report = await plant.run(now)
        assert report.status == "succeeded"
        if now > BEGIN:
            plant.assert_exact(BEGIN, now)


def files_of(plant: Plant) -> list[Path]:
    """All but those of the metrics table, which grows by a row with every run, and of the lease, which every run takes."""
    return sorted(path for path in plant.root.rglob("*.*") if {"monitoring", "_osipi"}.isdisjoint(path.parts))


async def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + HOUR)
    files = files_of(plant)
    report = await plant.run(BEGIN + HOUR)
    assert (report.status, report.records_written, report.commits) == ("succeeded", 0, 0)
    assert files_of(plant) == files


async def test_a_clock_that_goes_back_reads_nothing_twice(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + HOUR)
    report = await plant.run(BEGIN + HOUR // 2)
    assert (report.status, report.records_written) == ("succeeded", 0)
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    await plant.run(BEGIN + HOUR + MINUTE)
    plant.assert_exact(BEGIN, BEGIN + HOUR + MINUTE)


async def test_events_younger_than_the_lag_wait(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, sections={"extraction": {"lag": "90s"}})
    await plant.run(BEGIN + HOUR)
    plant.assert_exact(BEGIN, BEGIN + HOUR - 90_000_000)
    await plant.run(BEGIN + HOUR, extraction={"lag": "0s"})
    plant.assert_exact(BEGIN, BEGIN + HOUR)


async def test_an_end_that_is_still_to_come_is_the_present(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    end = {"end_date": text_of(BEGIN + 3 * HOUR)}
    await plant.run(BEGIN + HOUR, extraction=end)
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    await plant.run(BEGIN + 4 * HOUR, extraction=end)
    plant.assert_exact(BEGIN, BEGIN + 3 * HOUR)


@pytest.mark.parametrize("start", ["2024-03-05T00:30:00Z", "2024-03-05T03:00:00Z"])
async def test_in_incremental_mode_the_watermark_wins_over_the_start_date(tmp_path: Path, start: str) -> None:
    """Moved down, it reads nothing again; moved above the watermark, it leaves no hole."""
    plant = plant_of(tmp_path)
    await plant.run(TWO + HOUR // 2, extraction=WITHIN)
    await plant.run(TWO + 2 * HOUR, extraction={"start_date": start})
    plant.assert_exact(TWO, TWO + 2 * HOUR)


@pytest.mark.parametrize(
    ("mode", "max_count"), [("batch", 10_000), ("streamset", 7), *slowly(("batch", 7), ("single", 7))]
)
async def test_full_mode_grows_downward_from_the_watermark(tmp_path: Path, mode: str, max_count: int) -> None:
    """A backfill below what is there, over several midnights, page by page."""
    plant = plant_of(tmp_path, tags=4, interval_secs=600)
    after_midnights = BEGIN + 30 * HOUR
    limits = {"max_count_per_tag": max_count, "request_mode": mode}
    window = {"start_date": text_of(after_midnights), "end_date": text_of(after_midnights + HOUR)}
    await plant.run(after_midnights + 3 * HOUR, extraction={**window, **limits})
    report = await plant.run(
        after_midnights + 3 * HOUR,
        extraction={"mode": "full", "start_date": text_of(BEGIN + 123_456), **limits},
        performance={"values_per_answer": 100, "commit_rows": 500},
    )
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN + 123_456, after_midnights + 3 * HOUR)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (3, 4), *slowly((0, 4), (1, 2), (1, 3))])
async def test_full_mode_leaves_no_hole_between_windows(tmp_path: Path, low: int, high: int) -> None:
    """Wanted windows below, above, inside, around and touching what is done."""
    plant = plant_of(tmp_path, tags=4)
    done = {"start_date": text_of(TWO), "end_date": text_of(TWO + HOUR)}
    await plant.run(BEGIN + 9 * HOUR, extraction=done)
    wanted = {"start_date": text_of(BEGIN + low * HOUR), "end_date": text_of(BEGIN + high * HOUR)}
    for _ in range(2):  # and again, for nothing
        await plant.run(BEGIN + 9 * HOUR, extraction={"mode": "full", **wanted})
        plant.assert_exact(min(TWO, BEGIN + low * HOUR), max(TWO + HOUR, BEGIN + high * HOUR))


async def test_new_tags_begin_at_the_start_date_and_old_ones_go_on(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=5)
    await plant.run(BEGIN + HOUR)
    plant.options = replace(plant.options, tags=9)
    report = await plant.run(TWO)
    assert report.tags_extracted == 9
    plant.assert_exact(BEGIN, TWO)
    plant.assert_tags()


async def test_a_point_that_vanishes_stays_in_the_tables_and_is_marked(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=6)
    await plant.run(BEGIN + HOUR)
    everything = plant.options
    plant.options = replace(plant.options, tags=4)
    await plant.run(TWO)
    plant.assert_tags()
    [gone, also_gone] = [row for row in read_table(plant.tags).to_pylist() if row["deleted_at"] is not None]
    assert {gone["tag_webid"], also_gone["tag_webid"]} == {web_id_of(4), web_id_of(5)}
    expected = plant.rows(range(4), BEGIN, TWO)
    plant.options = everything
    assert_same_rows(rows_in(plant.timeseries), expected + plant.rows([4, 5], BEGIN, BEGIN + HOUR))


@pytest.mark.parametrize("count", [3, *slowly(1)])
async def test_all_shards_together_are_the_whole(tmp_path: Path, count: int) -> None:
    plant = plant_of(tmp_path, tags=20)
    for now in (BEGIN + HOUR, TWO):
        reports = [await plant.run(now, shard=Shard(index, count)) for index in range(count)]
        assert [report.status for report in reports] == ["succeeded"] * count
        assert sum(report.tags_requested for report in reports) == 20
        plant.assert_exact(BEGIN, now)
    plant.assert_tags()


async def test_another_division_of_the_tags_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=20)
    for shard in (Shard(0, 2), Shard(1, 2)):
        await plant.run(BEGIN + HOUR, shard=shard)
    for shard in (Shard(2, 3), Shard(0, 3), Shard(1, 3)):
        await plant.run(TWO, shard=shard)
    await plant.run(TWO + HOUR)
    plant.assert_exact(BEGIN, TWO + HOUR)


async def test_pipelines_share_a_table_and_nothing_else(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=6)
    some, others = [plant.name(i) for i in range(3)], [plant.name(i) for i in range(3, 6)]
    for now in (BEGIN + HOUR, TWO):
        await plant.run(now, pipeline="fast", extraction={"tag_name_filter": [], "tags": some})
    await plant.run(BEGIN + HOUR, pipeline="slow", extraction={"tag_name_filter": [], "tags": others})
    assert_same_rows(
        rows_in(plant.timeseries), plant.rows(range(3), BEGIN, TWO) + plant.rows(range(3, 6), BEGIN, BEGIN + HOUR)
    )
    assert {mark.high for mark in marks_in(plant.watermarks, "fast").values()} == {TWO}
    assert {mark.high for mark in marks_in(plant.watermarks, "slow").values()} == {BEGIN + HOUR}


@pytest.mark.parametrize("form", ["F", "path", "lower name", "all", *slowly("I", "P", "name")])
async def test_a_tag_may_be_named_in_every_way(tmp_path: Path, form: str) -> None:
    """Index 96 is a tag whose name is full of what a URL, a shell and a filter would trip over."""
    plant = plant_of(tmp_path, tags=98)
    indexes = [0, 7, 96, 97]
    simulator = plant.simulator(BEGIN)
    forms = {
        **{kind: [simulator.web_id(index, kind) for index in indexes] for kind in "FIP"},
        "path": [plant.path(index) for index in indexes],
        "name": [plant.name(index) for index in indexes],
        "lower name": [plant.name(index).lower() for index in indexes],
    }
    forms["all"] = [text for texts in forms.values() for text in texts]
    for now in (BEGIN + MINUTE, BEGIN + HOUR):
        report = await plant.run(now, extraction={"tag_name_filter": [], "tags": forms[form]})
        assert (report.status, report.tags_requested) == ("succeeded", 4)
        plant.assert_exact(BEGIN, now, indexes=indexes)
    plant.assert_tags(indexes)


async def test_what_cannot_be_found_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=4)
    wrong = [
        "\\\\SIMDA\\No.Such.Tag",
        "\\\\SIMDA\\Nope.000001",
        "\\\\ELSEWHERE\\Tag",
        plant.simulator(BEGIN).web_id(0)[:-6] + "zzzzzz",
    ]
    report = await plant.run(
        BEGIN + HOUR,
        extraction={"tag_name_filter": [], "tags": ["No.Such.Tag", *wrong[1:], plant.name(1), plant.path(2)]},
    )
    assert (report.status, report.exit_code, report.tags_extracted) == ("incomplete", 1, 2)
    assert dict(report.tags_failed).keys() == set(wrong)  # a name is looked up, and reported, by its path
    plant.assert_exact(BEGIN, BEGIN + HOUR, indexes=[1, 2])


async def test_filters_that_overlap_read_a_tag_once(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=12)
    report = await plant.run(
        BEGIN + HOUR, extraction={"tag_name_filter": ["*", "Unit0000.*", "*.00000?"], "tags": [plant.name(3)]}
    )
    assert report.tags_requested == 12
    plant.assert_exact(BEGIN, BEGIN + HOUR)
