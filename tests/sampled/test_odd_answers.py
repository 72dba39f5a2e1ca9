"""Servers that answer for the grid in other words than the reference: the rows are right, or the tag fails and has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from engine.piweb.times import iso_text, parse_micros
from engine.run import run
from engine.simulator.replies import Reply, json_reply
from tests.digital_states.site import Site, serving
from tests.exactness.expected import web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant
from tests.sampled.grid import expected, lies, rows_in, settings
from tests.variants import first_of

Content = dict[str, Any]
KINDS = ("interpolated", "average", "maximum")


def answered(site: Site, what: str, change: Callable[[Content], Any]) -> Any:
    """Change the streams of the first tag."""
    dispatch, web_id = site.simulator._dispatch, web_id_of(0)
    real = dispatch.answer

    def answer(method: str, target: str, *more: Any) -> Reply:
        reply = real(method, target, *more)
        is_meant = f"/streams/{web_id}/{what}?" in target and reply.status == 200
        return json_reply(change(json.loads(reply.body()))) if is_meant else reply

    return patch.object(dispatch, "answer", answer)


def each(change: Callable[[Content], None]) -> Callable[[Content], Content]:
    """Change every value, of a summary the one within."""

    def changed(content: Content) -> Content:
        for item in content["Items"]:
            change(item.get("Value") if "Type" in item else item)
        return content

    return changed


def put(name: str, of: Callable[[Any], Any]) -> Callable[[Content], Content]:
    def change(item: Content) -> None:
        item[name] = of(item[name])

    return each(change)


def items(of: Callable[[list[Any]], Any]) -> Callable[[Content], Content]:
    return lambda content: {**content, "Items": of(content["Items"])}


RIGHT: dict[str, Callable[[Content], Content]] = {
    "times_with_an_offset": put("Timestamp", lambda at: at.replace("Z", "+00:00")),
    "times_with_seven_digits": put("Timestamp", lambda at: at[:19] + ".0000000Z"),
    "times_a_tick_late": put("Timestamp", lambda at: at[:19] + ".0000001Z"),
    "newest_first": items(lambda found: found[::-1]),
    "types_in_capitals": items(lambda found: [{**one, "Type": one["Type"].upper()} if "Type" in one else one for one in found]),
    "one_point_more": items(lambda found: [*found, *_later(found)]),
    "three_points_at_a_time": items(lambda found: _first(found, 3)),
    "types_between_blanks": items(lambda found: [{**one, "Type": f" {one['Type']} "} if "Type" in one else one for one in found]),
    "no_units": lambda content: {name: one for name, one in content.items() if name != "UnitsAbbreviation"},
    "unknown_members": lambda content: {**content, "Extra": [1], "Items": [{**one, "Extra": {"A": 1}} for one in content["Items"]]},
}  # fmt: skip
WRONG: dict[str, Callable[[Content], Any]] = {
    "items_null": items(lambda _found: None),
    "no_items": lambda _content: {},
    "items_an_object": items(lambda _found: {}),
    "one_point_twice": items(lambda found: [*found, *(one for one in found if _at(one) == _at(found[-1]))]),
    "one_point_less": items(lambda found: [one for one in found if _at(one) != _at(found[-1])]),
    "one_point_less_before": items(lambda found: [one for one in found if _at(one) != _at(found[len(found) // 2])]),
    "none_but_the_first": items(lambda found: _first(found, 1)),
    "all_off_the_grid": put("Timestamp", lambda at: at[:17] + "13Z"),
    "broke_off": lambda content: {**content, "Errors": ["It broke off."]},
    "null_among_items": items(lambda found: [*found[:-1], None]),
}


def _at(item: Content) -> str:
    return (item["Value"] if "Type" in item else item)["Timestamp"]


def _first(found: list[Content], points: int) -> list[Content]:
    """The values at so many points, the first ones."""
    return [one for one in found if _at(one) in sorted({_at(each) for each in found})[:points]]


def _later(found: list[Content]) -> list[Content]:
    """The values at the last point once more, ten minutes later: where what was asked for ends."""
    last = json.loads(json.dumps([one for one in found if _at(one) == _at(found[-1])]))
    for one in last:
        value = one["Value"] if "Type" in one else one
        value["Timestamp"] = iso_text(parse_micros(value["Timestamp"]) + 10 * MINUTE)
    return last


@pytest.mark.parametrize("what", ["interpolated", "summary"])
@pytest.mark.parametrize("mode", first_of(["batch", "single"]))
async def test_other_words_for_the_same_are_understood(tmp_path: Path, what: str, mode: str) -> None:
    for name, change in RIGHT.items():
        plant = Plant.of(tmp_path / name, tags=2, types=(("Float32", 1.0),), interval_secs=47)
        async with serving(plant, now=BEGIN + HOUR) as site:
            with answered(site, what, change):
                report = await site.run(extraction=settings(*KINDS, request_mode=mode, datasets=["sampled"]))
            assert report.status == "succeeded", (name, report.tags_failed)
            assert rows_in(plant) == sorted(expected(site, range(2), KINDS, BEGIN, BEGIN + HOUR), key=str), name


@pytest.mark.parametrize("what", ["interpolated", "summary"])
async def test_what_is_not_the_grid_fails_and_lands_nothing_and_is_read_by_the_next_run(
    tmp_path: Path, what: str
) -> None:
    mine = {"interpolated": KINDS[:1], "summary": KINDS[1:]}[what]
    for name, change in WRONG.items():
        plant = Plant.of(tmp_path / name, tags=2, types=(("Float32", 1.0),), interval_secs=47)
        async with serving(plant, now=BEGIN + HOUR) as site:
            with answered(site, what, change):
                report = await site.run(extraction=settings(*KINDS, datasets=["sampled"]), retry={"max_attempts": 1})
            assert report.exit_code == 1, name
            whole = sorted(expected(site, range(2), KINDS, BEGIN, BEGIN + HOUR), key=str)
            assert len(rows_in(plant)) == len(set(rows_in(plant))), name
            assert set(rows_in(plant)) < set(whole), name
            assert [row for row in rows_in(plant) if row.kind not in mine] == [
                row for row in whole if row.kind not in mine
            ]
            # What seemed to be a hole is asked for again after a minute, or when told to.
            config = plant.config(site.url, extraction=settings(*KINDS, datasets=["sampled"]))
            await run(config, retry_holes=True)
            assert rows_in(plant) == whole, name
        assert lies(plant).exists()


def _numbered(content: Content) -> Content:
    return {**content, "Items": [{**one, "Type": 2} for one in content["Items"]]}


def _counted_as_one(content: Content) -> Content:
    """As from a server that does not see the interval: one count of all events."""
    found = [one["Value"] for one in content["Items"] if one["Type"] == "Count"]
    whole = {**found[0], "Value": sum(one["Value"] for one in found)}
    return {**content, "Items": [{"Type": "Count", "Value": whole}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_numbered, "count was asked for, and the server sent summaries of 2"),
        (_counted_as_one, "asked for its counts, the server sent one for the whole time"),
    ],
)
async def test_a_count_that_is_none_is_no_silence(tmp_path: Path, change: Callable[[Content], Any], words: str) -> None:
    """Counts may be left out where there is nothing to count: what is none was taken for that, or for the first one."""
    plant = Plant.of(tmp_path, tags=2, types=(("Float32", 1.0),), interval_secs=47)
    async with serving(plant, now=BEGIN + HOUR) as site:
        with answered(site, "summary", change):
            report = await site.run(extraction=settings("count", datasets=["sampled"]))
        assert report.exit_code == 1
        assert [words in why for _, why in report.tags_failed] == [True]
        assert (await site.run(extraction=settings("count", datasets=["sampled"]))).exit_code == 0
        assert rows_in(plant) == sorted(expected(site, range(2), ["count"], BEGIN, BEGIN + HOUR), key=str)


async def test_counts_that_are_left_out_are_none(tmp_path: Path) -> None:
    """Also where there is something to count in the first interval alone, as in a sum of all that has lost its interval."""
    plant = Plant.of(tmp_path, tags=3, types=(("Float32", 1.0),), interval_secs=2000)
    async with serving(plant, now=BEGIN + 2 * HOUR) as site:
        with answered(site, "summary", items(lambda found: [one for one in found if one["Value"]["Value"]])):
            report = await site.run(extraction=settings("count", datasets=["sampled"]))
        assert report.exit_code == 0
        wanted = expected(site, range(3), ["count"], BEGIN, BEGIN + 2 * HOUR)
        assert any(one.value == "0.0" for one in wanted)
        assert rows_in(plant) == sorted(
            (one for one in wanted if one.value != "0.0" or one.tag_webid != web_id_of(0)), key=str
        )


@pytest.mark.parametrize("cap", [1, 2, 7, 10, 13, 18])
async def test_a_cap_that_all_tags_of_an_answer_share_loses_no_value(tmp_path: Path, cap: int) -> None:
    """What is empty beside others is asked for again. With room for one value only there is none but an error."""
    plant = Plant.of(tmp_path, tags=3, types=(("Float32", 1.0),), interval_secs=47)
    extraction = settings("interpolated", "count", datasets=["sampled"], request_mode="streamset")
    async with serving(plant, now=BEGIN + HOUR) as site:
        dispatch = site.simulator._dispatch
        real = dispatch.answer

        def capped(method: str, target: str, *more: Any) -> Reply:
            reply = real(method, target, *more)
            if not any(f"/{one}?" in target for one in ("interpolated", "summary")) or reply.status != 200:
                return reply
            content, left = json.loads(reply.body()), cap
            for stream in content["Items"] if "/streamsets/" in target else [content]:
                stream["Items"] = stream["Items"][:left]
                left -= len(stream["Items"])
            return json_reply(content)

        with patch.object(dispatch, "answer", capped):
            report = await site.run(extraction=extraction)
        wanted = sorted(expected(site, range(3), ("interpolated", "count"), BEGIN, BEGIN + HOUR), key=str)
        assert set(rows_in(plant)) <= set(wanted)
        assert report.exit_code == 0 if cap > 1 else report.exit_code == 1
        await run(plant.config(site.url, extraction=extraction), retry_holes=True)
        assert rows_in(plant) == wanted
