"""History and points changed while the server runs: the answers follow, and the truth is told."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.simulator import DigitalState, Event, FaultPlan, FaultPlanError, Simulator, SimulatorOptions, events
from engine.simulator.archive.points import name_of
from engine.simulator.archive.values import event_value
from engine.simulator.times import DAY, HOUR, MINUTE, SECOND, iso, parse_time, ticks_of
from tests.examples import examples

NOW = ticks_of("2024-03-05T12:00:00Z")


def worth(value):
    """A value that equals itself."""
    return "NaN" if value != value else value


async def recorded(client, index, start=NOW - DAY, end=None):
    path = f"streams/{client.simulator.web_id(index)}/recorded"
    answer = await client.get(path, startTime=iso(start), endTime=iso(end or client.simulator.now()), maxCount=150_000)
    return [
        (
            parse_time(item["Timestamp"]).at(0),
            worth(item["Value"]),
            item["Good"],
            item["Questionable"],
            item["Substituted"],
            item["Annotated"],
        )
        for item in answer["Items"]
    ]


def flat(found):
    return [(e.ticks, worth(event_value(e.value)), e.good, e.questionable, e.substituted, e.annotated) for e in found]


async def agrees(client, index, start=NOW - DAY):
    """The API, the method and the control route tell one truth; gives it."""
    now = client.simulator.now()
    truth = client.simulator.truth(index, start, now + 1)
    assert await recorded(client, index, start) == flat(truth)
    answer = await client.control("truth", tag=str(index), start=iso(start))
    told = [
        (
            parse_time(e["Timestamp"]).at(0),
            worth(e["Value"]),
            e["Good"],
            e["Questionable"],
            e["Substituted"],
            e["Annotated"],
        )
        for e in answer["Events"]
    ]
    assert told == flat(truth)
    assert all(len(e["Timestamp"]) == len("2024-03-05T12:00:00.0000000Z") for e in answer["Events"])
    return truth


async def names(client):
    server = (await client.get("dataservers"))["Items"][0]["WebId"]
    page = await client.get(f"dataservers/{server}/points", selectedFields="Items.Name", maxCount=1000)
    return [item["Name"] for item in page["Items"]]


# --- history -----------------------------------------------------------------


async def test_history_changes_through_the_control_route(serve):
    async with serve() as client:
        name = client.simulator.point(3).name
        before = await agrees(client, 3)
        edits = [
            {"tag": name, "action": "insert", "at": "2024-03-05T01:00:00.1234567Z", "value": 5, "good": False},
            {"tag": name, "action": "replace", "at": iso(before[9].ticks), "value": None},
            {"tag": 3, "action": "delete", "at": iso(before[100].ticks), "until": iso(before[200].ticks)},
        ]
        answer = await client.control("changes", edits)
        assert answer["Now"] == "2024-03-05T12:00:00.0000000Z"
        assert answer["Applied"][0] == {
            "Action": "insert",
            "Tag": name,
            "Index": 3,
            "Name": name,
            "WebId": client.simulator.web_id(3),
        }
        after = await agrees(client, 3)
        late = ticks_of("2024-03-05T01:00:00.1234567Z")
        first, last = before[100].ticks, before[200].ticks
        kept = [event for event in before if event.ticks != before[9].ticks and not first <= event.ticks < last]
        expected = [
            *kept,
            Event(late, 5, good=False),
            Event(before[9].ticks, None, substituted=True),
        ]
        assert after == sorted(expected, key=lambda event: event.ticks)


async def test_late_data_shows_when_the_clock_gets_there(serve):
    async with serve() as client:
        whole = await agrees(client, 1)
        arrives = iso(NOW + HOUR)
        await client.control(
            "changes",
            [
                {"tag": 1, "action": "hide", "at": iso(NOW - HOUR), "until": iso(NOW + 1), "visible_at": arrives},
                {"tag": 1, "action": "insert", "at": iso(NOW - 5 * HOUR + 1), "value": 7, "visible_at": arrives},
            ],
        )
        assert await agrees(client, 1) == [event for event in whole if event.ticks < NOW - HOUR]
        assert (await client.control("clock", {"advance": "1h"}))["Now"] == "2024-03-05T13:00:00.0000000Z"
        assert (await client.control("clock"))["Now"] == "2024-03-05T13:00:00.0000000Z"
        found = await agrees(client, 1)
        assert [event for event in found if event.ticks <= NOW and event.value != 7] == whole
        assert [event.ticks for event in found if event.value == 7] == [NOW - 5 * HOUR + 1]


@pytest.mark.parametrize(
    ("edits", "words", "applied"),
    [
        ([{"tag": "Nobody", "action": "delete", "at": iso(NOW)}], "no tag 'Nobody'", 0),
        ([{"tag": 1, "action": "forbid"}, {"tag": 99_999, "action": "allow"}], "no tag 99999", 1),
        ([{"tag": 1, "action": "delet", "at": iso(NOW)}], "delet", None),
        ([{"tag": 1, "action": "delete"}], "`delete` needs `at`", None),
        ([{"tag": 1, "action": "rename"}], "`rename` needs `name`", None),
        ([{"tag": 1, "action": "rename", "name": " "}], "`name` is empty", None),
        ([{"tag": 1, "action": "delete", "at": iso(NOW), "value": 3}], "`delete` takes no `value`", None),
        ([{"tag": 1, "action": "delete", "at": "*-1h"}], "'*-1h' is not an instant", None),
        ([{"tag": 1, "action": "hide", "at": iso(NOW)}], "`hide` needs `visible_at`", None),
        ([{"tag": 1, "action": "insert", "at": iso(NOW), "value": {"Name": "Open"}}], "is no state", None),
        ([{"tag": 1, "action": "retype", "type": "Digital", "digital_set": "Door"}], "no digital set 'Door'", None),
        (
            [{"tag": 1, "action": "retype", "type": "Int32", "digital_set": "Pump"}],
            "only a point of type Digital",
            None,
        ),
        ([{"tag": 7, "action": "create_point"}], "needs a name", None),
        ([{"tag": "New", "action": "create_point", "interval": "soon"}], "time span 'soon'", None),
        ([{"tag": 1, "action": "restore_point"}], "is there", 0),
        ([{"tag": 1, "action": "delete_point"}, {"tag": 1, "action": "rename", "name": "X"}], "is deleted", 1),
        ([{"action": "delete", "at": iso(NOW)}], "`delete` needs `tag`", None),
        ([{"tag": 1, "action": "allow_set", "digital_set": "Pump"}], "`allow_set` takes no `tag`", None),
        ([{"action": "remove_state", "digital_set": "Pump"}], "`remove_state` needs `code`", None),
        ([{"action": "rename_state", "digital_set": "Pump", "code": 1}], "`rename_state` needs `name`", None),
        ([{"action": "forbid_set", "digital_set": "Door"}], "no digital set 'Door' among SYSTEM, Pump", None),
        ([{"action": "add_state", "digital_set": "Pump", "code": 1, "name": "x"}], "already has a state 1", 0),
        ([{"action": "remove_state", "digital_set": "SYSTEM", "code": 1}], "has no state 1", 0),
        ({"tag": 1}, "array", None),
    ],
)
async def test_a_change_that_cannot_be_made_says_why(serve, edits, words, applied):
    async with serve() as client:
        answer = await client.control("changes", edits, expect=400)
        assert words in answer["Errors"][0]
        assert (len(answer["Applied"]) if "Applied" in answer else None) == applied


async def test_control_routes_know_what_they_are_asked(serve):
    async with serve() as client:
        assert "no control route" in (await client.control("nothing", expect=404))["Errors"][0]
        assert "no tag 'x'" in (await client.control("truth", tag="x", expect=400))["Errors"][0]
        for body, words in (
            ({}, "either `now` or `advance`"),
            ({"now": "soon"}, "not an instant"),
            ({"advance": "soon"}, "time span"),
            ({"now": iso(NOW - 1)}, "forward only"),
        ):
            assert words in (await client.control("clock", body, expect=400))["Errors"][0]
        assert (await client.control("clock", {"now": iso(NOW + 7)}))["Now"] == "2024-03-05T12:00:00.0000007Z"
        assert client.simulator.now() == NOW + 7
        client.simulator.set_clock(NOW + 8)
        assert client.simulator.now() == NOW + 8
    async with serve(now=None) as client:
        assert "runs by itself" in (await client.control("clock", {"advance": "1s"}, expect=400))["Errors"][0]


async def test_the_log_of_requests_has_those_to_the_api_alone_also_refused_ones(serve):
    faults = FaultPlan.from_dict({"switches": {"rate_limit": 2, "rate_limit_secs": 3600}})
    async with serve(faults=faults) as client:
        for path, status in (("system", 200), ("dataservers", 200), ("system", 429)):
            await client.get(path, expect=status)
        logged = (await client.control("requests"))["Arrivals"]
        again = (await client.control("requests"))["Arrivals"]
    assert [name for _, name in logged] == ["system", "dataservers", "system"]
    assert [secs for secs, _ in logged] == sorted(secs for secs, _ in logged)
    assert again == logged


async def test_control_routes_ask_for_no_login_and_suffer_no_fault(serve):
    faults = FaultPlan.from_dict({"switches": {"rate_limit": 1}, "rules": [{"do": {"status": 500}}]})
    async with serve(faults=faults) as client:
        for _ in range(3):
            assert (await client.control("truth", tag="0", start=iso(NOW)))["Index"] == 0


# --- points ------------------------------------------------------------------


async def test_a_renamed_point_keeps_its_id_and_nothing_else(serve):
    async with serve() as client:
        old, web_id = client.simulator.point(5).name, client.simulator.web_id(5)
        by_name = client.simulator.web_id(5, "P")
        before = await agrees(client, 5)
        await client.control("changes", [{"tag": old, "action": "rename", "name": "Boiler 2 Öl"}])
        found = await client.get(f"points/{web_id}")
        assert (found["Id"], found["Name"], found["Path"]) == (1006, "Boiler 2 Öl", r"\\SIMDA\Boiler 2 Öl")
        assert (await client.get("points", path=r"\\simda\boiler 2 öl"))["Id"] == 1006
        await client.get("points", path=rf"\\SIMDA\{old}", expect=404)
        await client.get(f"points/{by_name}", expect=404)
        listed = await names(client)
        assert old not in listed
        assert listed[5] == "Boiler 2 Öl"
        assert await agrees(client, 5) == before
        several = await client.get("points/multiple", path=[rf"\\SIMDA\{old}", r"\\SIMDA\Boiler 2 Öl"], expect=207)
        assert [item["Exception"] is None for item in several["Items"]] == [False, True]
        searched = await client.get("points/search", query="Tag:=Boiler*", dataServerWebId="")
        assert [item["Id"] for item in searched["Items"]] == [1006]
        whole = await client.get("streamsets/recorded", webId=[web_id])
        assert whole["Items"][0]["Name"] == "Boiler 2 Öl"
        # The name is free again, and back.
        client.simulator.change({"tag": "boiler 2 öl", "action": "rename", "name": old})
        assert (await client.get(f"points/{by_name}"))["Id"] == 1006


async def test_two_points_never_share_a_name(serve):
    async with serve() as client:
        simulator = client.simulator
        first, second = simulator.point(1).name, simulator.point(2).name
        with pytest.raises(ValueError, match="already a point"):
            simulator.change({"tag": first, "action": "rename", "name": second.upper()})
        simulator.change({"tag": first, "action": "rename", "name": first.upper()})
        assert simulator.point(1).name == first.upper()
        simulator.change({"tag": second, "action": "delete_point"}, {"tag": first, "action": "rename", "name": second})
        assert (await client.get("points", path=rf"\\SIMDA\{second}"))["Id"] == 1002
        with pytest.raises(ValueError, match="already a point"):
            simulator.change({"tag": 2, "action": "restore_point"})


async def test_a_retyped_point_gives_values_of_its_new_type_from_then_on(serve):
    async with serve(types=(("Float32", 1.0),), bad=0.0) as client:
        simulator = client.simulator
        before = await agrees(client, 4)
        simulator.change({"tag": 4, "action": "retype", "type": "Digital", "digital_set": "Valve"})
        simulator.set_clock(NOW + HOUR)
        simulator.change({"tag": 4, "action": "retype", "type": "String"})
        simulator.set_clock(NOW + 2 * HOUR)
        found = await agrees(client, 4)
        assert [event for event in found if event.ticks < NOW] == [event for event in before if event.ticks < NOW]
        kinds = [type(event.value) for event in found if event.ticks >= NOW]
        assert kinds == [DigitalState] * 60 + [str] * 60
        shown = await client.get(f"points/{simulator.web_id(4)}")
        assert (shown["PointType"], shown["DigitalSetName"], shown["Step"]) == ("String", "", True)
        attribute = await client.get(f"points/{simulator.web_id(4)}/attributes/changedate")
        assert attribute["Value"] == iso(NOW + HOUR)


async def test_a_deleted_point_is_gone_until_it_is_restored(serve):
    async with serve() as client:
        simulator, web_id = client.simulator, client.simulator.web_id(6)
        name, whole = simulator.point(6).name, await agrees(client, 6)
        await client.control("changes", [{"tag": name, "action": "delete_point"}])
        for path in (f"points/{web_id}", f"streams/{web_id}/recorded", f"streams/{web_id}/summary"):
            await client.get(path, expect=404)
        answer = await client.batch({"1": {"Method": "GET", "Resource": f"streams/{web_id}/recorded?startTime=*-1h"}})
        assert answer["1"]["Status"] == 404
        assert name not in await names(client)
        told = await client.control("truth", tag=name, start=iso(NOW - DAY))
        assert (told["Deleted"], told["Events"]) == (True, [])
        simulator.change({"tag": name, "action": "restore_point"})
        assert await agrees(client, 6) == whole
        assert name in await names(client)
        simulator.change({"tag": 6, "action": "delete_point"}, {"tag": 6, "action": "restore_point", "history": False})
        assert [event.ticks for event in await agrees(client, 6)] == [NOW] * (whole[-1].ticks == NOW)
        simulator.set_clock(NOW + HOUR)
        assert len(await agrees(client, 6)) >= 60


async def test_a_point_deleted_and_created_anew_has_another_id(serve):
    async with serve() as client:
        simulator = client.simulator
        name = simulator.point(6).name
        simulator.change({"tag": name, "action": "delete_point"}, {"tag": name, "action": "create_point"})
        assert (await client.get("points", path=rf"\\SIMDA\{name}"))["Id"] == 1001 + 60
        await client.get(f"points/{simulator.web_id(6)}", expect=404)
        assert (await names(client)).count(name) == 1


async def test_a_new_point_records_from_its_creation_on(serve):
    async with serve(tags=3) as client:
        simulator = client.simulator
        made = simulator.change(
            {"tag": "New.Pump", "action": "create_point", "type": "Digital", "digital_set": "Pump", "interval": "10s"},
            {"tag": "New.Flow", "action": "create_point", "units": "m3/h"},
        )
        assert [item["Index"] for item in made] == [3, 4]
        assert await names(client) == [*(simulator.point(index).name for index in range(3)), "New.Pump", "New.Flow"]
        assert await agrees(client, 3) == []
        await client.control("clock", {"advance": "10m"})
        found = await agrees(client, 3)
        assert [event.ticks for event in found] == list(range(NOW + SECOND, NOW + 10 * MINUTE, 10 * SECOND))
        shown = await client.get(f"points/{simulator.web_id(4)}")
        assert (shown["EngineeringUnits"], shown["PointType"]) == ("m3/h", "Float32")
        assert shown["Descriptor"].startswith("Flow")
        created = await client.get(f"points/{simulator.web_id(4)}/attributes/creationdate")
        assert created["Value"] == iso(NOW)
        await client.get(f"points/{simulator.web_id(0)[:-6]}{simulator.web_id(4)[-6:]}")
        batch = {"1": {"Method": "GET", "Resource": f"streams/{simulator.web_id(3)}/recorded?startTime=*-10m"}}
        assert len((await client.batch(batch))["1"]["Content"]["Items"]) == 60


async def test_a_point_may_be_forbidden_for_a_while(serve):
    async with serve() as client:
        web_id = client.simulator.web_id(2)
        client.simulator.change({"tag": 2, "action": "forbid"})
        await client.get(f"streams/{web_id}/recorded", expect=403)
        answer = await client.batch({"1": {"Method": "GET", "Resource": f"streams/{web_id}/recorded?startTime=*-1h"}})
        assert answer["1"]["Status"] == 403
        client.simulator.change({"tag": 2, "action": "forbid", "status": 500})
        await client.get(f"points/{web_id}", expect=500)
        client.simulator.change({"tag": 2, "action": "allow"})
        await agrees(client, 2)


async def test_a_plan_changes_points_when_their_time_comes(serve, make_plant, tmp_path):
    name = name_of(make_plant(), 3)
    file = tmp_path / "plan.yaml"
    file.write_text(
        "edits:\n"
        f"- {{tag: {name}, action: rename, name: Moved, at: 2024-03-05T12:30:00Z}}\n"
        "- {tag: Moved, action: retype, type: String, at: 2024-03-05T12:40:00Z}\n"
        "- {tag: Nobody, action: delete_point, at: 2024-03-05T12:45:00Z}\n"
        "- {tag: Added, action: create_point, at: 2024-03-05T12:50:00Z}\n"
        "- {tag: 7, action: delete_point}\n"
    )
    async with serve(faults=FaultPlan.load(file)) as client:
        await client.get(f"points/{client.simulator.web_id(7)}", expect=404)
        assert "Moved" not in await names(client)
        due = await client.control("changes", [{"tag": 8, "action": "delete_point", "at": "2024-03-05T12:30:00Z"}])
        assert due["Applied"][0]["Due"] == "2024-03-05T12:30:00.0000000Z"
        await client.control("clock", {"now": "2024-03-05T12:30:00Z"})
        assert "Moved" in await names(client)
        await client.get(f"points/{client.simulator.web_id(8)}", expect=404)
        await client.control("clock", {"now": "2024-03-05T13:00:00Z"})
        found = await agrees(client, 3)
        since = ticks_of("2024-03-05T12:40:00Z")
        assert all(isinstance(event.value, (str, DigitalState, type(None))) for event in found if event.ticks >= since)
        assert any(isinstance(event.value, str) for event in found if event.ticks >= since)
        assert client.simulator.stats["changes_failed"] == [
            "delete_point of 'Nobody': \"no tag 'Nobody' among the 60 simulated ones\""
        ]
        assert client.simulator.point("Added").id == 1061
        assert client.simulator.truth("Added", 0, NOW * 2)[0].ticks == ticks_of("2024-03-05T12:50:01Z")


def test_a_plan_with_a_half_said_change_is_refused():
    with pytest.raises(FaultPlanError, match=r"`rename` needs `name`.*edits\[0\]"):
        FaultPlan.from_dict({"edits": [{"tag": "x", "action": "rename"}]})
    with pytest.raises(FaultPlanError, match="did you mean `digital_set`"):
        FaultPlan.from_dict({"edits": [{"tag": "x", "action": "retype", "type": "Digital", "digital_sett": "Pump"}]})


# --- the newest value ----------------------------------------------------------


async def test_the_newest_value_of_any_age_may_vanish_once_a_newer_one_comes(serve):
    async with serve(tags=1, interval_secs=86_400.0, shapes=(("steady", 1.0),)) as client:
        newest = (await agrees(client, 0, NOW - 9 * DAY))[-1]
        client.simulator.change({"tag": 0, "action": "compress", "at": iso(newest.ticks)})
        assert (await agrees(client, 0, NOW - 9 * DAY))[-1] == newest
        client.simulator.set_clock(newest.ticks + DAY - 1)
        assert (await agrees(client, 0, NOW - 9 * DAY))[-1] == newest
        client.simulator.set_clock(newest.ticks + DAY)
        found = await agrees(client, 0, NOW - 9 * DAY)
        assert newest not in found
        assert found[-1].ticks == newest.ticks + DAY


async def test_a_written_value_pushes_the_newest_one_through_compression(serve):
    faults = FaultPlan.from_dict({"tags": [{"tag": "*", "compress_every": 2}]})
    async with serve(tags=1, faults=faults, shapes=(("steady", 1.0),)) as client:
        signal = events(client.simulator.options, 0, NOW - DAY, NOW + DAY)
        found = await agrees(client, 0)
        dropped = [event for event in signal if event.ticks <= NOW and event not in found]
        assert len(dropped) in {719, 720}
        compressible = next(
            event for event in signal if event.ticks > NOW and event.ticks - dropped[-1].ticks == 2 * MINUTE
        )
        client.simulator.set_clock(compressible.ticks)
        assert (await agrees(client, 0))[-1] == compressible
        client.simulator.set_clock(compressible.ticks + SECOND)
        client.simulator.insert(0, Event(compressible.ticks + SECOND, 1.5))
        found = await agrees(client, 0)
        assert found[-1].value == 1.5
        assert compressible not in found


async def test_late_data_bypasses_compression(serve):
    faults = FaultPlan.from_dict({"tags": [{"tag": "*", "compress_every": 2}]})
    async with serve(tags=1, faults=faults, shapes=(("steady", 1.0),)) as client:
        client.simulator.hide(0, NOW - HOUR, NOW, until=NOW + HOUR)
        client.simulator.set_clock(NOW + HOUR)
        found = await agrees(client, 0)
        assert len([event for event in found if NOW - HOUR <= event.ticks < NOW]) == 60
        assert len([event for event in found if NOW - 2 * HOUR <= event.ticks < NOW - HOUR]) == 30


async def test_ranges_may_hide_the_newest_value_until_the_next_one(serve):
    faults = FaultPlan.from_dict({"switches": {"recorded_shows_snapshot": False}})
    async with serve(tags=1, faults=faults, shapes=(("steady", 1.0),)) as client:
        path = f"streams/{client.simulator.web_id(0)}"
        for edited in (False, True):
            if edited:
                client.simulator.insert(0, Event(NOW - HOUR + 1, 3.5))
            shown = await recorded(client, 0)
            truth = client.simulator.truth(0, NOW - DAY, client.simulator.now() + 1)
            assert shown == flat(truth[:-1])
            told = await client.control("truth", tag="0", start=iso(NOW - DAY), shown="recorded")
            assert len(told["Events"]) == len(shown)
            newest = (await client.get(f"{path}/value"))["Timestamp"]
            assert parse_time(newest).at(0) == truth[-1].ticks
            client.simulator.set_clock(client.simulator.now() + MINUTE)
            assert truth[-1].ticks in {row[0] for row in await recorded(client, 0)}


# --- whatever is done ----------------------------------------------------------

_INSTANTS = st.integers(-180, 180).map(lambda minutes: NOW + minutes * MINUTE)
_EDITS = st.one_of(
    st.builds(lambda at, value: ("insert", at, None, value), _INSTANTS, st.integers(0, 9)),
    st.builds(lambda at, value: ("replace", at, None, value), _INSTANTS, st.integers(0, 9)),
    st.builds(lambda at, span: ("delete", at, at + span * MINUTE, None), _INSTANTS, st.integers(1, 60)),
    st.builds(lambda at, span: ("compress", at, at + span * MINUTE, None), _INSTANTS, st.integers(1, 60)),
    st.builds(lambda span: ("wait", span, None, None), st.integers(1, 60)),
)


@settings(examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_EDITS, max_size=12))
def test_a_window_is_the_same_however_it_is_cut(steps):
    simulator = Simulator(SimulatorOptions(tags=1, now=NOW / SECOND, shapes=(("doubled", 1.0),)))
    for action, at, until, value in steps:
        if action == "wait":
            simulator.set_clock(simulator.now() + at * MINUTE)
            continue
        edit = {"tag": 0, "action": action, "at": iso(at)}
        edit |= {"until": iso(until)} if until is not None else {}
        edit |= {"value": value} if value is not None else {}
        simulator.change(edit)
    start, end = NOW - 4 * HOUR, NOW + 20 * HOUR
    whole = simulator.truth(0, start, end)
    cuts = range(start, end + 1, 97 * MINUTE)
    pieces = [simulator.truth(0, first, last) for first, last in zip(cuts, [*cuts[1:], end], strict=True)]
    assert [event for piece in pieces for event in piece] == whole
    assert [event.ticks for event in whole] == sorted(event.ticks for event in whole)


# --- digital sets ------------------------------------------------------------


async def states(client, name, expect=200):
    server = (await client.get("dataservers"))["Items"][0]["WebId"]
    [web_id] = [
        item["WebId"]
        for item in (await client.get(f"dataservers/{server}/enumerationsets"))["Items"]
        if item["Name"] == name
    ]
    answer = await client.get(f"enumerationsets/{web_id}/enumerationvalues", expect=expect)
    return {item["Value"]: item["Name"] for item in answer["Items"]} if expect == 200 else answer


async def test_states_are_renamed_added_and_removed_and_events_show_the_new_names(serve):
    async with serve(types=(("Digital", 1.0),), bad=0.1) as client:
        index = next(n for n in range(60) if client.simulator.point(n).digital_set == "Pump")
        before = await agrees(client, index)
        assert {event.value.name for event in before if event.value} >= {"Running", "Tripped", "I/O Timeout"}
        answer = await client.control(
            "changes",
            [
                {"action": "rename_state", "digital_set": "Pump", "code": 1, "name": "Läuft"},
                {"action": "rename_state", "digital_set": "SYSTEM", "code": 246, "name": "Zeitüberschreitung"},
                {"action": "add_state", "digital_set": "Pump", "code": 9, "name": "Serviced"},
                {"action": "remove_state", "digital_set": "Pump", "code": 3},
                {"action": "add_state", "digital_set": "Mode", "code": 8, "name": "Test", "at": iso(NOW + HOUR)},
            ],
        )
        assert answer["Applied"][0] == {"Action": "rename_state", "Set": "Pump", "Code": 1}
        assert answer["Applied"][4] == {
            "Action": "add_state", "Set": "Mode", "Code": 8, "Due": "2024-03-05T13:00:00.0000000Z",
        }  # fmt: skip
        assert await states(client, "Pump") == {0: "Stopped", 1: "Läuft", 2: "Starting", 9: "Serviced"}
        assert (await states(client, "SYSTEM"))[246] == "Zeitüberschreitung"
        after = await agrees(client, index)
        new = {(1, False): "Läuft", (246, True): "Zeitüberschreitung"}
        assert [(e.ticks, e.value and (e.value.code, e.value.is_system)) for e in after] == [
            (e.ticks, e.value and (e.value.code, e.value.is_system)) for e in before
        ]
        assert {e.value.name for e in after if e.value} == {
            new.get((e.value.code, e.value.is_system), e.value.name) for e in before if e.value
        }
        assert 8 not in await states(client, "Mode")
        await client.control("clock", {"advance": "1h"})
        assert (await states(client, "Mode"))[8] == "Test"


async def test_a_set_may_be_forbidden_and_its_events_are_not(serve):
    async with serve(types=(("Digital", 1.0),)) as client:
        before = await agrees(client, 0)
        client.simulator.change({"action": "forbid_set", "digital_set": "Valve"})
        assert "denied" in (await states(client, "Valve", expect=403))["Errors"][0]
        assert 0 in await states(client, "Pump")
        assert await agrees(client, 0) == before
        client.simulator.change({"action": "forbid_set", "digital_set": "Valve", "status": 500})
        await states(client, "Valve", expect=500)
        client.simulator.change({"action": "allow_set", "digital_set": "Valve"})
        assert (await states(client, "Valve"))[4] == "Störung"


async def test_two_servers_share_no_names(serve):
    async with serve() as one, serve() as other:
        one.simulator.change({"action": "rename_state", "digital_set": "Pump", "code": 0, "name": "Off"})
        assert (await states(other, "Pump"))[0] == "Stopped"
