"""What becomes of points at the source: gone, renamed, dropped, back, created anew; and an archive whose clock leaps.

Nothing is lost, nothing is called gone that is there, and what comes back goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from config.errors import UnavailableError
from engine.piweb.clocks import SourceTime
from engine.plan.shards import Shard
from engine.simulator import Event
from engine.simulator.replies import Reply, json_reply
from engine.simulator.times import SECOND as TICKS
from engine.telemetry.report import RunReport
from tests.digital_states.site import Site, serving
from tests.exactness.expected import web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant
from tests.exactness.reading import read_table, rows_in
from tests.variants import crossed, first_of, slowly

TAGS = 12
BOTH = (Shard(0, 2), Shard(1, 2))
NOT_FOUND = {"Errors": ["PI Point not found."]}


def plant_of(tmp_path: Path, **extraction: Any) -> Plant:
    return Plant.of(
        tmp_path, tags=TAGS, interval_secs=60, types=(("Float64", 1.0),), sections={"extraction": extraction}
    )


def at(site: Site, instant: int) -> None:
    site.simulator.set_clock(instant * (TICKS // 1_000_000))


async def runs(site: Site, shards: tuple[Shard, ...] = (Shard(),), **sections: Any) -> list[RunReport]:
    return [await site.run(shard=shard, **sections) for shard in shards]


def known(plant: Plant) -> dict[str, dict[str, Any]]:
    return {row["tag_webid"]: row for row in read_table(plant.tags).to_pylist()}


def gone(plant: Plant) -> set[str]:
    return {web_id for web_id, row in known(plant).items() if row["deleted_at"] is not None}


def instants(plant: Plant, web_id: str) -> list[int]:
    return sorted(row[2] for row in rows_in(plant.timeseries) if row[0] == web_id)


def selections(plant: Plant) -> dict[str, dict[str, Any]]:
    names = [plant.name(index) for index in range(TAGS)]
    return {
        "all": {"tag_name_filter": "*"},
        "filters": {"tag_name_filter": ["Unit0000.*.00000?", "*.00001?"]},
        "names in filters": {"tag_name_filter": names},
        "names": {"tag_name_filter": [], "tags": names},
        "paths": {"tag_name_filter": [], "tags": [plant.path(index).lower() for index in range(TAGS)]},
        "WebIDs": {"tag_name_filter": [], "tags": [web_id_of(index) for index in range(TAGS)]},
    }


@pytest.mark.parametrize(
    ("shards", "how"),
    crossed(
        {"whole": (Shard(),), "shards": BOTH},
        ["all", "filters", "names in filters", "names", "paths", "WebIDs"],
        slow=["filters", "names", "paths"],
    ),
)
async def test_a_deleted_point_is_marked_and_comes_back_without_a_gap(
    tmp_path: Path, how: str, shards: tuple[Shard, ...]
) -> None:
    plant = plant_of(tmp_path)
    chosen = selections(plant)[how]
    async with serving(plant, now=BEGIN + HOUR) as site:
        await runs(site, shards, extraction=chosen)
        site.simulator.change({"tag": 3, "action": "delete_point"})
        at(site, BEGIN + 2 * HOUR)
        reports = await runs(site, shards, extraction=chosen)
        assert gone(plant) == {web_id_of(3)}
        assert not any(report.warnings for report in reports)
        before = instants(plant, web_id_of(3))
        assert len(before) == 60
        site.simulator.change({"tag": 3, "action": "restore_point"})
        at(site, BEGIN + 3 * HOUR)
        reports = await runs(site, shards, extraction=chosen)
        assert [report.status for report in reports] == ["succeeded"] * len(shards)
        assert gone(plant) == set()
        plant.assert_exact(BEGIN, BEGIN + 3 * HOUR)


@pytest.mark.parametrize("shards", [(Shard(),), *slowly((BOTH,))], ids=["whole", "shards"])
async def test_a_point_that_is_renamed_out_of_a_filter_is_asked_for_once_and_never_called_gone(
    tmp_path: Path, shards: tuple[Shard, ...]
) -> None:
    plant = plant_of(tmp_path, tag_name_filter="Unit0000.*")
    async with serving(plant, now=BEGIN + HOUR) as site:
        await runs(site, shards)
        site.simulator.change({"tag": 3, "action": "rename", "name": "Elsewhere"})
        counts = []
        for hours in (2, 3):
            at(site, BEGIN + hours * HOUR)
            before = site.simulator.requests.routes["points/multiple"]
            reports = await runs(site, shards)
            counts.append(site.simulator.requests.routes["points/multiple"] - before)
            assert [report.status for report in reports] == ["succeeded"] * len(shards)
        assert counts == [1, 0]
        assert gone(plant) == set()
        assert known(plant)[web_id_of(3)]["name"] == "Elsewhere"
        assert len(instants(plant, web_id_of(3))) == 60


async def test_a_tag_that_is_dropped_from_the_configuration_is_not_gone_and_not_asked_for(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    names = [plant.name(index) for index in range(TAGS)]
    async with serving(plant, now=BEGIN + HOUR) as site:
        await site.run(extraction={"tag_name_filter": [], "tags": names})
        at(site, BEGIN + 2 * HOUR)
        before = site.simulator.requests.routes["points/multiple"]
        await site.run(extraction={"tag_name_filter": [], "tags": names[1:]})
        assert site.simulator.requests.routes["points/multiple"] - before == 1
        assert gone(plant) == set()


@pytest.mark.parametrize(
    "rule",
    [
        {"match": {"route": "points/multiple"}, "do": {"status": 503}},
        {"match": {"route": "points/multiple"}, "do": {"status": 200, "body": {"Items": []}}},
        {"match": {"route": "points/multiple"}, "do": {"status": 200, "html": True}},
        {"match": {"route": "points/*"}, "do": {"status": 403, "body": {"Errors": ["Access is denied."]}}},
        # A server that does not find the point that is there proves nothing of the other one.
        {
            "match": {"route": "points/multiple"},
            "do": {"status": 207, "body": {"Items": [{"Identifier": web_id_of(3), "Exception": NOT_FOUND}]}},
        },
        {"match": {"route": "points/*"}, "do": {"status": 404, "body": NOT_FOUND}},
    ],
    ids=["busy", "empty", "page", "denied", "blind", "blind for each"],
)
async def test_what_cannot_be_asked_for_is_not_gone(tmp_path: Path, rule: dict[str, Any]) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, now=BEGIN + HOUR) as site:
        await site.run()
        site.simulator.change({"tag": 3, "action": "delete_point"})
    async with serving(plant, {"rules": [rule], "edits": [{"tag": 3, "action": "delete_point"}]}, BEGIN + HOUR) as site:
        at(site, BEGIN + 2 * HOUR)
        report = await site.run()
        assert report.status == "succeeded"
        assert gone(plant) == set()


async def test_a_point_that_was_listed_just_now_is_not_gone_though_an_answer_has_it_both_ways(tmp_path: Path) -> None:
    """The point that proves an answer is there, even where the same answer also says that it does not exist."""
    plant = plant_of(tmp_path)
    listed = [web_id_of(index) for index in range(TAGS) if index != 3]
    items = [
        *({"Identifier": one, "Object": {"WebId": one, "Name": one, "Path": rf"\\S\{one}"}} for one in listed),
        *({"Identifier": one, "Exception": NOT_FOUND} for one in (*listed, web_id_of(3))),
    ]
    rule = {"match": {"route": "points/multiple"}, "do": {"status": 207, "body": {"Items": items}}}
    async with serving(plant, {"rules": [rule]}, BEGIN + HOUR) as site:
        await site.run()
        site.simulator.change({"tag": 3, "action": "delete_point"})
        at(site, BEGIN + 2 * HOUR)
        await site.run()
        assert gone(plant) == {web_id_of(3)}


async def test_a_release_without_lookups_of_many_is_asked_for_each(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    nothing = {
        "match": {"route": "points/multiple"},
        "do": {"status": 404, "body": {"Message": "No HTTP resource was found"}},
    }
    async with serving(plant, {"rules": [nothing]}, BEGIN + HOUR) as site:
        await site.run()
        for index in (3, 4):
            site.simulator.change({"tag": index, "action": "delete_point"})
        site.simulator.change({"tag": 5, "action": "rename", "name": "Elsewhere"})
        at(site, BEGIN + 2 * HOUR)
        await site.run()
        assert gone(plant) == {web_id_of(3), web_id_of(4)}


async def test_a_list_that_leaves_out_what_is_there_makes_nothing_gone_and_is_told_of(tmp_path: Path) -> None:
    """A cap of the server, an account that sees less in lists, a point deleted in front of others meanwhile."""
    plant = plant_of(tmp_path)
    async with serving(plant, now=BEGIN + HOUR) as site:
        await site.run()
    shown = [
        {
            "WebId": row["tag_webid"],
            "Name": row["name"],
            "Path": row["path"],
            "EngineeringUnits": row["engineering_units"],
        }
        for row in read_table(plant.tags).to_pylist()[:7]
    ]
    first = {"match": {"route": "dataservers/*/points", "nth": 1}, "do": {"status": 200, "body": {"Items": shown}}}
    rest = {"match": {"route": "dataservers/*/points"}, "do": {"status": 200, "body": {"Items": []}}}
    async with serving(plant, {"rules": [first, rest]}, BEGIN + 2 * HOUR) as site:
        report = await site.run()
    assert gone(plant) == set()
    assert [text for text in report.warnings if text.startswith("5 tags were not in the server's list")]
    async with serving(plant, now=BEGIN + 3 * HOUR) as site:
        assert (await site.run()).status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + 3 * HOUR)


@pytest.mark.parametrize("known", [True, False])
async def test_a_point_for_which_the_server_gives_no_list_costs_no_other_tag(tmp_path: Path, known: bool) -> None:
    plant = plant_of(tmp_path)
    if known:
        async with serving(plant, now=BEGIN + HOUR) as site:
            await site.run()
    async with serving(plant, now=BEGIN + 2 * HOUR) as site:
        dispatch = site.simulator._dispatch
        real = dispatch.answer

        def answer(method: str, target: str, *more: Any) -> Reply:
            reply = real(method, target, *more)
            damaged = "/points?" in target and web_id_of(7).encode() in reply.body()
            return json_reply({"Errors": ["Record Header Data Mismatch"]}, 500) if damaged else reply

        with patch.object(dispatch, "answer", answer):
            report = await site.run()
    assert report.exit_code == 1
    [(name, why)] = report.tags_failed
    assert name == f"item 8 of the list of points, after {plant.name(6)}"
    assert why.endswith("Record Header Data Mismatch")
    assert gone(plant) == set()
    assert len({len(instants(plant, web_id_of(index))) for index in range(TAGS) if index != 7}) == 1
    async with serving(plant, now=BEGIN + 3 * HOUR) as site:
        assert (await site.run()).status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + 3 * HOUR)


@pytest.mark.parametrize(
    ("links", "cap"), crossed(["given", "empty", "null", "absent"], [5, None, 1, 12], slow=["1", "12"])
)
async def test_pages_of_any_length_with_any_links_lose_no_tag(tmp_path: Path, links: str, cap: int | None) -> None:
    plant = plant_of(tmp_path)
    switches = {"page_links": links, **({"page_cap": cap} if cap else {})}
    async with serving(plant, {"switches": switches}, BEGIN + HOUR) as site:
        report = await site.run()
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + HOUR)


# --- created anew ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "shards", "mode"),
    crossed(["from_start", "continue"], {"whole": (Shard(),), "shards": BOTH}, ["incremental", "full"]),
)
async def test_a_point_created_anew_names_the_one_it_replaces_and_begins_as_configured(
    tmp_path: Path, option: str, mode: str, shards: tuple[Shard, ...]
) -> None:
    plant = plant_of(tmp_path, recreated_tags=option, mode=mode)
    async with serving(plant, now=BEGIN + HOUR) as site:
        await runs(site, shards)
        name = plant.name(3)
        site.simulator.change({"tag": 3, "action": "delete_point"})
        at(site, BEGIN + HOUR + 10 * MINUTE)
        await runs(site, shards)  # the old one is gone
        [made] = site.simulator.change({"tag": name, "action": "create_point", "type": "Float64", "interval": "60s"})
        new = site.simulator.web_id(name)
        # Its history begins before the old one ended, as where an archive is filled again.
        early = BEGIN + 30 * MINUTE
        site.simulator.insert(name, Event(early * 10, 1.0))
        at(site, BEGIN + 2 * HOUR)
        reports = await runs(site, shards)
        told = [text for report in reports for text in report.warnings]
        assert [text for text in told if name in text and new in text and web_id_of(3) in text], (told, made)
        assert known(plant)[new]["replaces"] == web_id_of(3)
        assert {row["replaces"] for web_id, row in known(plant).items() if web_id != new} == {None}
        assert (early in instants(plant, new)) == (option == "from_start")
        assert len(instants(plant, web_id_of(3))) == 60
        at(site, BEGIN + 3 * HOUR)
        again = await runs(site, shards)
        assert not any(report.warnings for report in again)
        assert (early in instants(plant, new)) == (option == "from_start")
        assert max(instants(plant, new)) > BEGIN + 3 * HOUR - 2 * MINUTE


async def test_a_new_point_under_the_old_name_of_one_that_was_renamed_replaces_nothing(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, now=BEGIN + HOUR) as site:
        await site.run()
        name = plant.name(3)
        site.simulator.change({"tag": 3, "action": "rename", "name": "Elsewhere"})
        site.simulator.change({"tag": name, "action": "create_point", "type": "Float64", "interval": "60s"})
        at(site, BEGIN + 2 * HOUR)
        report = await site.run()
        assert report.warnings == ()
        assert {row["replaces"] for row in known(plant).values()} == {None}


# --- clocks ------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", first_of(["year 9999", "73h"]))
async def test_a_clock_that_is_ahead_once_moves_no_watermark(tmp_path: Path, ahead: str) -> None:
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + HOUR)
    before = plant.marks()
    secs = 73 * 3600 if ahead == "73h" else 10**12
    with pytest.raises(UnavailableError, match=r"the archive's clock \(ServerTime\) is ahead .* nothing is read by it"):
        await plant.run(BEGIN + 2 * HOUR, faults={"switches": {"archive_ahead_secs": secs}})
    assert plant.marks() == before
    report = await plant.run(BEGIN + 2 * HOUR)
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + 2 * HOUR)


async def test_a_clock_that_is_a_little_off_is_a_warning(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    for secs, words in ((300, "5 min ahead"), (-300, "5 min behind")):
        report = await plant.run(BEGIN + HOUR, faults={"switches": {"archive_ahead_secs": secs}})
        assert report.status == "succeeded"
        assert [words in text for text in report.warnings] == [True]


@pytest.mark.parametrize(("lookback", "secs"), crossed(["0s", "10m"], [73 * 3600, 10**12], slow=["10m"]))
async def test_a_watermark_that_lies_ahead_of_now_counts_against_success_and_holds_up_nothing(
    tmp_path: Path, secs: int, lookback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run left it that believed such a clock."""
    plant = plant_of(tmp_path, lookback=lookback)
    with monkeypatch.context() as patch:
        patch.setattr("engine.datasets.tags.source_time", lambda clocks, _tolerance: SourceTime(clocks.archive))
        patch.setattr("engine.plan.tag_cursor.MAX_SLICE_DAYS", 10**7)  # the empty years at once
        await plant.run(BEGIN + HOUR, faults={"switches": {"archive_ahead_secs": secs}})
    damaged = plant.mark(0).high
    assert damaged > BEGIN + 73 * HOUR
    for hours in (2, 3):
        async with serving(plant, now=BEGIN + hours * HOUR) as site:
            report = await site.run()
        assert (report.status, report.exit_code, len(report.tags_failed)) == ("incomplete", 1, TAGS)
        for _, reason in report.tags_failed:
            assert "lies ahead of the server's clock" in reason
            assert "rebuild-watermarks" in reason
        found = sorted((row[0], row[2]) for row in rows_in(plant.timeseries))
        assert found == sorted((row[0], row[2]) for row in plant.rows(range(TAGS), BEGIN, BEGIN + hours * HOUR))
        assert plant.mark(0).high == damaged
    if secs < 10**12:  # until time has caught up
        async with serving(plant, now=damaged + HOUR) as site:
            report = await site.run()
        assert report.status == "succeeded"
        expected = plant.rows(range(TAGS), BEGIN, damaged + HOUR)
        assert sorted((row[0], row[2]) for row in rows_in(plant.timeseries)) == sorted((r[0], r[2]) for r in expected)
