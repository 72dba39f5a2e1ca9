"""Recorded values over a real socket: the server shows the closed form, exactly, and cuts as the real one does."""

import math

import pytest

from engine.simulator import DigitalState, Event, events
from engine.simulator.times import DAY, HOUR, MINUTE, SECOND, iso, parse_time, ticks_of

NOW = ticks_of("2024-03-05T12:00:00Z")
START = NOW - 3 * HOUR


def read(item: dict) -> Event:
    """An event as the server wrote it."""
    value = item["Value"]
    if isinstance(value, dict):
        value = DigitalState(value["Name"], value["Value"], value["IsSystem"])
    flags = (item[name] for name in ("Good", "Questionable", "Substituted", "Annotated"))
    return Event(parse_time(item["Timestamp"]).at(0), value, *flags)


def same(found: list[Event], expected: list[Event]) -> bool:
    """Equality under which NaN is itself and 5 is 5.0, but True is not 1."""

    def plain(event: Event) -> tuple:
        value = event.value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = "NaN" if math.isnan(value) else float(value)
        elif isinstance(value, list):
            value = tuple(value)
        return event.ticks, value, event.good, event.questionable, event.substituted, event.annotated

    return list(map(plain, found)) == list(map(plain, expected))


async def page_through(client, web_id: str, start: int, end: int, size: int) -> list[Event]:
    """Correct forward paging: drop the last timestamp of a full page and ask again from there."""
    found: list[Event] = []
    cursor = start
    while True:
        path = f"streams/{web_id}/recorded"
        answer = await client.get(path, startTime=iso(cursor), endTime=iso(end - 1), maxCount=size)
        page = [read(item) for item in answer["Items"]]
        if len(page) < size:
            return found + page
        cursor = page[-1].ticks
        kept = [event for event in page if event.ticks < cursor]
        assert kept, "a page holds one timestamp only"
        found += kept


async def test_paging_gives_the_closed_form_for_every_type_and_rhythm(serve):
    async with serve() as client:
        options = client.simulator.options
        for index in range(options.tags):
            found = await page_through(client, client.simulator.web_id(index), START, NOW, 37)
            assert same(found, events(options, index, START, NOW)), index
            assert len(found) > 150


async def test_paging_gives_the_closed_form_at_mixed_rates(serve):
    async with serve(profile="mixed", tags=40) as client:
        for index in range(40):
            found = await page_through(client, client.simulator.web_id(index), NOW - HOUR, NOW, 500)
            assert same(found, events(client.simulator.options, index, NOW - HOUR, NOW)), index


async def test_both_ends_are_inclusive(serve):
    async with serve() as client:
        expected = events(client.simulator.options, 0, START, NOW)
        first, last = expected[3].ticks, expected[9].ticks
        answer = await client.get(
            f"streams/{client.simulator.web_id(0)}/recorded", startTime=iso(first), endTime=iso(last)
        )
        assert same([read(item) for item in answer["Items"]], [e for e in expected if first <= e.ticks <= last])
        one = await client.get(
            f"streams/{client.simulator.web_id(0)}/recorded", startTime=iso(first + 1), endTime=iso(last - 1)
        )
        assert same([read(item) for item in one["Items"]], [e for e in expected if first < e.ticks < last])


async def test_a_cut_is_silent_and_takes_the_first_in_the_direction_asked(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded"
        expected = events(client.simulator.options, 0, START, NOW)
        up = await client.get(path, startTime=iso(START), endTime=iso(NOW), maxCount=10)
        down = await client.get(path, startTime=iso(NOW), endTime=iso(START), maxCount=10)
        assert set(up) == {"Items", "UnitsAbbreviation"}
        assert same([read(item) for item in up["Items"]], expected[:10])
        assert same([read(item) for item in down["Items"]], expected[:-11:-1])


async def test_defaults_are_one_day_and_a_thousand_events(serve):
    async with serve() as client:
        answer = await client.get(f"streams/{client.simulator.web_id(0)}/recorded")
        assert len(answer["Items"]) == 1000
        assert parse_time(answer["Items"][0]["Timestamp"]).at(0) - (NOW - DAY) < 5 * MINUTE


async def test_nothing_in_range_is_an_empty_200_and_the_future_is_empty(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded"
        assert await client.get(path, startTime="2001-01-01", endTime="2001-02-01") == {
            "Items": [],
            "UnitsAbbreviation": "",
        }
        assert (await client.get(path, startTime=iso(NOW + 1), endTime="*+1d"))["Items"] == []


async def test_boundary_types(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded"
        expected = events(client.simulator.options, 0, START, NOW)
        window = {"startTime": iso(expected[5].ticks + 1), "endTime": iso(expected[8].ticks - 1)}
        outside = await client.get(path, boundaryType="outside", **window)
        assert same([read(item) for item in outside["Items"]], expected[5:9])
        invented = await client.get(path, boundaryType="Interpolated", **window)
        assert [item["Timestamp"] for item in invented["Items"]] == [
            window["startTime"],
            *(iso(event.ticks) for event in expected[6:8]),
            window["endTime"],
        ]
        error = await client.get(path, boundaryType="Around", expect=400)
        assert "Around" in error["Errors"][0]


@pytest.mark.parametrize(
    ("fields", "members"),
    [
        ("Items.Timestamp;Items.Value", {"Timestamp", "Value"}),
        ("items.value;Items.Good;Nothing.At.All", {"Value", "Good"}),
        ("Items", {"Timestamp", "Value", "UnitsAbbreviation", "Good", "Questionable", "Substituted", "Annotated"}),
    ],
)
async def test_selected_fields_trim_events_and_unselected_objects_vanish(serve, fields, members):
    async with serve() as client:
        answer = await client.get(f"streams/{client.simulator.web_id(0)}/recorded", selectedFields=fields, maxCount=50)
        assert set(answer) == {"Items"}
        assert len(answer["Items"]) == 50
        assert all(set(item) == members for item in answer["Items"])


async def test_selected_fields_that_select_nothing_leave_nothing(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded"
        assert await client.get(path, selectedFields="Nope") == {}
        assert await client.get(path, selectedFields="UnitsAbbreviation") == {"UnitsAbbreviation": ""}


async def test_parameter_names_do_not_mind_case_and_unknown_ones_are_ignored(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded"
        plain = await client.get(path, startTime="*-1h", endTime="*", maxCount=7)
        assert plain == await client.get(path, STARTTIME="*-1h", endtime="*", MaxCount=7, webIdFormat="x")


async def test_a_raw_plus_in_an_offset_becomes_a_space_and_a_400(serve):
    async with serve() as client:
        url = f"{client.url}/streams/{client.simulator.web_id(0)}/recorded?startTime=2024-03-05T10:00:00+02:00"
        async with client.session.get(url.replace("+", "%20")) as answer:
            assert answer.status == 400


async def test_refusals_have_the_shapes_clients_look_for(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded"
        assert await client.get(path, startTime="nonsense", expect=400) == {
            "Errors": ["The time string 'nonsense' is not valid."]
        }
        assert await client.get(path, maxCount=150001, expect=400) == {
            "Errors": ["Parameter (maxCount) is greater than the maximum allowed (150000)."]
        }
        assert "Errors" in await client.get(path, filterExpression="'.' > 5", expect=409)
        assert "Errors" in await client.get(path, desiredUnits="m3/h", expect=409)
        assert "Errors" in await client.get("streams/not-an-id/recorded", expect=400)
        gone = "I1DPcQo8XkQrbk-dEAx74aLzAQ____fw"
        assert await client.get(f"streams/{gone}/recorded", expect=404) == {"Errors": ["PI Point not found."]}


async def test_every_kind_of_webid_is_understood(serve):
    async with serve() as client:
        window = {"startTime": iso(START), "endTime": iso(NOW)}
        answers = [
            await client.get(f"streams/{client.simulator.web_id(96 % 60, kind)}/recorded", **window) for kind in "FIPLD"
        ]
        assert all(repr(answer) == repr(answers[0]) for answer in answers)


async def test_a_set_answers_every_stream_in_the_webid_type_asked(serve):
    async with serve() as client:
        simulator = client.simulator
        ids = [simulator.web_id(index) for index in range(20)]
        answer = await client.get(
            "streamsets/recorded", webId=ids, startTime=iso(START), endTime=iso(NOW - 1), webIdType="IDOnly"
        )
        assert set(answer) == {"Links", "Items"}
        assert [stream["WebId"] for stream in answer["Items"]] == ids
        for index, stream in enumerate(answer["Items"]):
            assert set(stream) == {"WebId", "Name", "Path", "Items", "UnitsAbbreviation", "Links"}
            assert stream["Path"] == f"\\\\SIMDA\\{stream['Name']}"
            assert same([read(item) for item in stream["Items"]], events(simulator.options, index, START, NOW))
        full = await client.get("streamsets/recorded", webId=ids[:1], maxCount=1, selectedFields="Items.WebId")
        assert full == {"Items": [{"WebId": simulator.web_id(0, "F")}]}


@pytest.mark.parametrize("fields", ["Items.Items.Value;Items.WebId", "Items.Links;Items.Name", "Links", "Items.Items"])
async def test_selected_fields_reach_into_sets(serve, fields):
    async with serve() as client:
        ids = [client.simulator.web_id(index) for index in range(3)]
        whole = await client.get("streamsets/recorded", webId=ids, maxCount=3)
        tree: dict = {}
        for name in fields.split(";"):
            node = tree
            for part in name.split("."):
                node = node.setdefault(part, {})

        def trimmed(value, wanted):
            if not wanted:
                return value
            if isinstance(value, list):
                return [trimmed(item, wanted) for item in value]
            return {name: trimmed(value[name], below) for name, below in wanted.items() if name in value}

        assert await client.get("streamsets/recorded", webId=ids, maxCount=3, selectedFields=fields) == trimmed(
            whole, tree
        )


async def test_sets_sort_by_name_when_told(serve):
    async with serve() as client:
        ids = [client.simulator.web_id(index) for index in (5, 2, 9)]
        answer = await client.get("streamsets/value", webId=ids, sortField="Name", sortOrder="Descending")
        names = [stream["Name"] for stream in answer["Items"]]
        assert names == sorted(names, reverse=True)


async def test_sets_of_events_name_a_unit_and_take_none(serve):
    async with serve() as client:
        ids = [client.simulator.web_id(index) for index in range(2)]
        times = {"startTime": "*-1h", "time": ["*-1h", "*-2h"], "interval": "10m", "desiredUnits": "bar"}
        for kind in ("recorded", "interpolated", "recordedattimes"):
            for item in (await client.get(f"streamsets/{kind}", webId=ids, **times))["Items"]:
                assert set(item) == {"WebId", "Name", "Path", "Items", "UnitsAbbreviation", "Links"}, kind
        for kind in ("recorded", "interpolated"):
            await client.get(f"streams/{ids[0]}/{kind}", **times, expect=409)


async def test_single_values(serve):
    async with serve() as client:
        simulator = client.simulator
        web_id = simulator.web_id(0)
        last = events(simulator.options, 0, NOW - HOUR, NOW + 1)[-1]
        assert same([read(await client.get(f"streams/{web_id}/value"))], [last])
        assert same([read(await client.get(f"streams/{web_id}/end"))], [last])
        stamped = await client.get(f"streams/{web_id}/value", time="*-30m")
        assert stamped["Timestamp"] == "2024-03-05T11:30:00Z"
        before = await client.get(f"streams/{web_id}/recordedattime", time=iso(last.ticks), retrievalMode="Before")
        assert read(before).ticks < last.ticks
        exact = await client.get(f"streams/{web_id}/recordedattime", time=iso(last.ticks), retrievalMode="Exact")
        assert same([read(exact)], [last])
        series = await client.get(f"streams/{web_id}/interpolated", startTime="*-1h", interval="10m")
        assert [item["Timestamp"][11:16] for item in series["Items"]] == [
            "11:00", "11:10", "11:20", "11:30", "11:40", "11:50", "12:00",
        ]  # fmt: skip
        nothing = await client.get(f"streams/{web_id}/value", time="2001-01-01")
        assert nothing["Value"] == {"Name": "No Data", "Value": 248, "IsSystem": True}


async def test_summaries_count_and_calculate(serve):
    async with serve(types=(("Float32", 1.0),)) as client:
        path = f"streams/{client.simulator.web_id(0)}/summary"
        window = {"startTime": iso(START), "endTime": iso(NOW), "calculationBasis": "EventWeighted"}
        answer = await client.get(path, summaryType=["Count", "Minimum", "Maximum", "Average", "PercentGood"], **window)
        found = {item["Type"]: item["Value"]["Value"] for item in answer["Items"]}
        expected = events(client.simulator.options, 0, START, NOW)
        numbers = [event.value for event in expected if event.good and event.value == event.value]
        assert found["Count"] == sum(event.good for event in expected)
        assert (found["Minimum"], found["Maximum"]) == (min(numbers), max(numbers))
        assert found["Average"] == pytest.approx(sum(numbers) / len(numbers))
        assert found["PercentGood"] == pytest.approx(100 * len(numbers) / len(expected))
        hours = await client.get(path, summaryType="Count", summaryDuration="1h", **window)
        good = [
            sum(event.good for event in expected if START + hour * HOUR <= event.ticks < START + (hour + 1) * HOUR)
            for hour in range(3)
        ]
        assert [item["Value"]["Value"] for item in hours["Items"]] == good
        timed = await client.get(path, summaryType=["Count", "Average"], startTime=iso(START), endTime=iso(NOW))
        values = {item["Type"]: item["Value"]["Value"] for item in timed["Items"]}
        assert 0.9 * 3 * 3600 < values["Count"] <= 3 * 3600
        assert found["Minimum"] <= values["Average"] <= found["Maximum"]


async def test_the_date_header_tells_the_simulated_clock(serve):
    async with serve() as client, client.session.get(f"{client.url}/system") as answer:
        assert answer.headers["Date"] == "Tue, 05 Mar 2024 12:00:00 GMT"


async def test_a_moving_clock_uncovers_events_as_they_happen(serve):
    clock = [NOW / SECOND]
    async with serve(now=lambda: clock[0]) as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded"
        before = await client.get(path, startTime=iso(NOW), endTime="*")
        clock[0] += 3600
        after = await client.get(path, startTime=iso(NOW), endTime="*")
        assert len(after["Items"]) == len(before["Items"]) + 60
