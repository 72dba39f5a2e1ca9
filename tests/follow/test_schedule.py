"""The schedule: no drift, no overlap, no starvation, whatever cycles take; and patience with what fails."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.plan.schedule import DueTicks, FollowSchedule, TagBackoff, cycles_to_wait, pause_after
from engine.plan.timeline import HOUR, SECOND

MINUTE = 60 * SECOND

INTERVALS = st.dictionaries(st.sampled_from("abcd"), st.integers(SECOND // 10, 2 * HOUR), min_size=1, max_size=4)
# How long cycles take, and how late a sleeper wakes: mostly a little, sometimes far too long.
TIMES = st.lists(
    st.tuples(st.integers(0, 20 * SECOND) | st.integers(0, 3 * HOUR), st.integers(0, SECOND // 2)),
    min_size=1,
    max_size=60,
)


def driven(intervals: dict[str, int], times: list[tuple[int, int]], start: int) -> list[tuple[int, int, DueTicks]]:
    """When each cycle began and ended, and what it served."""
    schedule, now, cycles = FollowSchedule.of(intervals, start), start, []
    for length, waking in times:
        now = max(now, schedule.next_due) + waking
        schedule, due = schedule.take(now)
        cycles.append((now, now + length, due))
        now += length
    return cycles


@given(INTERVALS, TIMES, st.integers(0, 10**15))
def test_a_tick_stands_on_its_grid_and_is_served_once_in_order(intervals, times, start):
    served = dict.fromkeys(intervals, -1)
    skipped = 0
    for began, _, due in driven(intervals, times, start):
        assert due.ticks
        for name, tick in due.ticks.items():
            assert tick > served[name]
            skipped += tick - served[name] - 1
            served[name] = tick
            # Never earlier than a tenth of its interval, and never a tick that a newer one has overtaken.
            early = start + tick * intervals[name] - began
            assert -intervals[name] < early <= intervals[name] / 10
    assert skipped == sum(due.skipped for _, _, due in driven(intervals, times, start))


@given(INTERVALS, TIMES)
def test_cycles_never_overlap_and_every_class_is_served_in_time(intervals, times):
    cycles = driven(intervals, times, 0)
    for (_, ended, _), (began, _, _) in pairwise(cycles):
        assert began >= ended
    longest = max(ended - began for began, ended, _ in cycles)
    waking = max(late for _, late in times)
    for name, interval in intervals.items():
        at = [began for began, _, due in cycles if name in due.ticks]
        for one, other in pairwise([*at, cycles[-1][0]]):
            # A tick served early by a tenth, then one served late by a whole cycle.
            assert other - one <= interval * 11 / 10 + longest + 2 * waking


@given(INTERVALS, st.integers(1, 200))
def test_without_delay_every_cycle_begins_when_it_is_due(intervals, cycles):
    """The n-th tick of a class is at n times its interval, or a little before, along with others."""
    for began, _, due in driven(intervals, [(0, 0)] * cycles, 0):
        assert due.skipped == 0
        assert any(began == tick * intervals[name] for name, tick in due.ticks.items())
        assert due.late <= 0


def test_classes_that_are_due_within_a_short_while_are_read_together():
    schedule = FollowSchedule.of({"minute": MINUTE, "like": 61 * SECOND, "hour": HOUR}, 0)
    schedule, due = schedule.take(0)
    assert due.ticks == {"minute": 0, "like": 0, "hour": 0}
    schedule, due = schedule.take(schedule.next_due)
    assert due == DueTicks({"minute": 1, "like": 1}, skipped=0, late=0)
    assert schedule.due_at("like") == 122 * SECOND


def test_five_hundred_tags_every_minute_beside_the_others_every_hour():
    schedule, now, took = FollowSchedule.of({"critical": MINUTE, "default": HOUR}, 0), 0, []
    for _ in range(121):
        schedule, due = schedule.take(now := schedule.next_due)
        took.append((now // MINUTE, tuple(due.ticks)))
    assert took == [(n, ("critical", "default") if n % 60 == 0 else ("critical",)) for n in range(121)]


@given(st.integers(1, 100), st.integers(1, 10 * HOUR))
def test_a_tag_that_fails_waits_twice_as_long_each_time_up_to_an_hour(failures, interval):
    wait = cycles_to_wait(failures, interval)
    assert 1 <= wait <= 2 ** (failures - 1)
    assert wait == 1 or wait * interval <= HOUR
    assert wait <= cycles_to_wait(failures + 1, interval) <= 2 * wait


def test_patience_lets_a_tag_wait_and_forgets_it_when_it_is_read():
    patience, tried = TagBackoff(), []
    for tick in range(40):
        if not patience.held("F1", "default", tick):
            tried.append(tick)
            patience.failed("F1", "SINUSOID", "default", tick, 4 * MINUTE)
    assert tried == [0, 1, 3, 7, 15, 30]  # never longer than 15 cycles of 4 minutes, an hour
    assert len(patience) == 1
    assert not patience.held("F2", "default", 39)
    assert not patience.held("F1", "critical", 39)
    assert patience.beyond(["F1", "F2"]) == []
    assert patience.beyond(["F2"]) == ["F1"]
    assert patience.cleared(["F1", "F2"]) == ["SINUSOID"]
    assert len(patience) == 0
    assert not patience.held("F1", "default", 0)


def test_pauses_grow_to_five_minutes():
    assert [pause_after(n) // SECOND for n in range(1, 10)] == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert pause_after(10**6) == 300 * SECOND
