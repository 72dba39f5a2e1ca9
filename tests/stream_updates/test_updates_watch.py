"""Watching tags over loopback HTTP: what is told of their past, and every way in which that is lost."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from engine.datasets.stream_updates import ReportedChanges, UpdatesWatch
from engine.model import Tag, Window
from engine.plan.update_windows import FOREVER, clip
from engine.simulator import Event
from engine.simulator.times import HOUR, MICROSECOND, MINUTE, iso
from tests.variants import slowly

DAY_MICROS = 24 * HOUR // MICROSECOND
ASK = {"route": "streamsets/updates", "method": "GET"}
SIGN_UP = {"route": "streamsets/updates", "method": "POST"}


def micros(ticks):
    return ticks // MICROSECOND


def requests(plant):
    return sum(plant.simulator.requests.routes.values())


# --- what is told -------------------------------------------------------------------


async def test_edits_of_the_past_come_back_as_windows(watching):
    async with watching() as plant:
        watch = await plant.open(plant.tags(range(5)))
        now = plant.simulator.now()
        known = [event.ticks for event in plant.simulator.truth(0, now - 3 * HOUR, now)]
        late, edited, first, last = known[10] + 17, known[40], known[100], known[102]
        await plant.control(
            "changes",
            [
                {"tag": 0, "action": "insert", "at": iso(late), "value": 4.5},
                {"tag": 1, "action": "replace", "at": iso(edited), "value": 6.5},
                {"tag": 0, "action": "delete", "at": iso(first), "until": iso(last)},
            ],
        )
        changes = await plant.poll()
        assert changes.lost == frozenset()
        assert changes.touched[plant.simulator.web_id(0)] == (
            Window(micros(late), micros(late) + 1),
            Window(micros(first), micros(known[101]) + 1),
        )
        assert micros(edited) in {window.start for window in changes.touched[plant.simulator.web_id(1)]}
        assert set(changes.touched) == plant.ids(0, 1)
        assert await plant.poll() == ReportedChanges()
        assert watch.statistics().watched == 5


async def test_new_events_are_beyond_what_is_done_unless_they_come_late(watching):
    async with watching() as plant:
        now = plant.simulator.now()
        plant.simulator.hide(0, now + 1, now + 30 * MINUTE, until=now + HOUR)
        await plant.open(plant.tags([0, 1]))
        done = Window(micros(now) - DAY_MICROS, micros(now + 40 * MINUTE))
        plant.pass_time(45)
        first = await plant.poll()
        behind = clip(first.touched[plant.simulator.web_id(1)], done)
        assert [window.end for window in behind] == [done.end]  # came before what is done ended
        plant.pass_time(30)
        second = await plant.poll()
        assert clip(second.touched[plant.simulator.web_id(1)], done) == ()
        (late,) = clip(second.touched[plant.simulator.web_id(0)], done)
        hidden = plant.simulator.truth(0, now + 1, now + 30 * MINUTE)
        assert late.start <= micros(hidden[0].ticks) < micros(hidden[-1].ticks) < late.end <= done.end


async def test_a_large_change_is_one_window_without_an_end(watching):
    async with watching(updates_refresh_over=100) as plant:
        await plant.open(plant.tags([0]))
        from_here = plant.simulator.now() - 10 * HOUR
        plant.simulator.delete(0, from_here, from_here + 5 * HOUR)
        changes = await plant.poll()
        assert changes.touched == {plant.simulator.web_id(0): (Window(micros(from_here), FOREVER),)}


async def test_a_day_of_many_tags_is_decoded_beside_the_loop(watching):
    async with watching(100) as plant:
        await plant.open(plant.tags(range(100)))
        began = micros(plant.simulator.now())
        plant.pass_time(24 * 60)
        changes = await plant.poll()
        assert set(changes.touched) == plant.ids(*range(100))
        assert all(found[0].start > began for found in changes.touched.values())


async def test_polls_that_come_too_early_ask_nothing(watching):
    async with watching() as plant:
        watch = await plant.open(plant.tags([0]))
        await plant.poll()
        asked = requests(plant)
        plant.at += 59.0
        assert await watch.poll() == ReportedChanges()
        assert requests(plant) == asked
        plant.at += 1.0
        await watch.poll()
        assert requests(plant) == asked + 1


# --- who is watched -------------------------------------------------------------------


async def test_tags_join_and_leave(watching):
    async with watching() as plant:
        watch = await plant.open(plant.tags([0, 1]))
        await watch.sync(plant.tags([1, 2]))
        plant.pass_time()
        changes = await plant.poll()
        assert (set(changes.touched), changes.lost) == (plant.ids(1, 2), frozenset())
        asked = requests(plant)
        await watch.sync(plant.tags([2]))  # nobody new: nothing to ask
        assert (requests(plant), watch.statistics().tags) == (asked, 1)
        await watch.sync([])
        assert await plant.poll() == ReportedChanges()


async def test_a_point_that_changed_is_lost_and_one_that_is_gone_comes_back_lost(watching):
    async with watching() as plant:
        watch = await plant.open(plant.tags(range(3)))
        plant.simulator.change({"tag": 0, "action": "rename", "name": "X"}, {"tag": 1, "action": "delete_point"})
        assert (await plant.poll()).lost == plant.ids(0)
        assert watch.statistics().watched == 2
        plant.simulator.change({"tag": 1, "action": "restore_point"})
        found = [await plant.poll() for _ in range(4)]
        assert frozenset().union(*(changes.lost for changes in found)) == plant.ids(1)
        assert watch.statistics().watched == 3
        assert watch.watching


async def test_one_bad_web_id_costs_no_other_the_watch(watching, said):
    async with watching(150) as plant:
        tags = plant.tags(range(150))
        tags.insert(70, Tag("nonsense-that-is-no-WebID", "?"))
        watch = await plant.open(tags)
        assert (watch.statistics().tags, watch.statistics().watched) == (151, 150)
        assert len(said) == 1
        assert "1 of 151 tags are not watched so far: 400: " in said[0]
        assert requests(plant) < 20
        plant.pass_time()
        changes = await plant.poll()
        assert len(changes.touched) == 150
        assert changes.lost == frozenset()


async def test_sets_shrink_to_what_fits_into_a_url(watching):
    async with watching(120, url_max_bytes=2000) as plant:
        watch = await plant.open(plant.tags(range(120)))
        assert watch.statistics().watched == 120
        plant.pass_time()
        first = await plant.poll()
        assert (len(first.touched), first.lost) == (120, frozenset())
        asked = requests(plant)
        plant.pass_time()
        assert len((await plant.poll()).touched) == 120
        assert plant.simulator.requests.statuses[400] < 8
        assert requests(plant) - asked < 8  # and what fits is not found out again


# --- losing it ---------------------------------------------------------------------------


async def test_after_a_restart_all_tags_are_lost_once_and_watched_again(watching):
    async with watching() as plant:
        await plant.open(plant.tags(range(5)))
        await plant.control("restart", {})
        assert await plant.poll() == ReportedChanges(lost=frozenset(plant.ids(*range(5))))
        plant.simulator.insert(3, Event(plant.simulator.now() - HOUR + 1, 1.0))
        assert await plant.poll() == ReportedChanges(
            {plant.simulator.web_id(3): (Window(at := micros(plant.simulator.now() - HOUR + 1), at + 1),)}
        )


async def test_registrations_that_expired_are_lost(watching):
    async with watching(updates_clock="simulated", updates_idle_secs=300) as plant:
        watch = await plant.open(plant.tags([0, 1]))
        plant.pass_time(4)
        assert (await plant.poll()).lost == frozenset()
        plant.pass_time(6)
        assert (await plant.poll()).lost == plant.ids(0, 1)
        assert watch.watching


async def test_more_than_a_server_buffers_is_lost(watching):
    async with watching(updates_buffer=20) as plant:
        await plant.open(plant.tags([0, 1]))
        now = plant.simulator.now()
        plant.simulator.delete(1, now - HOUR, now)
        assert (await plant.poll()).lost == plant.ids(1)


async def test_a_marker_that_another_client_used_is_lost(watching):
    async with watching() as plant:
        await plant.open(plant.tags([0, 1]))
        other = await UpdatesWatch.open(plant.client, plant.tags([0]))  # already registered, says the server
        plant.pass_time()
        assert set((await other.poll()).touched) == plant.ids(0)
        changes = await plant.poll()
        assert (set(changes.touched), changes.lost) == (plant.ids(1), plant.ids(0))


async def test_without_affinity_the_watch_gives_up_and_says_why(watching, said):
    async with watching(updates_instances=2) as plant:
        watch = await plant.open(plant.tags(range(5)))
        polls = 0
        while watch.watching:
            assert (await plant.poll()).lost == plant.ids(*range(5))
            polls += 1
        assert polls == 4
        (warning,) = said
        assert "load balancer without affinity" in warning
        assert "was not found" in warning
        assert watch.statistics().off in warning
        asked = requests(plant)
        assert await plant.poll() == ReportedChanges()
        await watch.sync(plant.tags([0]))
        assert requests(plant) == asked


async def test_tags_that_wait_when_the_watch_gives_up_are_lost(watching, said):
    rules = [{"match": {**SIGN_UP, "after": 1}, "do": {"status": 500}}]
    async with watching(rules=rules) as plant:
        watch = await plant.open(plant.tags([0, 1]))
        plant.simulator.forget_updates()
        assert await plant.poll() == ReportedChanges()  # lost, and not watched again so far
        while watch.watching:
            changes = await plant.poll()
        assert changes == ReportedChanges(lost=frozenset(plant.ids(0, 1)))
        assert "answered 500" in said[-1]


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {"status": 405, "body": {"Message": "The requested resource does not support http method 'POST'."}},
        {"status": 501, "body": ""},
        {"status": 403, "body": {"Errors": ["Writes are disabled."]}},
        {"status": 404, "html": True},
    ],
)
async def test_a_server_without_the_feature_is_left_alone(watching, said, rule):
    rules = [{"match": SIGN_UP, "do": rule}] if rule else []
    async with watching(250, rules=rules, updates=rule is not None) as plant:
        watch = await plant.open(plant.tags(range(250)))
        assert not watch.watching
        assert len(said) == 1
        assert "does not offer them" in said[0]
        assert requests(plant) <= 2
        assert await plant.poll() == ReportedChanges()
        assert requests(plant) <= 2


async def test_a_server_that_had_the_feature_is_asked_again(watching):
    rules = [{"match": {**SIGN_UP, "nth": 2}, "do": {"status": 404, "html": True}}]
    async with watching(rules=rules) as plant:
        watch = await plant.open(plant.tags([0]))
        plant.simulator.forget_updates()
        found = [await plant.poll() for _ in range(3)]
        assert [changes.lost for changes in found] == [frozenset(), plant.ids(0), frozenset()]
        assert watch.watching


async def test_a_server_that_refuses_everybody_is_not_asked_for_each(watching, said):
    rules = [{"match": SIGN_UP, "do": {"status": 403, "body": {"Errors": ["Access denied."]}}}]
    async with watching(1000, rules=rules) as plant:
        watch = await plant.open(plant.tags(range(1000)))
        while watch.watching:
            await plant.poll()
        assert requests(plant) < 4 * 60
        assert "Access denied" in said[0]


# --- a server in trouble -------------------------------------------------------------------


async def test_too_many_requests_lose_nothing_and_widen_the_interval(watching):
    rules = [{"match": {**ASK, "first": 4}, "do": {"status": 429}}]
    async with watching(350, rules=rules) as plant:
        watch = await plant.open(plant.tags(range(350)))
        assert await plant.poll() == ReportedChanges()
        assert watch.statistics().interval_secs == 120.0
        assert plant.simulator.requests.statuses[429] <= 2  # those that were under way
        asked = requests(plant)
        plant.at += 119.0
        assert await watch.poll() == ReportedChanges()
        assert requests(plant) == asked
        while plant.simulator.requests.statuses[429] < 4:
            assert await plant.poll() == ReportedChanges()
        widest = watch.statistics().interval_secs
        plant.pass_time()
        changes = await plant.poll()
        assert (len(changes.touched), changes.lost) == (350, frozenset())
        assert watch.statistics().interval_secs == widest / 2


async def test_the_interval_widens_up_to_an_hour_and_comes_back(watching):
    rules = [{"match": {**ASK, "first": 10}, "do": {"status": 429}}]
    async with watching(1, rules=rules) as plant:
        watch = await plant.open(plant.tags([0]))
        widths = []
        for _ in range(17):
            await plant.poll()
            widths.append(watch.statistics().interval_secs)
        assert widths[:10] == [120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, 3600.0, 3600.0, 3600.0]
        assert widths[10:] == [1800.0, 900.0, 450.0, 225.0, 112.5, 60.0, 60.0]


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 503},
        {"status": 500},
        {"drop_connection": True},
        {"truncate_bytes": 40},
        {"status": 200, "html": True, "body": "<html>Please log in</html>"},
        {"status": 409, "body": {"Errors": ["The marker is invalid."]}},
        {"status": 404, "body": {"Errors": ["Cache not found."]}},
    ],
)
async def test_what_a_failed_answer_may_have_held_is_told_or_lost(watching, trouble):
    # A broken connection is tried once more by aiohttp itself.
    rules = [{"match": {**ASK, "first": 2}, "do": trouble}]
    async with watching(5, rules=rules) as plant:
        watch = await plant.open(plant.tags(range(5)))
        plant.simulator.insert(0, Event(plant.simulator.now() - HOUR + 1, 1.0))
        at = micros(plant.simulator.now() - HOUR + 1)
        found = [await plant.poll() for _ in range(4)]
        told = [changes.touched[plant.simulator.web_id(0)] for changes in found if changes.touched]
        lost = [changes.lost for changes in found if changes.lost]
        assert told == [(Window(at, at + 1),)] or frozenset(plant.ids(*range(5))) in lost
        assert watch.statistics().watched == 5
        assert await plant.poll() == ReportedChanges()


async def test_an_outage_is_survived_and_costs_few_requests(restarting):
    async with restarting(300) as (plant, port):
        async with plant.simulator.serve(port=port):
            watch = await plant.open(plant.tags(range(300)))
        asked = plant.client.statistics().requests
        assert await plant.poll() == ReportedChanges()
        assert plant.client.statistics().requests - asked <= 4  # two sets, each sent once more by aiohttp
        assert watch.statistics().watched >= 100  # the markers of the others may still be good
        assert watch.statistics().interval_secs == 120.0
        plant.simulator.forget_updates()
        async with plant.simulator.serve(port=port):
            assert (await plant.poll()).lost == plant.ids(*range(300))
            plant.pass_time()
            assert len((await plant.poll()).touched) == 300


async def test_a_cancelled_poll_forgets_nothing(watching):
    rules = [{"match": {**ASK, "nth": 3}, "do": {"hang": True}}]
    async with watching(250, rules=rules) as plant:
        watch = await plant.open(plant.tags(range(250)))
        plant.pass_time()
        plant.at += 60.0
        polling = asyncio.create_task(watch.poll())
        while plant.client.statistics().in_flight != 1 or requests(plant) < 6:  # noqa: ASYNC110 - it happens elsewhere
            await asyncio.sleep(0.005)  # until the one that hangs is the only one left
        polling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await polling
        found = [await plant.poll() for _ in range(2)]
        told = set().union(*(changes.touched for changes in found))
        lost = frozenset().union(*(changes.lost for changes in found))
        assert len(told) >= 200
        assert told | lost == plant.ids(*range(250))


async def test_bad_credentials_are_left_to_the_reading_to_report(watching):
    rules = [{"match": SIGN_UP, "do": {"status": 401}}]
    async with watching(rules=rules) as plant:
        watch = await plant.open(plant.tags(range(5)))
        assert (watch.watching, watch.statistics().watched) == (True, 0)


# --- many, and whatever is done ------------------------------------------------------------


@pytest.mark.parametrize("count", [3_000, *slowly(30_000)])
async def test_many_tags_take_as_long_as_the_rate_says(watching, count):
    async with watching(count, rate=400.0) as plant:
        tags = plant.tags(range(count))
        began = time.monotonic()
        watch = await plant.open(tags)
        took = time.monotonic() - began
        assert watch.statistics().watched == count
        assert requests(plant) == count / 100
        assert took >= 0.9 * count / 100 / 400.0
        assert await plant.poll() == ReportedChanges()
        assert requests(plant) == 2 * count / 100
        assert plant.simulator.stats["most_in_flight"] <= 2


FAULTS = (
    {},
    {"updates_buffer": 30},
    {"updates_refresh_over": 10},
    {"updates_clock": "simulated", "updates_idle_secs": 1500},
    {"rules": [{"match": {**ASK, "probability": 0.3}, "do": {"fail_midway": True}}]},
    {"rules": [{"match": {**ASK, "probability": 0.3}, "do": {"status": 429}}]},
    {"rules": [{"match": {**ASK, "probability": 0.2}, "do": {"forget_updates": True}}]},
    {"rules": [{"match": {**SIGN_UP, "after": 1, "probability": 0.5}, "do": {"status": 503}}]},
)


def _play(simulator, dice):
    """One thing that happens to the past of a tag."""
    now, tag = simulator.now(), dice.randrange(simulator.options.tags)
    at = now - dice.randrange(6 * HOUR) // 100 * 100 + 11
    known = [event.ticks for event in simulator.truth(tag, now - 6 * HOUR, now)]
    match dice.choice(("insert", "replace", "delete", "late", "late")):
        case "insert":
            simulator.insert(tag, Event(at, dice.random()))
        case "replace":
            simulator.replace(tag, dice.choice(known) if known else at, dice.random())
        case "delete":
            simulator.delete(tag, at, at + dice.randrange(20 * MINUTE))
        case "late":
            simulator.hide(
                tag, now + 1, now + dice.randrange(1, 9) * MINUTE, until=now + dice.randrange(9, 40) * MINUTE
            )


@pytest.mark.parametrize("number", range(len(FAULTS)))
@pytest.mark.parametrize("seed", range(3))
async def test_who_reads_again_what_is_hinted_at_holds_what_the_archive_holds(watching, number, seed):
    """The promise: after a poll that lost nothing, what is done and what it told of are all there is to know."""
    dice = random.Random(f"{seed}/{number}")
    async with watching(4, **FAULTS[number]) as plant:
        simulator = plant.simulator
        watch = await plant.open(plant.tags(range(4)))
        low = simulator.now() - 7 * HOUR
        high = simulator.now()
        mirror = {tag: {e.ticks: e for e in simulator.truth(tag, low, high)} for tag in range(4)}
        hinted = 0

        def read(tag, start, end):
            mirror[tag] = {ticks: event for ticks, event in mirror[tag].items() if not start <= ticks < end}
            mirror[tag] |= {event.ticks: event for event in simulator.truth(tag, start, end)}

        for number_of_round in range(14):
            quiet = number_of_round >= 8  # let what was lost be found again
            for _ in range(0 if quiet else dice.randrange(4)):
                _play(simulator, dice)
            plant.pass_time(dice.randrange(1, 12) if not quiet else 10)
            changes = await plant.poll()
            done = Window(micros(low), micros(high))
            for tag in range(4):
                web_id = simulator.web_id(tag)
                found = (done,) if web_id in changes.lost else clip(changes.touched.get(web_id, ()), done)
                hinted += bool(found)
                for window in found:
                    read(tag, window.start * MICROSECOND, window.end * MICROSECOND)
                read(tag, high, simulator.now())  # and on from there
            high = simulator.now()
            waiting = watch.statistics().tags - watch.statistics().watched
            if not waiting and not any("status" in rule["do"] for rule in FAULTS[number].get("rules", ())):
                _compare(simulator, mirror, low, high)
        if watch.watching:
            assert watch.statistics().watched == 4
            _compare(simulator, mirror, low, high)
        assert hinted


def _compare(simulator, mirror, low, high):
    for tag, held in mirror.items():
        assert [held[ticks] for ticks in sorted(held)] == simulator.truth(tag, low, high), tag
