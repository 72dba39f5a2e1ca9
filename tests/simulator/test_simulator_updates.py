"""Stream updates: what is told with a marker, and every way to lose one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.simulator import Event, FaultPlan, Simulator, SimulatorOptions, events
from engine.simulator.archive.update_messages import update_messages
from engine.simulator.times import DAY, HOUR, MINUTE, iso, parse_time, ticks_of
from tests.examples import examples
from tests.variants import slowly

NOW = ticks_of("2024-03-05T12:00:00Z")
MARKER = re.compile(r"[0-9a-f]{32}_\d+")


def plan(**switches):
    return FaultPlan.from_dict({"switches": switches})


async def register(client, index):
    answer = await client.post(f"streams/{client.simulator.web_id(index)}/updates", webIdType="IDOnly")
    assert answer["Status"] == "Succeeded"
    return answer["LatestMarker"]


def told(answer):
    """Action and instant of every message of a stream."""
    return [(event["Action"], parse_time(event["Timestamp"]).at(0)) for event in answer["Events"]]


# --- signing up ----------------------------------------------------------------


async def test_a_stream_is_signed_up_once(serve):
    async with serve() as client:
        web_id = client.simulator.web_id(3)
        first = await client.post(f"streams/{web_id}/updates", webIdType="IDOnly")
        point = client.simulator.point(3)
        assert MARKER.fullmatch(first["LatestMarker"])
        assert first == {
            "Source": web_id,
            "SourceName": point.name,
            "SourcePath": rf"\\SIMDA\{point.name}",
            "LatestMarker": first["LatestMarker"],
            "Status": "Succeeded",
            "Exception": None,
            "Links": {"Updates": f"{client.url}/streams/updates/{first['LatestMarker']}"},
        }
        again = await client.post(f"streams/{web_id}/updates", webIdType="IDOnly")
        assert again == first | {"Status": "AlreadyRegistered"}
        await client.post(f"streams/{web_id[:-2]}__/updates", expect=404)
        await client.post("streams/nonsense/updates", expect=400)
        await client.get(f"streams/{web_id}/updates", expect=405)
        await client.post(f"streams/updates/{first['LatestMarker']}", expect=405)


async def test_a_set_says_for_each_stream_whether_it_signed_up(serve):
    async with serve(faults=plan(updates_register_status=201)) as client:
        simulator = client.simulator
        simulator.change({"tag": 1, "action": "delete_point"}, {"tag": 2, "action": "forbid"})
        ids = [simulator.web_id(index) for index in range(3)]
        answer = await client.post("streamsets/updates", webId=ids, webIdType="IDOnly", expect=201)
        assert [(item["Source"], item["Status"]) for item in answer["Items"]] == [
            (ids[0], "Succeeded"),
            (ids[1], "Failed"),
            (ids[2], "Failed"),
        ]
        failed = answer["Items"][1]
        assert (failed["LatestMarker"], failed["SourceName"], failed["Links"]) == ("", None, {})
        assert failed["Exception"] == {"Errors": ["PI Point not found."]}
        assert "denied" in answer["Items"][2]["Exception"]["Errors"][0]
        await client.post("streamsets/updates", webId=[ids[0], "nonsense"], expect=400)
        await client.post("streamsets/updates", expect=400)
        await client.get("streamsets/updates", expect=400)


async def test_an_older_server_has_no_updates(serve):
    async with serve(faults=plan(updates=False)) as client:
        web_id = client.simulator.web_id(0)
        for path in (f"streams/{web_id}/updates", "streamsets/updates"):
            assert "No HTTP resource" in (await client.post(path, webId=web_id, expect=404))["Message"]
        await client.get("streams/updates/x", expect=404)
        await client.get("streamsets/updates", marker="x", expect=404)


# --- what is told --------------------------------------------------------------


async def test_new_events_are_added_as_time_goes_on(serve):
    async with serve() as client:
        markers = {index: await register(client, index) for index in range(20)}
        quiet = await client.get(f"streams/updates/{markers[0]}")
        assert (quiet["LatestMarker"], quiet["Events"], quiet["Status"]) == (markers[0], [], "Updated")
        await client.control("clock", {"advance": "10m"})
        answer = await client.get("streamsets/updates", marker=list(markers.values()), webIdType="IDOnly")
        for (index, marker), item in zip(markers.items(), answer["Items"], strict=True):
            came = events(client.simulator.options, index, NOW + 1, NOW + 10 * MINUTE + 1)
            assert told(item) == [("Add", event.ticks) for event in came]
            assert {event["PreviousEventAction"] for event in item["Events"]} == {"PreviousEventArchived"}
            assert (item["Source"], item["RequestedMarker"]) == (client.simulator.web_id(index), marker)
            assert item["LatestMarker"] == f"{marker[:-2]}_{len(came)}"
            assert item["Links"] == {"Next": f"{client.url}/streams/updates/{item['LatestMarker']}"}
            assert set(item["Events"][0]) == {
                "Action", "PreviousEventAction", "Timestamp", "Value", "UnitsAbbreviation", "Good", "Questionable",
                "Substituted", "Annotated",
            }  # fmt: skip
        after = await client.get(f"streams/updates/{answer['Items'][0]['LatestMarker']}")
        assert after["Events"] == []


async def test_changes_of_what_was_told_are_news(serve):
    async with serve(tags=1, shapes=(("steady", 1.0),)) as client:
        simulator = client.simulator
        known = simulator.truth(0, NOW - DAY, NOW + 1)
        simulator.insert(0, Event(NOW - 20 * HOUR + 1, 1.0))
        marker = await register(client, 0)
        await client.control(
            "changes",
            [
                {"tag": 0, "action": "insert", "at": iso(known[5].ticks + 1), "value": 4.5},
                {"tag": 0, "action": "insert", "at": iso(known[7].ticks), "value": 5.5},
                {"tag": 0, "action": "replace", "at": iso(known[10].ticks), "value": 6.5},
                {"tag": 0, "action": "delete", "at": iso(known[20].ticks), "until": iso(known[22].ticks)},
            ],
        )
        simulator.set_clock(NOW + MINUTE)
        answer = await client.get(f"streams/updates/{marker}")
        assert told(answer) == [
            ("Insert", known[5].ticks + 1),
            ("Insert", known[7].ticks),
            ("Update", known[10].ticks),
            ("Delete", known[20].ticks),
            ("Delete", known[21].ticks),
            ("Add", simulator.truth(0, NOW + 1, NOW + MINUTE + 1)[0].ticks),
        ]
        updated = answer["Events"][2]
        assert (updated["Value"], updated["Substituted"], updated["PreviousEventAction"]) == (6.5, True, "None")
        assert (await client.get(f"streams/updates/{answer['LatestMarker']}"))["Events"] == []


async def test_late_data_is_news_when_it_arrives(serve):
    async with serve(tags=1, shapes=(("steady", 1.0),)) as client:
        simulator = client.simulator
        simulator.hide(0, NOW - HOUR, NOW + 30 * MINUTE, until=NOW + HOUR)
        simulator.insert(0, Event(NOW - 9 * HOUR + 1, 3.5), visible_at=NOW + HOUR)
        marker = await register(client, 0)
        simulator.set_clock(NOW + 40 * MINUTE)
        first = await client.get(f"streams/updates/{marker}")
        assert [action for action, _ in told(first)] == ["Add"] * 10
        simulator.set_clock(NOW + HOUR)
        second = await client.get(f"streams/updates/{first['LatestMarker']}")
        late = simulator.truth(0, NOW - HOUR, NOW + 30 * MINUTE)
        assert len(late) == 90
        inserted = [("Insert", NOW - 9 * HOUR + 1), *(("Insert", event.ticks) for event in late)]
        assert told(second)[:91] == inserted
        assert {action for action, _ in told(second)[91:]} == {"Add"}


async def test_a_large_change_is_told_as_a_refresh(serve):
    async with serve(tags=1, faults=plan(updates_refresh_over=100), shapes=(("steady", 1.0),)) as client:
        marker = await register(client, 0)
        client.simulator.delete(0, NOW - DAY, NOW - HOUR)
        client.simulator.delete(0, NOW - 50 * DAY, NOW - 50 * DAY + HOUR)
        answer = await client.get(f"streams/updates/{marker}")
        assert told(answer)[-1] == ("Refresh", NOW - DAY)
        assert [action for action, _ in told(answer)] == ["Delete"] * 60 + ["Refresh"]


async def test_updates_tell_of_values_that_compression_drops(serve):
    faults = FaultPlan.from_dict({"tags": [{"tag": "*", "compress_every": 2}]})
    async with serve(tags=1, faults=faults, shapes=(("steady", 1.0),)) as client:
        marker = await register(client, 0)
        client.simulator.set_clock(NOW + 10 * MINUTE)
        answer = await client.get(f"streams/updates/{marker}")
        assert len(answer["Events"]) == 10
        kept = {event.ticks for event in client.simulator.truth(0, NOW - HOUR, NOW + DAY)}
        before = [NOW - HOUR, *(at for _, at in told(answer))]
        said = [event["PreviousEventAction"] == "PreviousEventArchived" for event in answer["Events"]]
        assert said[1:] == [at in kept for at in before[1:-1]]
        assert said.count(True) == 5


async def test_fields_may_be_chosen_and_batches_ask_too(serve):
    async with serve() as client:
        marker = await register(client, 0)
        client.simulator.set_clock(NOW + 10 * MINUTE)
        fields = "LatestMarker;Events.Action"
        parts = {"1": {"Method": "GET", "Resource": f"streams/updates/{marker}?selectedFields={fields}"}}
        content = (await client.batch(parts))["1"]["Content"]
        assert set(content) == {"LatestMarker", "Events"}
        assert content["Events"][0] == {"Action": "Add"}
        parts = {"1": {"Method": "POST", "Resource": f"streams/{client.simulator.web_id(1)}/updates"}}
        assert (await client.batch(parts))["1"]["Content"]["Status"] == "Succeeded"


# --- losing it -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"action": "delete_point"}, "The signup was removed because it is no longer valid."),
        ({"action": "rename", "name": "X"}, "The signup was updated and any cached data could be invalid."),
        ({"action": "retype", "type": "String"}, "The signup was updated and any cached data could be invalid."),
        ({"action": "forbid"}, "Access to the requested resource is denied."),
    ],
)
async def test_a_changed_point_ends_its_signup(serve, edit, words):
    async with serve() as client:
        markers = [await register(client, index) for index in range(2)]
        client.simulator.change({"tag": 0, **edit})
        answer = await client.get("streamsets/updates", marker=markers)
        failed = answer["Items"][0]
        assert (failed["Status"], failed["LatestMarker"], failed["Events"]) == ("Failed", "", [])
        assert failed["Exception"] == {"Errors": [words]}
        assert answer["Items"][1]["Status"] == "Updated"
        await client.get(f"streams/updates/{markers[0]}", expect=404)


async def test_a_marker_is_for_one_use_and_must_be_one(serve):
    async with serve() as client:
        marker = await register(client, 0)
        client.simulator.set_clock(NOW + 10 * MINUTE)
        await client.get(f"streams/updates/{marker}")
        for bad in (marker, "nonsense", "0" * 32):
            assert "is invalid" in (await client.get(f"streams/updates/{bad}", expect=409))["Errors"][0]
        lost = await client.get(f"streams/updates/{'0' * 32}_0", expect=404)
        assert "was not found" in lost["Errors"][0]


async def test_idle_markers_expire(serve):
    async with serve(faults=plan(updates_clock="simulated", updates_idle_secs=300)) as client:
        busy, idle = await register(client, 0), await register(client, 1)
        for minutes in (4, 8):
            client.simulator.set_clock(NOW + minutes * MINUTE)
            busy = (await client.get(f"streams/updates/{busy}"))["LatestMarker"]
        await client.get(f"streams/updates/{idle}", expect=404)
        await register(client, 1)
        client.simulator.set_clock(NOW + HOUR)
        await register(client, 2)  # also sweeps away what nobody asked for
        assert client.simulator.stats["subscriptions"] == 1


async def test_what_no_buffer_holds_costs_the_marker(serve):
    async with serve(tags=2, faults=plan(updates_buffer=20), shapes=(("steady", 1.0),)) as client:
        grown, edited = await register(client, 0), await register(client, 1)
        client.simulator.delete(1, NOW - HOUR, NOW)
        await client.get(f"streams/updates/{edited}", expect=404)
        client.simulator.set_clock(NOW + 19 * MINUTE)
        grown = (await client.get(f"streams/updates/{grown}"))["LatestMarker"]
        client.simulator.set_clock(NOW + HOUR)
        await client.get(f"streams/updates/{grown}", expect=404)
        assert client.simulator.stats["subscriptions"] == 0


async def test_a_restart_forgets_all_markers(serve):
    rules = [{"match": {"route": "system"}, "do": {"forget_updates": True}}]
    async with serve(faults=FaultPlan.from_dict({"rules": rules})) as client:
        for forget in (
            lambda: client.control("restart", {}, expect=204),
            lambda: client.get("system"),
        ):
            marker = await register(client, 0)
            await forget()
            await client.get(f"streams/updates/{marker}", expect=404)
            assert client.simulator.stats["subscriptions"] == 0


async def test_instances_without_affinity_know_every_second_marker(serve):
    async with serve(faults=plan(updates_instances=2)) as client:
        marker = await register(client, 0)
        await client.get(f"streams/updates/{marker}", expect=404)
        await client.get(f"streams/updates/{marker}")
        other = await register(client, 0)
        assert other != marker
        await client.get(f"streams/updates/{marker}")
        await client.get(f"streams/updates/{other}")
        assert client.simulator.stats["subscriptions"] == 2


@pytest.mark.parametrize("tags", [1_500, *slowly(30_000)])
async def test_many_subscriptions_stay_small_and_quick(serve, tags):
    async with serve(tags=tags) as client:
        markers = []
        for first in range(0, tags, 150):
            ids = [client.simulator.web_id(index) for index in range(first, first + 150)]
            answer = await client.post("streamsets/updates", webId=ids, selectedFields="Items.LatestMarker")
            markers += [item["LatestMarker"] for item in answer["Items"]]
        assert client.simulator.stats["subscriptions"] == len(set(markers)) == tags
        client.simulator.set_clock(NOW + DAY)
        answer = await client.get("streamsets/updates", marker=markers[-10:], selectedFields="Items.Events.Action")
        assert all(len(item["Events"]) > 1000 for item in answer["Items"])


# --- whatever is done ----------------------------------------------------------

_MINUTES = st.integers(-120, -1)
_STEPS = st.one_of(
    st.tuples(st.just("insert"), _MINUTES, st.integers(0, 9)),
    st.tuples(st.just("replace"), _MINUTES, st.integers(0, 9)),
    st.tuples(st.just("delete"), _MINUTES, st.integers(1, 60)),
    st.tuples(st.just("hide"), _MINUTES, st.integers(1, 60)),
    st.tuples(st.just("wait"), st.integers(1, 20), st.none()),
    st.tuples(st.just("poll"), st.none(), st.none()),
)


def _play(simulator, number, step):
    action, minutes, more = step
    now = simulator.now()
    # Apart from the signal's own instants and from each other: whose turn it is at one instant is no question here.
    at = now + (minutes or 0) * MINUTE + 11 + 2 * number
    if action == "wait":
        simulator.set_clock(now + minutes * MINUTE)
    elif action == "insert":
        simulator.insert(0, Event(at, float(more)))
    elif action == "replace":
        known = simulator.truth(0, now - 3 * HOUR, now + minutes * MINUTE + 1)
        simulator.replace(0, known[-1].ticks if known else at, float(more))
    elif action == "delete":
        simulator.delete(0, at, at + more * MINUTE)
    else:
        simulator.hide(0, at, at + more * MINUTE, until=now + more * MINUTE)


@examples(100)
@given(st.lists(_STEPS, max_size=15))
def test_who_does_as_told_holds_what_the_archive_holds(steps):
    simulator = Simulator(SimulatorOptions(tags=1, now=NOW / 10**7, shapes=(("steady", 1.0),)))
    history, since, known = simulator._site.history, NOW, 0
    mirror = {event.ticks: event for event in simulator.truth(0, NOW - DAY, NOW + 1)}
    for number, step in enumerate([*steps, ("poll", None, None)]):
        if step[0] != "poll":
            _play(simulator, number, step)
            continue
        now = simulator.now()
        for item in update_messages(history, 0, since=since, known=known, now=now, most=10_000, refresh_over=10_000):
            if item.action == "Delete":
                del mirror[item.event.ticks]
            else:
                assert (item.event.ticks in mirror) == (item.action == "Update")
                mirror[item.event.ticks] = item.event
        since, known = now, len(history.changes(0))
        assert list(map(mirror.get, sorted(mirror))) == simulator.truth(0, NOW - DAY, now + 1)
