"""The plan never loses, doubles or reorders an event, whatever the server's densities and failures."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import chain
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import (
    ConfigurationError,
    SplitError,
    TagForbiddenError,
    TagGoneError,
    ThrottledError,
    UnavailableError,
    UndecodableError,
    WrongWindowError,
)
from engine.model import Ask, AskOutcome, AskOutcomes, Tag, Window
from engine.plan.chunk_result import RowDisposition
from engine.plan.decisions import MAX_TAG_ATTEMPTS, Decision, decide
from engine.plan.planner import Plan
from engine.plan.run_estimate import estimate_run
from engine.plan.tag_cursor import GapKind, RequestLimits, TagCursor, cursors_for, pack
from engine.plan.timeline import DAY
from tests.examples import examples
from tests.landing.widening import moves_in

SMALL = RequestLimits(tags_per_request=3, values_per_answer=12, max_count_per_tag=8, server_max_count=64)


class Table:
    """A data table and its watermarks, as the committer would leave them."""

    def __init__(self, done: dict[str, Window] | None = None, events: dict[str, list[int]] | None = None) -> None:
        self.done: dict[str, Window] = dict(done or {})
        self.rows: dict[str, list[int]] = defaultdict(list)
        self.holes: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for web_id, window in self.done.items():
            self.rows[web_id] = [t for t in (events or {})[web_id] if window.start <= t < window.end]


def answer(ask: Ask, events: list[int]) -> tuple[AskOutcome, list[int]]:
    """What the decoder makes of a server's answer, with its cut rule."""
    found = events[bisect_left(events, ask.start) : bisect_left(events, ask.end)][: ask.max_count]
    if len(found) < ask.max_count:
        return AskOutcome(ask, len(found), ask.end, found[-1] if found else None), found
    kept = [t for t in found if t < found[-1]]
    return AskOutcome(ask, len(kept), found[-1], kept[-1] if kept else None), kept


def drive(plan: Plan, events: dict[str, list[int]], table: Table, *, fail=lambda chunk, n: None, steps: int = 5_000):
    """Run a plan against a model server; apply rows and moves together, as one commit does."""
    failures = []
    for n in range(steps):
        chunk = plan.take()
        if chunk is None:
            break
        error = fail(chunk, n)
        if error is not None:
            result = plan.record_failure(chunk, error)
            failures += result.failures
        else:
            answers = [answer(ask, events[ask.tag.web_id]) for ask in chunk.asks]
            result = plan.record_answer(chunk, AskOutcomes.of([outcome for outcome, _ in answers]))
            for disposition, ask, (_, rows) in zip(result.dispositions, chunk.asks, answers, strict=True):
                if disposition == RowDisposition.FRESH:
                    table.rows[ask.tag.web_id] += rows
            for move in chain.from_iterable(map(moves_in, result.moves)):
                before = table.done.get(move.tag_webid)
                now = Window(move.low, move.high)
                assert before is None or (now.start <= before.end and before.start <= now.end), "a hole"
                table.done[move.tag_webid] = (
                    Window(min(before.start, now.start), max(before.end, now.end)) if before is not None else now
                )
            failures += result.failures
        for note in result.holes:
            assert note.error is not None
            table.holes[note.tag.web_id].append((note.start, note.end))
        plan.give_back(chunk)
    return failures


def make_plan(events, wanted: Window, table: Table, limits=SMALL) -> Plan:
    cursors = []
    for web_id in events:
        cursors += cursors_for(
            Tag(web_id, web_id), wanted, table.done.get(web_id), rows_done=len(table.rows[web_id]), assumed_rate=1e-6
        )
    return Plan(cursors, limits)


def assert_exact(events, wanted: Window, table: Table, *, but=()) -> None:
    for web_id, times in events.items():
        if web_id in but:
            continue
        done = table.done[web_id]
        assert done.start <= wanted.start
        assert done.end >= wanted.end
        assert sorted(table.rows[web_id]) == [t for t in times if done.start <= t < done.end]


times = st.lists(st.integers(0, 4 * DAY), max_size=40).map(sorted)
clustered = st.lists(st.tuples(st.integers(0, 4 * DAY), st.integers(1, 12)), max_size=6).map(
    lambda pairs: sorted(t for t, n in pairs for _ in range(n))
)
histories = st.dictionaries(st.sampled_from("abcdefgh"), times | clustered, min_size=1)


@st.composite
def cases(draw):
    events = draw(histories)
    start = draw(st.integers(0, 3 * DAY))
    wanted = Window(start, draw(st.integers(start + 1, 4 * DAY + 1)))
    done = {}
    for web_id in events:
        if draw(st.booleans()):
            low = draw(st.integers(0, 4 * DAY))
            done[web_id] = Window(low, draw(st.integers(low, 4 * DAY + 1)))
    return events, wanted, done


@given(cases())
@examples(300)
def test_what_is_wanted_is_read_exactly_once(case):
    events, wanted, done = case
    table = Table(done, events)
    plan = make_plan(events, wanted, table)
    assert drive(plan, events, table) == []
    assert plan.done, plan
    assert_exact(events, wanted, table)


@given(cases(), st.lists(st.sampled_from([None, None, SplitError, UnavailableError, ThrottledError]), max_size=12))
@examples(200)
def test_failing_requests_lose_nothing_and_a_rerun_completes(case, faults):
    events, wanted, done = case
    table = Table(done, events)
    kinds = dict(enumerate(faults))
    drive(
        make_plan(events, wanted, table),
        events,
        table,
        fail=lambda _, n: kinds[n]("no") if kinds.get(n) else None,
    )
    drive(make_plan(events, wanted, table), events, table)
    assert_exact(events, wanted, table)


@given(cases(), st.lists(st.integers(0, 6), max_size=4))
@examples(200)
def test_killed_runs_continue_where_they_stopped(case, kills):
    events, wanted, done = case
    table = Table(done, events)
    for steps in kills:
        drive(make_plan(events, wanted, table), events, table, steps=steps)
    drive(make_plan(events, wanted, table), events, table)
    assert_exact(events, wanted, table)


@given(histories, st.sampled_from("abcdefgh"))
@examples(100)
def test_one_bad_tag_is_found_by_halves_and_holds_up_no_other(events, bad):
    """A request with the bad tag fails whole, as an ad hoc streamset does."""
    wanted = Window(0, 4 * DAY + 1)
    table = Table()
    plan = make_plan(events, wanted, table)
    failures = drive(
        plan,
        events,
        table,
        fail=lambda chunk, _: TagGoneError("gone") if any(a.tag.web_id == bad for a in chunk.asks) else None,
    )
    assert [f.tag.web_id for f in failures] == ([bad] if bad in events else [])
    assert_exact(events, wanted, table, but={bad})
    assert plan.done


def test_more_events_in_one_microsecond_than_the_server_gives_are_a_hole_and_hold_up_nothing():
    events = {"a": [1, *[5] * 100, 7], "b": [1, 2, 3]}
    table = Table()
    assert not drive(make_plan(events, Window(0, 10), table), events, table)
    assert table.holes == {"a": [(5, 6)]}
    assert table.rows == {"a": [1, 7], "b": [1, 2, 3]}
    assert table.done == {"a": Window(0, 10), "b": Window(0, 10)}


@pytest.mark.parametrize(
    ("error", "of_one", "of_several"),
    [
        (ConfigurationError("no"), [Decision.STOP] * 2, [Decision.STOP] * 2),
        (ThrottledError("slower"), [Decision.AGAIN, Decision.GIVE_UP], [Decision.AGAIN, Decision.GIVE_UP]),
        (UnavailableError("later"), [Decision.NARROW] * 2, [Decision.SHORTEN] * 2),
        (UnavailableError("late", status=504), [Decision.NARROW] * 2, [Decision.SHORTEN] * 2),
        (UnavailableError("broken", status=500), [Decision.NARROW] * 2, [Decision.HALVE_TAGS] * 2),
        (SplitError("too much"), [Decision.NARROW] * 2, [Decision.SHORTEN] * 2),
        (SplitError("too long", too_much="request"), [Decision.NARROW] * 2, [Decision.HALVE_TAGS] * 2),
        (SplitError("too many", too_much="count"), [Decision.FEWER] * 2, [Decision.FEWER] * 2),
        (TagGoneError("gone"), [Decision.GIVE_UP] * 2, [Decision.HALVE_TAGS] * 2),
        (TagForbiddenError("no"), [Decision.GIVE_UP] * 2, [Decision.HALVE_TAGS] * 2),
        (UndecodableError("what?"), [Decision.NARROW] * 2, [Decision.HALVE_TAGS] * 2),
        (WrongWindowError("when?"), [Decision.AGAIN, Decision.NARROW], [Decision.AGAIN, Decision.HALVE_TAGS]),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else "",
)
def test_the_ladder_of_what_to_do_about_a_failure(error, of_one, of_several):
    """The first time, and the last."""
    for tags, expected in ((1, of_one), (100, of_several)):
        found = [decide(error, tags=tags, attempts=attempts) for attempts in (0, MAX_TAG_ATTEMPTS)]
        assert found == expected


def test_several_tags_are_divided_once_shorter_windows_do_not_help():
    late = UnavailableError("late", status=504)
    found = [decide(late, tags=100, attempts=0, shortened=shortened) for shortened in range(7)]
    assert found == [Decision.SHORTEN] * 5 + [Decision.HALVE_TAGS] * 2


def test_an_error_that_stops_the_run_leaves_nothing_to_take():
    events = {"a": [1], "b": [2]}
    plan = make_plan(events, Window(0, 10), Table(), RequestLimits(tags_per_request=1))
    error = ConfigurationError("no")
    chunk = plan.take()
    plan.record_failure(chunk, error)
    plan.give_back(chunk)
    assert plan.take() is None
    assert plan.done
    assert plan.stopped is error


def test_live_data_goes_before_backfill_and_backfill_starts_at_its_newest_end():
    done = {w: Window(10 * DAY, 20 * DAY) for w in "ab"}
    events = {"a": [], "b": []}
    plan = make_plan(events, Window(0, 21 * DAY), Table(done, events), RequestLimits(tags_per_request=1))
    order = []
    while (chunk := plan.take()) is not None:
        order.append((chunk.cursors[0].backward, chunk.asks[0].end))
        plan.record_answer(chunk, AskOutcomes.of([AskOutcome(a, 0, a.end) for a in chunk.asks]))
        plan.give_back(chunk)
    assert [b for b, _ in order] == sorted(b for b, _ in order)
    ends = [end for backward, end in order if backward]
    assert ends == sorted(ends, reverse=True)


def test_an_answer_is_bounded_however_wrong_the_expectation():
    limits = RequestLimits(tags_per_request=100, values_per_answer=1_000, max_count_per_tag=500)
    plan = make_plan({str(n): [] for n in range(100)}, Window(0, 10), Table(), limits)
    chunk = plan.take()
    assert len(chunk.asks) == 100
    assert sum(ask.max_count for ask in chunk.asks) <= 2 * limits.values_per_answer


def test_tags_that_failed_wait_for_those_that_did_not():
    events = {"late": [], "good": []}
    table = Table({"late": Window(0, 1), "good": Window(0, 5)}, events)
    plan = make_plan(events, Window(0, 10), table, RequestLimits(tags_per_request=1))
    order = []
    while (chunk := plan.take()) is not None:
        [ask] = chunk.asks
        order.append(ask.tag.web_id)
        if order == ["late"]:
            plan.record_failure(chunk, UnavailableError("not now"))
        else:
            plan.record_answer(chunk, AskOutcomes.of([AskOutcome(ask, 0, ask.end)]))
        plan.give_back(chunk)
    assert order[:2] == ["late", "good"]
    assert set(order[2:]) == {"late"}


def test_a_dense_tag_does_not_hold_back_slow_ones_of_its_lane():
    events = {"fast": list(range(1000)), "slow": [1]}
    table = Table()
    plan = make_plan(events, Window(0, 1000), table)
    drive(plan, events, table, steps=2)
    assert table.done["slow"] == Window(0, 1000)


def test_a_century_without_an_event_is_walked_to_its_end():
    """The expected rate is halved by every slice, until a double hardly holds it."""
    events = {"t": [100 * 365 * DAY]}
    table = Table()
    plan = make_plan(events, Window(0, 100 * 366 * DAY), table)
    assert not drive(plan, events, table)
    assert table.rows["t"] == events["t"]
    assert table.done["t"] == Window(0, 100 * 366 * DAY)


def test_history_is_hardly_read_in_vain():
    """Backwards, what does not fit a page is read again; half pages are what it comes to."""
    dice = Random(1)
    events = {"t": sorted(dice.randrange(4 * DAY) for _ in range(20_000))}
    table = Table({"t": Window(4 * DAY - 1, 4 * DAY)}, events)
    wanted = Window(0, 4 * DAY)
    plan = make_plan(events, wanted, table, RequestLimits(values_per_answer=300, max_count_per_tag=100))
    requests = 0

    def count(*_):
        nonlocal requests
        requests += 1

    drive(plan, events, table, fail=count)
    assert_exact(events, wanted, table)
    assert requests < 2 * 20_000 / 100


def test_a_forecast_walks_the_same_lanes_as_the_run():
    """With events at the expected rate, forecast and run agree on requests and values."""
    hour = 3_600_000_000
    events = {f"t{i}": [j * 60_000_000 + i * 1_000 for j in range(60)] for i in range(40)}
    limits = RequestLimits(tags_per_request=10, values_per_answer=300, max_count_per_tag=25)

    def plan():
        return Plan(
            [
                r
                for w in events
                for r in cursors_for(Tag(w, w), Window(0, hour), None, rows_done=0, assumed_rate=1 / 60_000_000)
            ],
            limits,
        )

    table = Table()
    requests = 0

    def count(*_):
        nonlocal requests
        requests += 1

    drive(plan(), events, table, fail=count)
    found = estimate_run(plan())
    assert abs(found.requests - requests) <= 0.1 * requests
    assert abs(found.values - 2400) <= 240


@given(st.lists(st.tuples(st.integers(0, 3 * DAY), st.sampled_from([1e-9, 1e-8])), max_size=20), st.booleans())
def test_who_travels_together_shares_a_window_or_in_a_batch_a_day(starts, one_window) -> None:
    end = 4 * DAY
    cursors = [
        TagCursor(Tag(str(n), str(n)), start, end, GapKind.FORWARD, rate=rate, low=start, high=start)
        for n, (start, rate) in enumerate(starts)
    ]
    ordered = [cursor for pile in pack(cursors, RequestLimits(one_window=one_window)) for cursor in pile]
    keys = [(r.start if one_window else r.start // DAY, r.rate, int(r.tag.web_id)) for r in ordered]
    assert keys == sorted(keys)
    assert len(keys) == len(cursors)


@given(st.lists(st.sampled_from([GapKind.FORWARD, GapKind.BACKWARD]), max_size=20))
def test_no_cursor_shares_a_request_with_one_of_the_other_direction(directions) -> None:
    cursors = [
        TagCursor(Tag(str(n), str(n)), 0, DAY, kind, rate=1e-9, low=DAY, high=DAY) for n, kind in enumerate(directions)
    ]
    piles = list(pack(cursors, RequestLimits()))
    assert [len({cursor.backward for cursor in pile}) for pile in piles] == [1] * len(set(directions))
