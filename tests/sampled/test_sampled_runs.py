"""Whole runs that sample tags on a grid: pi_sampled equals what the server computes, once each point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigurationError
from engine.plan.shards import Shard
from tests.digital_states.site import serving
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant, text_of
from tests.exactness.reading import is_table, read_table, version_of
from tests.sampled.grid import expected, lies, rows_in, settings
from tests.variants import first_of

EVERY_KIND = (
    *("interpolated", "average", "minimum", "maximum", "range", "total", "stddev", "population_stddev"),
    *("percent_good", "count"),
)
SOME = ("interpolated", "average", "count")
NUMBERS = (("Float32", 1.0),)


def plant_of(root: Path, **options: Any) -> Plant:
    return Plant.of(root, **{"tags": 3, "types": NUMBERS, "interval_secs": 47, **options})


@pytest.mark.parametrize("mode", ["batch", *first_of(["streamset", "single"])])
async def test_every_kind_is_what_the_server_computes(tmp_path: Path, mode: str) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, now=BEGIN + 2 * HOUR) as site:
        report = await site.run(extraction=settings(*EVERY_KIND, request_mode=mode))
        wanted = expected(site, range(3), EVERY_KIND, BEGIN, BEGIN + 2 * HOUR)
        asked = site.simulator.requests
        summaries = asked.routes["streams/*/summary"] + asked.sub_routes["streams/*/summary"]
    assert report.status == "succeeded", report
    assert rows_in(plant) == sorted(wanted, key=str)
    assert {row.kind for row in rows_in(plant)} == set(EVERY_KIND)
    # Seven kinds share a call for each tag; percent_good and count have their own.
    assert summaries == {"batch": 9, "single": 9, "streamset": 0}[mode]


async def test_runs_between_two_points_write_nothing_and_later_ones_go_on(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    versions = []
    for now in (BEGIN + HOUR + MINUTE, BEGIN + HOUR + 9 * MINUTE, BEGIN + 3 * HOUR + MINUTE):
        async with serving(plant, now=now) as site:
            report = await site.run(extraction=settings(*SOME))
            wanted = expected(site, range(3), SOME[:1], BEGIN, now)
            wanted += expected(site, range(3), SOME[1:], BEGIN, now // (10 * MINUTE) * (10 * MINUTE))
        assert report.status == "succeeded", report
        assert rows_in(plant) == sorted(wanted, key=str)
        versions.append(version_of(lies(plant)))
    assert versions[0] == versions[1] < versions[2]


async def test_a_point_is_read_once_it_is_older_than_lag_and_lookback(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    extraction = settings(*SOME, lag="1m", lookback="29m")
    async with serving(plant, now=BEGIN + HOUR) as site:
        await site.run(extraction=extraction)
        wanted = expected(site, range(3), SOME[:1], BEGIN, BEGIN + 30 * MINUTE)
        wanted += expected(site, range(3), SOME[1:], BEGIN, BEGIN + 30 * MINUTE)
    assert rows_in(plant) == sorted(wanted, key=str)


async def test_what_is_edited_within_the_lookback_is_corrected(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    extraction = settings(*SOME, lookback="1h")
    async with serving(plant, now=BEGIN + 4 * HOUR) as site:
        await site.run(extraction=extraction)
        before = rows_in(plant)
        at = BEGIN + 2 * HOUR + 33 * MINUTE
        events = list(site.simulator.events(0, at * 10, (at + 10 * MINUTE) * 10))
        edit = {"at": text_of(events[0].ticks // 10), "value": 1234.5}
        await site.control("changes", [{"action": "insert", "tag": 0, **edit}])
        report = await site.run(extraction=extraction)
        wanted = expected(site, range(3), SOME[:1], BEGIN, BEGIN + 3 * HOUR)
        wanted += expected(site, range(3), SOME[1:], BEGIN, BEGIN + 3 * HOUR)
    assert report.status == "succeeded", report
    assert rows_in(plant) == sorted(wanted, key=str) != before
    assert report.corrections.changed >= 2


async def test_a_changed_interval_and_a_new_kind_are_read_from_the_start_and_mixed_with_nothing(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=2)
    end = BEGIN + 2 * HOUR
    async with serving(plant, now=end) as site:
        await site.run(extraction=settings("average"))
        await site.run(extraction=settings("average", "maximum", interval="30m"))
        wanted = expected(site, range(2), ["average"], BEGIN, end)
        wanted += expected(site, range(2), ["average", "maximum"], BEGIN, end, interval=30 * MINUTE)
    assert rows_in(plant) == sorted(wanted, key=str)


async def test_the_grid_can_be_read_without_recorded_values(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, now=BEGIN + HOUR) as site:
        report = await site.run(extraction=settings("average", datasets=["sampled"]))
        wanted = expected(site, range(3), ["average"], BEGIN, BEGIN + HOUR)
    assert (report.status, report.tags_extracted, report.records_written) == ("succeeded", 3, len(wanted))
    assert rows_in(plant) == wanted
    assert not is_table(plant.timeseries)


async def test_history_is_read_backwards_and_cut_where_the_server_has_its_limit(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    now = BEGIN + 36 * HOUR
    kinds, only = ("interpolated", "maximum"), {"datasets": ["sampled"]}
    async with serving(plant, {"switches": {"max_items": 20}}, now=now) as site:
        await site.run(extraction=settings(*kinds, start_date=text_of(now - HOUR), **only))
        report = await site.run(extraction=settings(*kinds, mode="full", max_count_per_tag=50, **only))
        wanted = expected(site, range(3), ["interpolated"], BEGIN, now)
        wanted += expected(site, range(3), ["maximum"], BEGIN, now)
    assert report.status == "succeeded", report
    assert rows_in(plant) == sorted(wanted, key=str)


async def test_shards_share_the_series(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=6)
    async with serving(plant, now=BEGIN + HOUR) as site:
        for index in range(2):
            report = await site.run(extraction=settings("average"), shard=Shard(index, 2))
            assert report.status == "succeeded", report
        wanted = expected(site, range(6), ["average"], BEGIN, BEGIN + HOUR)
    assert rows_in(plant) == wanted


async def test_only_chosen_tags_are_sampled_and_those_without_numbers_have_no_averages(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, types=(("String", 1.0),))
    async with serving(plant, now=BEGIN + HOUR) as site:
        name = site.simulator._site.point(1).name
        extraction = settings("interpolated", "average", "count")
        extraction["sampled"]["tags"] = [name.lower()]
        report = await site.run(extraction=extraction)
        wanted = expected(site, [1], ["interpolated"], BEGIN, BEGIN + HOUR)
        wanted += expected(site, [1], ["count"], BEGIN, BEGIN + HOUR)
    assert report.status == "succeeded", report
    assert report.warnings == (f"pi_sampled has no average of {name}: their values are no numbers",)
    assert rows_in(plant) == sorted(wanted, key=str)


async def test_what_the_server_refuses_is_the_error_of_one_tag(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    faults = {
        "rules": [
            {
                "match": {"route": "streams/*/summary", "tag": "*000001"},
                "do": {"status": 409, "body": {"Errors": ["The data reference does not support this."]}},
            }
        ]
    }
    async with serving(plant, faults, now=BEGIN + HOUR) as site:
        report = await site.run(extraction=settings("average", "interpolated"))
        wanted = expected(site, [0, 2], ["average"], BEGIN, BEGIN + HOUR)
        wanted += expected(site, range(3), ["interpolated"], BEGIN, BEGIN + HOUR)
        asked = site.simulator.requests
        summaries = asked.routes["streams/*/summary"] + asked.sub_routes["streams/*/summary"]
        failing = site.simulator._site.point(1).name
    assert report.status == "incomplete"
    [(tag, reason)] = report.tags_failed
    assert tag == failing
    assert "409" in reason
    assert (report.tags_extracted, report.tags_undone) == (2, 0)
    assert rows_in(plant) == sorted(wanted, key=str)
    assert summaries == 3, "it is not asked for piece by piece"


async def test_a_series_belongs_to_one_pipeline(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, now=BEGIN + HOUR) as site:
        await site.run(extraction=settings("average", datasets=["sampled"]), pipeline="one")
        with pytest.raises(ConfigurationError, match="pi_sampled"):
            await site.run(extraction=settings("average", datasets=["sampled"]), pipeline="two")
        report = await site.run(extraction=settings("maximum", datasets=["sampled"]), pipeline="two")
    assert report.status == "succeeded"
    assert read_table(lies(plant)).num_rows == 2 * 3 * 6


async def test_what_is_not_configured_cannot_be_chosen(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, now=BEGIN + HOUR) as site:
        with pytest.raises(
            ConfigurationError, match=r"found sampled; expected extraction\.sampled\.interval to be set beside it"
        ):
            await site.run(extraction={"datasets": ["sampled"]})
        report = await site.run()
    assert "sampled" not in report.datasets
    assert not is_table(lies(plant))


async def test_windows_without_a_point_of_the_grid_do_not_hide_that_the_source_gives_nothing(tmp_path: Path) -> None:
    """They cost no request, so that they say nothing about the source. A run gave no source up that only they answered."""
    plant = plant_of(tmp_path)
    rules = [{"match": {"route": "batch", "after": 1}, "do": {"drop_connection": True}},
             {"match": {"route": "*interpolated"}, "do": {"drop_connection": True}}]  # fmt: skip
    async with serving(plant, {"rules": rules}, now=BEGIN + 2 * HOUR) as site:
        report = await site.run(extraction=settings("interpolated", datasets=["sampled"]))
    assert (report.status, report.exit_code) == ("incomplete", 1)
    assert report.error is not None
    assert "failed requests in a row" in report.error.message
    assert not is_table(lies(plant)) or rows_in(plant) == []
