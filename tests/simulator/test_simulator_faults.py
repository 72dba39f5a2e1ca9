"""The fault plan: read strictly, played exactly."""

import asyncio

import aiohttp
import pytest
from yarl import URL

from engine.simulator import DigitalState, Event, FaultPlan, FaultPlanError, Simulator, events
from engine.simulator.archive.points import name_of
from engine.simulator.faults.plan import Switches
from engine.simulator.times import DAY, HOUR, MINUTE, iso, parse_time, ticks_of

NOW = ticks_of("2024-03-05T12:00:00Z")
GLOB = "*.000003"  # the tag with index 3
BROKEN = (aiohttp.ClientError, ConnectionError)


def plan(**parts) -> FaultPlan:
    return FaultPlan.from_dict(parts)


def rule(do: dict, **match) -> FaultPlan:
    return plan(rules=[{"match": match, "do": do}])


async def status(client, path: str) -> int:
    async with client.session.get(f"{client.url}/{path}") as answer:
        await answer.read()
        return answer.status


# --- reading ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"rules": [{"do": {"hng": True}}]}, ["hng", "did you mean `hang`", "$.rules[0].do"]),
        ({"switchs": {}}, ["switchs", "did you mean `switches`"]),
        ({"switches": {"nan": "nothing"}}, ["nothing", "$.switches.nan"]),
        ({"rules": [{"match": {"probability": 2}, "do": {}}]}, ["<= 1", "$.rules[0].match.probability"]),
        ({"tags": [{"gone": True}]}, ["tag", "$.tags[0]"]),
        ([], ["object"]),
        ({"edits": [{"tag": "x", "action": "delete", "at": "*-1h"}]}, ["'*-1h' is not an instant", "$.edits[0]"]),
    ],
)
def test_a_plan_that_is_none_is_refused_where_it_goes_wrong(content, words):
    with pytest.raises(FaultPlanError) as caught:
        FaultPlan.from_dict(content)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_plan_is_read_from_yaml(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(
        "switches: {nan: bare}\n"
        "rules:\n- match: {route: streams/*/recorded, every: 3}\n  do: {status: 503}\n"
        "edits:\n- {tag: A.1, action: insert, at: 2024-03-05T10:00:00Z, value: 5}\n"
    )
    found = FaultPlan.load(file)
    assert found.switches == Switches(nan="bare")
    assert (found.rules[0].match.every, found.rules[0].do.status) == (3, 503)
    assert ticks_of(found.edits[0].at) == ticks_of("2024-03-05T10:00:00Z")
    file.write_text("rules: [")
    with pytest.raises(FaultPlanError, match="is not YAML"):
        FaultPlan.load(file)
    with pytest.raises(FaultPlanError, match="cannot read"):
        FaultPlan.load(tmp_path / "missing.yaml")


# --- rules -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"nth": 2}, [200, 503, 200, 200, 200, 200]),
        ({"first": 2}, [503, 503, 200, 200, 200, 200]),
        ({"after": 4}, [200, 200, 200, 200, 503, 503]),
        ({"every": 3}, [200, 200, 503, 200, 200, 503]),
        ({"after": 1, "first": 3}, [200, 503, 503, 200, 200, 200]),
        ({"scope": "sub"}, [200] * 6),
        ({"route": "streams/*/end"}, [200] * 6),
        ({"method": "post"}, [200] * 6),
        ({"tag": "*.000004"}, [200] * 6),
        ({"tag": GLOB}, [503] * 6),
    ],
)
async def test_rules_choose_their_requests(serve, match, expected):
    async with serve(faults=rule({"status": 503}, **match)) as client:
        path = f"streams/{client.simulator.web_id(3)}/value"
        assert [await status(client, path) for _ in range(6)] == expected
        assert client.simulator.stats["rules_applied"] == [expected.count(503)]


async def test_dice_are_seeded(serve):
    async def play() -> list[int]:
        async with serve(faults=rule({"status": 500}, probability=0.5)) as client:
            return [await status(client, "system") for _ in range(20)]

    first = await play()
    assert first == await play()
    assert {200, 500} == set(first)


async def test_answers_may_be_replaced(serve):
    faults = plan(
        rules=[
            {"match": {"route": "system"}, "do": {"status": 429, "retry_after": 3}},
            {"match": {"route": "system/status"}, "do": {"status": 502, "html": True}},
            {"match": {"route": "system/versions"}, "do": {"status": 500, "body": {"Errors": ["boom"]}}},
            {"match": {"route": "dataservers"}, "do": {"body": "not json"}},
        ]
    )
    async with serve(faults=faults) as client:
        async with client.session.get(f"{client.url}/system") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
            assert await answer.json() == {"Message": "Rate limit was reached."}
        async with client.session.get(f"{client.url}/system/status") as answer:
            assert (answer.status, answer.content_type) == (502, "text/html")
        assert await client.get("system/versions", expect=500) == {"Errors": ["boom"]}
        async with client.session.get(f"{client.url}/dataservers") as answer:
            assert (answer.status, await answer.read()) == (200, b"not json")


async def test_parts_of_a_batch_fail_alone(serve):
    async with serve(faults=rule({"status": 503}, tag=GLOB, scope="sub")) as client:
        simulator = client.simulator
        parts = {
            str(n): {"Method": "GET", "Resource": f"streams/{simulator.web_id(n)}/recorded?maxCount=2"}
            for n in range(6)
        }
        answer = await client.batch(parts)
        assert [answer[str(n)]["Status"] for n in range(6)] == [200, 200, 200, 503, 200, 200]
        assert isinstance(answer["3"]["Content"], str)  # HTML arrives as a string
        assert await status(client, f"streams/{simulator.web_id(3)}/value") == 200


@pytest.mark.parametrize("do", [{"truncate_bytes": 500}, {"fail_midway": True}, {"drop_connection": True}])
async def test_connections_break(serve, do):
    async with serve(faults=rule(do, first=2, route="streams/*/recorded")) as client:
        path = f"{client.url}/streams/{client.simulator.web_id(0)}/recorded"
        # A client may ask a second time on its own when the connection is gone before an answer began.
        while client.simulator.stats["rules_applied"] != [2]:
            with pytest.raises(BROKEN):
                async with client.session.get(path) as answer:
                    await answer.read()
        assert await status(client, f"streams/{client.simulator.web_id(0)}/recorded") == 200


async def test_a_part_that_breaks_off_breaks_the_batch(serve):
    async with serve(faults=rule({"truncate_bytes": 300}, scope="sub", nth=2)) as client:
        parts = {
            str(n): {"Method": "GET", "Resource": f"streams/{client.simulator.web_id(n)}/recorded"} for n in range(3)
        }
        with pytest.raises(BROKEN):
            await client.batch(parts)
        assert len(await client.batch(parts)) == 3


async def test_a_hanging_answer_ends_when_the_client_leaves_or_the_server_closes(make_plant):
    simulator = Simulator(make_plant(faults=rule({"hang": True}, route="system")))
    async with simulator.serve() as url:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
            writer.write(b"GET /piwebapi/system HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await reader.read(1)
            if simulator.stats["requests"] == 1:
                writer.close()
                await writer.wait_closed()
    assert simulator.stats["requests"] == 2
    with pytest.raises(ConnectionError):
        assert await reader.read(1)
    writer.close()


@pytest.mark.parametrize("mode", ["web_exception", "fail_midway"])
async def test_a_stream_may_break_off_with_a_web_exception(serve, mode):
    faults = plan(
        switches={"mid_stream_failure": "web_exception"},
        rules=[{"match": {"route": "streams/*/recorded"}, "do": {mode: True}}],
    )
    async with serve(faults=faults) as client:
        answer = await client.get(f"streams/{client.simulator.web_id(0)}/recorded", maxCount=100)
        assert answer["WebException"]["StatusCode"] == 500
        assert len(answer["Items"]) == 50


async def test_a_value_may_carry_errors(serve):
    async with serve(faults=rule({"value_error": 2}, tag=GLOB)) as client:
        ids = [client.simulator.web_id(index) for index in range(5)]
        answer = await client.get("streamsets/recorded", webId=ids, maxCount=4)
        failed = [
            (s, i)
            for s, stream in enumerate(answer["Items"])
            for i, item in enumerate(stream["Items"])
            if "Errors" in item
        ]
        assert failed == [(3, 2)]
        item = answer["Items"][3]["Items"][2]
        assert (item["Value"], item["Good"], item["Errors"][0]["FieldName"]) == (None, False, "Value")
        one = await client.get(f"streams/{ids[3]}/value")
        assert "Errors" in one


# --- tags in trouble -------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"), [({"gone": True}, 404), ({"forbidden": 403}, 403), ({"forbidden": 500}, 500)]
)
async def test_tags_gone_or_forbidden(serve, fault, code):
    async with serve(faults=plan(tags=[{"tag": GLOB, **fault}])) as client:
        assert "Errors" in await client.get(f"streams/{client.simulator.web_id(3)}/recorded", expect=code)
        assert await status(client, f"streams/{client.simulator.web_id(4)}/recorded") == 200


@pytest.mark.parametrize(("mode", "code"), [(400, 400), (404, 404), ("per_stream", 200)])
async def test_a_bad_stream_in_a_set(serve, mode, code):
    faults = plan(switches={"bad_web_id": mode}, tags=[{"tag": GLOB, "gone": True}])
    async with serve(faults=faults) as client:
        ids = [client.simulator.web_id(index) for index in (2, 3)]
        for path in ("streamsets/recorded", "streamsets/value"):
            answer = await client.get(path, webId=ids, webIdType="IDOnly", expect=code)
            if code == 200:
                assert [stream["WebId"] for stream in answer["Items"]] == ids
                assert ["Errors" in stream for stream in answer["Items"]] == [False, True]
            else:
                assert "Errors" in answer


async def test_slow_tags_delay_the_answer_and_run_side_by_side_in_a_batch(serve):
    from engine.simulator.routes.batch import _makespan

    assert _makespan([1.0, 1.0, 1.0, 1.0, 1.0], 4) == 2.0
    async with serve(faults=plan(tags=[{"tag": GLOB, "slow_secs": 30}])) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await status(client, f"streams/{client.simulator.web_id(3)}/value")
        assert await status(client, f"streams/{client.simulator.web_id(4)}/value") == 200


@pytest.mark.parametrize("same_tick", [False, True])
async def test_a_stuck_tag_crowds_one_microsecond(serve, same_tick):
    at = "2024-03-05T10:00:00.123456Z"
    stuck = {"at": at, "events": 50, "same_tick": same_tick}
    async with serve(faults=plan(tags=[{"tag": GLOB, "stuck": stuck}])) as client:
        path = f"streams/{client.simulator.web_id(3)}/recorded"
        answer = await client.get(path, startTime=at, endTime="2024-03-05T10:00:00.1234569Z")
        ticks = [parse_time(item["Timestamp"]).at(0) for item in answer["Items"]]
        assert len(ticks) == 50
        assert ticks == sorted(ticks)
        assert len(set(ticks)) == (1 if same_tick else 10)
        assert len({tick // 10 for tick in ticks}) == 1


async def test_compression_drops_a_snapshot_once_a_newer_event_exists(serve):
    clock = [NOW / 10_000_000 - 60]  # an even event is the newest then
    async with serve(faults=plan(tags=[{"tag": "*", "compress_every": 2}]), now=lambda: clock[0]) as client:
        index = next(n for n in range(60) if _is_even_snapshot(client, n))
        newest = client.simulator.events(index, NOW - HOUR, NOW)[-1]
        assert newest == events(client.simulator.options, index, NOW - HOUR, NOW - MINUTE)[-1]
        clock[0] += 600
        assert newest not in client.simulator.events(index, NOW - HOUR, NOW + 1)


def _is_even_snapshot(client, index: int) -> bool:
    from engine.simulator.archive.signals import signal

    return signal(client.simulator.options, index).until(NOW - MINUTE) % 2 == 1


# --- history edited --------------------------------------------------------------


async def shown(client, index: int) -> list[dict]:
    path = f"streams/{client.simulator.web_id(index)}/recorded"
    return (await client.get(path, startTime=iso(NOW - HOUR), endTime=iso(NOW + HOUR), maxCount=10_000))["Items"]


async def agrees(client, index: int) -> list[Event]:
    """What the server shows, after checking that it is what `Simulator.events` says."""
    expected = client.simulator.events(index, NOW - HOUR, NOW + HOUR)
    found = await shown(client, index)
    assert [item["Timestamp"] for item in found] == [iso(event.ticks) for event in expected]
    assert [item["Good"] for item in found] == [event.good for event in expected]
    return expected


async def test_inserts_replacements_and_deletions_show_in_server_and_expectation(serve):
    async with serve() as client:
        simulator = client.simulator
        before = await agrees(client, 0)
        simulator.insert(0, Event(before[5].ticks, 1234.5))
        simulator.replace(0, before[9].ticks, DigitalState("Shutdown", 254, is_system=True), good=False)
        simulator.delete(0, before[20].ticks, before[30].ticks)
        simulator.insert(0, Event(NOW + 30 * MINUTE, 7.0))  # stamped in the future
        after = await agrees(client, 0)
        first = next(place for place, event in enumerate(before) if event.ticks == before[5].ticks)
        same = [event.value for event in after if event.ticks == before[5].ticks]
        assert same[-1] == 1234.5
        assert len(same) == 1 + sum(event.ticks == before[5].ticks for event in before)
        assert first <= 5
        edited = next(event for event in after if event.ticks == before[9].ticks)
        assert edited.substituted
        assert edited.value == DigitalState("Shutdown", 254, is_system=True)
        assert not any(before[20].ticks <= event.ticks < before[30].ticks for event in after)
        assert after[-1].ticks == NOW + 30 * MINUTE
        values = [item["Value"] for item in await shown(client, 0)]
        assert 1234.5 in values
        assert {"Name": "Shutdown", "Value": 254, "IsSystem": True} in values
        end = await client.get(f"streams/{simulator.web_id(0)}/end")
        value = await client.get(f"streams/{simulator.web_id(0)}/value")
        assert parse_time(end["Timestamp"]).at(0) == NOW + 30 * MINUTE
        assert parse_time(value["Timestamp"]).at(0) <= NOW


async def test_late_events_show_when_they_arrive(serve):
    clock = [NOW / 10_000_000]
    async with serve(now=lambda: clock[0]) as client:
        simulator = client.simulator
        whole = await agrees(client, 0)
        simulator.hide(0, NOW - 30 * MINUTE, NOW, until=NOW + 10 * MINUTE)
        simulator.insert(0, Event(NOW - 45 * MINUTE, 99.0), visible_at=NOW + 10 * MINUTE)
        hidden = await agrees(client, 0)
        assert hidden == [event for event in whole if event.ticks < NOW - 30 * MINUTE]
        assert (
            parse_time((await client.get(f"streams/{simulator.web_id(0)}/value"))["Timestamp"]).at(0)
            == hidden[-1].ticks
        )
        clock[0] += 600
        late = await agrees(client, 0)
        assert [event for event in late if event.ticks < NOW and event.value != 99.0] == [
            e for e in whole if e.ticks < NOW
        ]
        assert any(event.value == 99.0 for event in late)


async def test_a_plan_may_edit_history(serve, make_plant):
    name = name_of(make_plant(), 3)
    edits = [
        {
            "tag": name,
            "action": "insert",
            "at": "2024-03-05T11:30:00Z",
            "value": {"Name": "Open", "Value": 2, "IsSystem": False},
        },
        {"tag": name, "action": "delete", "at": "2024-03-05T11:40:00Z", "until": "2024-03-05T12:30:00Z"},
    ]
    async with serve(faults=plan(edits=edits)) as client:
        found = await agrees(client, 3)
        assert any(event.value == DigitalState("Open", 2, is_system=False) for event in found)
        assert found[-1].ticks < ticks_of("2024-03-05T11:40:00Z")
    with pytest.raises(FaultPlanError, match=r"no tag 'Nobody' .* at `\$.edits\[0\]`"):
        async with serve(faults=plan(edits=[{"tag": "Nobody", "action": "delete", "at": "2024-03-05T11:40:00Z"}])):
            pass


async def test_what_touches_a_damaged_record_is_refused_and_the_rest_is_given(serve):
    """A page that is full before it is given; edits damage and heal while the server runs."""
    at = NOW - 2 * HOUR
    damage = {"tag": GLOB, "start": iso(at), "end": iso(at + 10)}
    async with serve(faults=plan(damaged=[damage])) as client:
        bad, good = client.simulator.web_id(3), client.simulator.web_id(4)
        path, sets = f"streams/{bad}/recorded", "streamsets/recorded"

        async def asked(first: int, last: int, *, code: int, **more) -> list:
            window = {"startTime": iso(first), "endTime": iso(last), **more}
            answer = await client.get(path, expect=code, **window)
            if code == 500:
                assert answer["Errors"] == ["[-11002] Record Header Data Mismatch"]
            return answer.get("Items", [])

        await asked(at - HOUR, at + HOUR, code=500)
        await asked(at + 9, at + 9, code=500)
        held = [*await asked(at - HOUR, at - 1, code=200), *await asked(at + 10, at + HOUR, code=200)]
        shown = [
            event for event in client.simulator.events(3, at - HOUR, at + HOUR + 1) if event.ticks // 10 != at // 10
        ]
        assert len(held) == len(shown) > 100
        assert len(await asked(at - HOUR, at + HOUR, code=200, maxCount=5)) == 5
        assert len(await asked(at + HOUR, at - HOUR, code=200, maxCount=5)) == 5
        window = {"startTime": iso(at - HOUR), "endTime": iso(at + HOUR)}
        await client.get(sets, webId=[good, bad], expect=500, **window)
        parts = {
            str(n): {"Method": "GET", "Resource": f"{client.url}/streams/{one}/recorded?startTime={iso(at)}&endTime=*"}
            for n, one in enumerate((good, bad, good))
        }
        async with client.session.post(f"{client.url}/batch", json=parts) as answer:
            told = await answer.json()
        assert [told[str(n)]["Status"] for n in range(3)] == [200, 500, 200]

        client.simulator.change({"tag": 3, "action": "heal", "at": iso(at), "until": iso(at + 4)})
        await asked(at, at + 3, code=200)
        await asked(at, at + 4, code=500)
        client.simulator.change({"tag": 3, "action": "heal", "at": iso(at), "until": iso(NOW)})
        await asked(at - HOUR, at + HOUR, code=200)
        client.simulator.change({"tag": 3, "action": "damage", "at": iso(at)})
        await asked(at, at, code=500)
        await asked(at + 1, at + HOUR, code=200)


# --- switches of values ----------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("bare", b'"Value":NaN'),
        ("string", b'"Value":"NaN"'),
        ("null", b'"Value":null,"UnitsAbbreviation":"","Good":true'),
    ],
)
async def test_nan_is_written_as_told(serve, mode, text):
    async with serve(faults=plan(switches={"nan": mode}), types=(("Float32", 1.0),), tags=5) as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded?startTime=*-10d&maxCount=20000"
        async with client.session.get(f"{client.url}/{path}") as answer:
            body = await answer.read()
        assert text in body
        assert (b":NaN" in body) == (mode == "bare")


async def test_max_count_may_be_shared_by_a_set_and_its_product_checked(serve):
    ids_of = range(4)
    async with serve(faults=plan(switches={"streamset_max_count": "total"})) as client:
        ids = [client.simulator.web_id(index) for index in ids_of]
        answer = await client.get("streamsets/recorded", webId=ids, maxCount=2000)
        assert [len(stream["Items"]) for stream in answer["Items"]] == [1440, 560, 0, 0]
    async with serve(faults=plan(switches={"check_product": True})) as client:
        ids = [client.simulator.web_id(index) for index in ids_of]
        error = await client.get("streamsets/recorded", webId=ids, maxCount=40_000, expect=400)
        assert "greater than the maximum allowed (150000)" in error["Errors"][0]


async def test_recorded_may_keep_the_snapshot_back(serve):
    async with serve(faults=plan(switches={"recorded_shows_snapshot": False})) as client:
        for index in range(8):
            found = await agrees(client, index)
            assert len(found) == len(events(client.simulator.options, index, NOW - HOUR, NOW + 1)) - 1
            assert len(client.simulator.events(index, NOW - DAY, NOW - HOUR)) == 23 * 60
