"""Servers that give less of event frames than the reference says, or say it in another way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from engine.simulator.replies import Reply, json_reply
from tests.event_frames.plant import DAY, Plant, serving, stored
from tests.exactness.plant import BEGIN, HOUR, text_of
from tests.memory_lakehouse import MemoryLakehouse
from writers.asset_tables import PI_EVENT_FRAME_ATTRIBUTES, PI_EVENT_FRAMES

Item = dict[str, Any]


def in_memory():
    lakehouse = MemoryLakehouse()
    return lambda: lakehouse


def shown(plant: Plant, change: Callable[[Item], None]) -> Any:
    """Change every object of an answer that is a frame, or may be one."""

    def changed(content: Any) -> Any:
        if isinstance(content, dict):
            content = {name: changed(one) for name, one in content.items()}
            if "WebId" in content:
                change(content)
            return content
        return [changed(one) for one in content] if isinstance(content, list) else content

    return answered(plant, lambda _target, reply: json_reply(changed(json.loads(reply.body())), reply.status))


def answered(plant: Plant, change: Callable[[str, Reply], Reply]) -> Any:
    dispatch = plant.simulator._dispatch
    real = dispatch.answer
    return patch.object(dispatch, "answer", lambda method, target, *more: change(target, real(method, target, *more)))


def members(name: str, value: Any, *, when: Callable[[Item], bool] = lambda _item: True) -> Callable[[Item], None]:
    """Show another value of a member; `...`: none at all."""

    def change(item: Item) -> None:
        if name in item and when(item):
            if value is ...:
                del item[name]
            else:
                item[name] = value

    return change


def is_open(item: Item) -> bool:
    return str(item.get("EndTime")).startswith("9999")


@pytest.mark.parametrize(
    "end",
    [
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.9999999Z",
        "9999-12-31T18:59:59-05:00",
        "9999-12-31T00:00:00",
        "",
        None,
        ...,
    ],
    ids=str,
)
async def test_an_open_frame_may_end_in_any_such_way(end: Any) -> None:
    async with serving(in_memory(), days=1) as plant:
        plant.change(action="create_frame", name="Stop", start=text_of(plant.now - HOUR), template="Trip")
        with shown(plant, members("EndTime", end, when=is_open)):
            assert (await plant.run()).unread == ()
        plant.assert_exact()


async def test_a_frame_for_which_the_server_gives_no_list_costs_no_other_one_and_is_read_when_it_is_healed() -> None:
    async with serving(in_memory(), days=1) as plant:
        bad: list[str] = []

        def damaged(target: str, reply: Reply) -> Reply:
            if "/eventframes?" not in target or reply.status >= 300:
                return reply
            items = json.loads(reply.body())["Items"]
            bad[:] = bad or [items[5]["WebId"]]
            return (
                json_reply({"Errors": ["It is damaged."]}, 500) if bad[0] in {one["WebId"] for one in items} else reply
            )

        with answered(plant, damaged):
            unread = (await plant.run()).unread
        assert "It is damaged." in unread[0][1]
        assert len(unread) == 1
        there = {row["event_frame_webid"] for row in stored(plant.lakehouse(), PI_EVENT_FRAMES)}
        assert there
        assert bad[0] not in there
        await plant.run()
        plant.assert_exact()


async def test_an_error_in_the_place_of_a_frame_leaves_the_frame_as_it_was() -> None:
    """Also an error that names the WebID of the frame, which was taken for a frame of which nothing is known."""
    async with serving(in_memory(), days=1) as plant:
        await plant.run()
        before = stored(plant.lakehouse(), PI_EVENT_FRAMES)
        plant.advance(HOUR)

        def fail(item: Item) -> None:
            if "StartTime" in item:
                web_id = item["WebId"]
                item.clear()
                item |= {"WebId": web_id, "WebException": {"Errors": ["Access denied."], "StatusCode": 403}}

        with shown(plant, fail):
            result = await plant.run(lookback="2h")
        assert result.unread
        assert all("Access denied." in why for _, why in result.unread)
        assert stored(plant.lakehouse(), PI_EVENT_FRAMES) == before
        await plant.run(lookback="2h")
        plant.assert_exact()


_UNREADABLE: list[tuple[str, Any]] = [
    *(
        ("StartTime", one)
        for one in (..., None, "", "soon", 17, {"a": 1}, "2024-03-05T00:00:00", "0001-01-01T00:00:00Z")
    ),
    ("StartTime", "1970-01-01T00:00:00Z"),
    *(("EndTime", one) for one in ("soon", 17, {"a": 1}, "2024-03-05T00:00:00", ["2024-03-05T00:00:00Z"])),
]


@pytest.mark.parametrize(("name", "value"), _UNREADABLE, ids=str)
async def test_a_frame_whose_time_cannot_be_read_is_named_and_its_row_stays_as_it_was(name: str, value: Any) -> None:
    """One without a start landed without its day, and one whose end was no time as open."""
    async with serving(in_memory(), days=1) as plant:
        await plant.run()
        before = stored(plant.lakehouse(), PI_EVENT_FRAMES)
        known = next(row for row in before if not row["is_open"])["event_frame_webid"]
        plant.change(action="create_frame", name="New", start=text_of(plant.now - HOUR), end=text_of(plant.now))
        plant.advance(HOUR)
        ill = members(name, value, when=lambda item: item["WebId"] == known or item.get("Name") == "New")
        with shown(plant, ill):
            unread = (await plant.run(full=True)).unread
        assert any(name in why and why.startswith("New: ") for _, why in unread)
        after = stored(plant.lakehouse(), PI_EVENT_FRAMES)
        assert [row for row in after if row["event_frame_webid"] == known] == [
            row for row in before if row["event_frame_webid"] == known
        ]
        assert not any(row["event_name"] == "New" for row in after)
        assert stored(plant.lakehouse(), PI_EVENT_FRAMES, deleted=True) == []
        assert (await plant.run()).unread == ()
        plant.assert_exact()


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00.0000000Z", None, ...], ids=str)
async def test_what_was_never_acknowledged_may_show_any_such_date(date: Any) -> None:
    async with serving(in_memory(), days=1) as plant:
        never = members("AcknowledgedDate", date, when=lambda item: item.get("IsAcknowledged") is False)
        with shown(plant, never):
            assert (await plant.run()).unread == ()
        plant.assert_exact()


async def test_times_with_an_offset_and_more_digits_are_truncated() -> None:
    async with serving(in_memory(), days=1) as plant:
        number = plant.change(
            action="create_frame", name="Stop", start=text_of(BEGIN + HOUR), end=text_of(BEGIN + 2 * HOUR)
        )

        def change(item: Item) -> None:
            if item.get("Name") == "Stop" and "StartTime" in item:
                item["StartTime"], item["EndTime"] = (
                    "2024-03-05T03:00:00.1234567+02:00",
                    "2024-03-04T21:00:00.9999999-05:00",
                )

        with shown(plant, change):
            await plant.run()
        [row] = [one for one in stored(plant.lakehouse(), PI_EVENT_FRAMES) if one["event_name"] == "Stop"]
        assert number
        assert (row["start_time"], row["end_time"]) == (BEGIN + HOUR + 123_456, BEGIN + 2 * HOUR + 999_999)


@pytest.mark.parametrize("windows", [False, True])
async def test_without_links_the_frame_above_comes_from_lists_of_children(windows: bool) -> None:
    """Also where a child is read in another window, or in another run, than the frame above it."""
    async with serving(in_memory(), days=40, frames_per_day=3) as plant:
        above = plant.change(action="create_frame", name="Campaign", start=text_of(BEGIN + DAY), template="Batch")
        plant.change(action="create_frame", name="Late", start=text_of(BEGIN + 35 * DAY), template="Phase", frame=above)
        with shown(plant, members("Links", ...)):
            if windows:
                await plant.run(extraction={"start_date": text_of(BEGIN + 30 * DAY)})
            assert (await plant.run()).unread == ()
            plant.assert_exact()
            assert any(one["parent_webid"] for one in stored(plant.lakehouse(), PI_EVENT_FRAMES))
            plant.change(
                action="create_frame", name="Later", start=text_of(plant.now - HOUR), template="Phase", frame=above
            )
            plant.advance(HOUR)
            await plant.run(lookback="2h")
            plant.assert_exact()


async def test_with_links_no_list_of_children_is_asked_for() -> None:
    async with serving(in_memory(), days=3) as plant:
        await plant.run()
        assert not [route for route in plant.simulator.requests.sub_routes if route == "eventframes/*/eventframes"]
        assert any(one["parent_webid"] for one in stored(plant.lakehouse(), PI_EVENT_FRAMES))


@pytest.mark.parametrize("value", [None, ...], ids=str)
async def test_where_elements_are_not_named_they_are_asked_for(value: Any) -> None:
    async with serving(in_memory(), days=2) as plant:
        plant.change(
            action="create_frame", name="Two", start=text_of(BEGIN + HOUR), elements=["Site 01", r"Site 01\Unit 02"]
        )
        with shown(plant, members("RefElementWebIds", value)):
            assert (await plant.run()).unread == ()
        plant.assert_exact()


async def test_frames_keep_their_rows_when_their_database_is_renamed() -> None:
    """And those that were deleted meanwhile are found, though their rows have the name of before."""
    async with serving(in_memory(), days=20, frames_per_day=2) as plant:
        await plant.run()
        first = {one["event_frame_webid"] for one in stored(plant.lakehouse(), PI_EVENT_FRAMES)}
        gone = plant.frames()[3]
        plant.change(action="delete_frame", frame=gone.number)
        plant.advance(HOUR)

        def renamed(_target: str, reply: Reply) -> Reply:
            body = reply.body().replace(rb"\\SIMAF\\Plant".replace(rb"\\S", rb"\\\\S"), rb"\\\\SIMAF\\Works")
            return Reply(reply.status, [body.replace(b'"Name":"Plant"', b'"Name":"Works"')])

        with answered(plant, renamed):
            result = await plant.run(lookback="1h")
            assert (result.unread, result.missing > 0) == ((), True)
            plant.assert_exact()
            rows = stored(plant.lakehouse(), PI_EVENT_FRAMES)
            assert {one["database"] for one in rows} == {"Works"}
            assert plant.web_id(gone) in first
            new = {one["event_frame_webid"] for one in rows} - first
            assert all(one["start_time"] >= plant.now - DAY for one in rows if one["event_frame_webid"] in new)
            before = plant.request_counts()
            await plant.run(lookback="1h")
            assert plant.request_counts()[0] - before[0] < 8


async def test_a_page_of_the_gateway_in_place_of_one_frames_values_harms_no_other() -> None:
    async with serving(in_memory(), days=1) as plant:
        bad = next(one for one in plant.frames() if one.template == "Batch" and one.captured)
        web_id = plant.web_id(bad)

        def html(target: str, reply: Reply) -> Reply:
            return json_reply("<html><body>Sign in</body></html>") if f"streamsets/{web_id}/" in target else reply

        with answered(plant, html):
            result = await plant.run()
        [told] = result.unread
        assert bad.name in told[0]
        rows = {one["event_frame_webid"]: one for one in stored(plant.lakehouse(), PI_EVENT_FRAMES)}
        assert rows.keys() == {plant.web_id(one) for one in plant.frames()}
        assert rows[web_id]["values_captured"] is None
        assert web_id not in {one["event_frame_webid"] for one in stored(plant.lakehouse(), PI_EVENT_FRAME_ATTRIBUTES)}
        assert (await plant.run()).unread == ()
        plant.assert_exact()


@pytest.mark.parametrize("wholly", [True, False])
async def test_a_frame_that_is_an_error_keeps_its_row_though_it_has_a_web_id(wholly: bool) -> None:
    """And so do the others, and what lies below it. `wholly`: the frame alone is an error, too."""
    async with serving(in_memory(), days=1) as plant:
        assert (await plant.run()).unread == ()
        bad = plant.web_id(plant.frames()[3])

        def damaged(target: str, reply: Reply) -> Reply:
            content = json.loads(reply.body())
            if "/eventframes?" in target:
                items = [one if one["WebId"] != bad else {"WebId": bad, "Errors": ["Bad."]} for one in content["Items"]]
                assert items != content["Items"]
                return json_reply({**content, "Items": items})
            is_alone = wholly and f"/eventframes/{bad}?" in target
            return json_reply({"WebId": bad, "WebException": {"Errors": ["Bad."]}}) if is_alone else reply

        with answered(plant, damaged):
            told = (await plant.run(full=True)).unread
        assert told[0] == ("event frame of Plant", "an item: Bad.")
        assert len(told) == 1 + wholly
        plant.assert_exact()


async def test_a_site_without_frames_has_its_tables() -> None:
    async with serving(in_memory(), days=1, frames_per_day=0) as plant:
        assert (await plant.run()).unread == ()
        plant.assert_exact()
