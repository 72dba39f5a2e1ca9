"""The pace: never above what is configured, never zero, and always back to full. It finds a limit and keeps to it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from math import log
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.plan.pace import Pace, climb_secs
from tests.examples import examples

ceilings = st.integers(1, 64)
rates = st.floats(0.05, 2_000.0)
secs = st.floats(0.001, 120.0)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Pace, Pace, float]:
    """Any mix of answers and overloads, with requests that started up to a minute before."""
    start = pace = Pace.full(draw(ceilings), draw(rates))
    now = 0.0
    for _ in range(draw(st.integers(0, 60))):
        now += draw(st.floats(0.0, 10.0))
        started_at = now - draw(st.floats(0.0, 60.0))
        if draw(st.booleans()):
            pace = pace.started(now=now)
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["GET points", "POST batch"]))
            pace = pace.answered(kind, started_at=started_at, now=now, first_byte_secs=draw(secs))
        else:
            pause = draw(st.floats(0.0, 300.0))
            timed_out, partly = draw(st.booleans()), draw(st.booleans())
            pace = pace.overloaded(
                started_at=started_at, now=now, retry_after_secs=pause, timed_out=timed_out, partly=partly
            )
        assert 1 <= pace.window <= pace.ceiling
        assert 0 < pace.rate <= pace.max_rate
    return start, pace, now


def steady(pace: Pace, answers: int, *, now: float, first_byte_secs: float) -> Pace:
    for _ in range(answers):
        now += first_byte_secs
        pace = pace.answered("POST batch", started_at=now - first_byte_secs, now=now, first_byte_secs=first_byte_secs)
        assert 1 <= pace.window <= pace.ceiling
    return pace


@given(histories(), secs)
def test_after_any_history_steady_answers_lead_back_to_the_ceiling(
    history: tuple[Pace, Pace, float], latency: float
) -> None:
    """However slow the server has become for good: what is usual follows, and the window recovers."""
    start, pace, now = history
    to_learn = 60
    to_grow = pace.ceiling * (pace.ceiling + 1) // 2 + 1
    assert steady(pace, to_learn + to_grow, now=now, first_byte_secs=latency).window == start.ceiling


@given(histories())
def test_a_pause_ends_and_then_something_may_start(history: tuple[Pace, Pace, float]) -> None:
    _, pace, now = history
    assert pace.pause_until <= now + 300
    assert pace.may_start(now=max(now, pace.pause_until), in_flight=0)
    assert not pace.may_start(now=max(now, pace.pause_until), in_flight=pace.window)


@given(ceilings, st.integers(1, 64))
def test_all_refusals_of_one_round_trip_halve_once(ceiling: int, refusals: int) -> None:
    pace = Pace.full(ceiling, 20.0)
    for n in range(refusals):  # all of them sent before the first was refused
        pace = pace.overloaded(started_at=1.0, now=2.0 + n)
    assert pace.limit == max(1.0, ceiling / 2)
    again = pace.overloaded(started_at=2.5, now=200.0)
    assert again.limit == max(1.0, ceiling / 4)


def test_retry_after_stops_every_start_until_it_is_over() -> None:
    pace = Pace.full(8, 20.0).overloaded(started_at=0.0, now=1.0, retry_after_secs=5.0)
    shorter = pace.overloaded(started_at=0.0, now=2.0, retry_after_secs=1.0)
    assert not shorter.may_start(now=5.99, in_flight=0)
    assert shorter.may_start(now=6.0, in_flight=0)


def test_no_retry_after_means_a_breath_at_most() -> None:
    """What the server lets through at once is used up: it gets the time of a few requests to have some again."""
    pace = Pace.full(8, 200.0).overloaded(started_at=0.0, now=1.0)
    assert pace.pause_until == pytest.approx(1.0 + 3 / pace.rate)
    assert Pace.full(8, 0.3).overloaded(started_at=0.0, now=1.0).may_start(now=1.5, in_flight=0)


def test_rising_latency_shrinks_the_window_and_its_fall_lets_it_grow() -> None:
    usual = steady(Pace.full(16, 20.0), 50, now=0.0, first_byte_secs=0.2)
    assert usual.window == 16
    rising = steady(usual, 10, now=10.0, first_byte_secs=0.8)
    assert 4 <= rising.window < 16
    assert steady(rising, 200, now=50.0, first_byte_secs=0.2).window == 16


def test_one_slow_answer_is_no_trend() -> None:
    usual = steady(Pace.full(16, 20.0), 50, now=0.0, first_byte_secs=0.2)
    assert usual.answered("POST batch", started_at=10.0, now=70.0, first_byte_secs=60.0).window == 16


def test_noise_on_a_quick_server_is_no_trend() -> None:
    usual = steady(Pace.full(16, 20.0), 50, now=0.0, first_byte_secs=0.001)
    assert steady(usual, 50, now=10.0, first_byte_secs=0.04).window == 16


def test_a_slow_kind_of_request_does_not_make_the_others_look_bad() -> None:
    pace = steady(Pace.full(16, 20.0), 50, now=0.0, first_byte_secs=3.0)
    for n in range(50):
        kind, latency = ("POST batch", 3.0) if n % 2 else ("GET points", 0.1)
        pace = pace.answered(kind, started_at=200.0 + 3 * n, now=203.0 + 3 * n, first_byte_secs=latency)
        assert pace.window == 16


# --- requests a second ---------------------------------------------------


def busy(
    pace: Pace, secs: float, *, now: float, latency: float = 0.1, most_a_second: float = 1e9
) -> tuple[Pace, float]:
    """Send as fast as the pace allows, or as the rest of the machine does; everything is answered well."""
    until = now + secs
    while now < until:
        now += max(1 / pace.rate, 1 / most_a_second)
        pace = pace.started(now=now)
        pace = pace.answered("POST batch", started_at=now, now=now + latency, first_byte_secs=latency)
    return pace, now


@given(histories(), st.floats(0.01, 0.5))
@examples(60)
def test_after_any_history_the_rate_climbs_back_to_the_ceiling(
    history: tuple[Pace, Pace, float], latency: float
) -> None:
    """In a time that the curve says: to where it was refused, and then ever faster."""
    start, pace, now = history
    now = max(now, pace.pause_until)
    pace = steady(pace, 60, now=now, first_byte_secs=latency)  # what is usual is learned
    now += 60 * latency
    if (span := log(pace.high / pace.low)) > 0:
        half = climb_secs(span, pace.silence_secs)
        needed = 2 * half + 15 * (1 + 2 * max(0.0, log(start.max_rate / pace.high)) / span) ** (1 / 3)
        before = pace.rate
        for _ in range(int(needed) + 2):
            now += 1.0
            pace = replace(pace, gap_secs=0.0)  # all is sent that may be
            pace = pace.answered("POST batch", started_at=now - latency, now=now, first_byte_secs=latency)
            assert before <= pace.rate <= pace.max_rate
            before = pace.rate
    assert pace.rate == start.max_rate


@given(
    max_rate=st.floats(20.0, 100.0),
    share=st.floats(0.02, 0.7),
    secs=st.floats(10.0, 60.0),
    retry_after_secs=st.sampled_from([0.0, 1.0, 5.0]),
)
@examples(40)
def test_a_rate_that_is_not_used_up_does_not_grow(
    max_rate: float, share: float, secs: float, retry_after_secs: float
) -> None:
    """A machine that is busy elsewhere sends less than it may. That less was answered says nothing about more."""
    pace, now = busy(Pace.full(64, max_rate), 5.0, now=0.0)
    pace = pace.overloaded(started_at=now, now=now, retry_after_secs=retry_after_secs)
    now = max(now, pace.pause_until)
    pace, now = busy(pace, 30 / pace.rate, now=now, most_a_second=share * pace.rate)  # this is heard first
    learned, now = busy(pace, secs, now=now, most_a_second=share * pace.rate)
    assert learned.rate == pace.rate
    assert busy(learned, secs, now=now)[0].rate > learned.rate  # used up, it does


@given(max_rate=st.floats(50.0, 400.0), share=st.floats(0.05, 0.5))
@examples(40)
def test_a_refusal_is_laid_to_the_rate_that_was_sent(max_rate: float, share: float) -> None:
    sent = share * max_rate
    pace, now = busy(Pace.full(64, max_rate), 20.0, now=0.0, most_a_second=sent)
    pace = pace.overloaded(started_at=now, now=now)
    assert pace.high <= 1.3 * sent
    assert pace.rate < 1.05 * sent


def test_time_without_requests_does_not_raise_the_rate() -> None:
    """A run that follows sleeps between its cycles; it has learned nothing when it wakes."""
    pace = Pace.full(4, 100.0).overloaded(started_at=0.0, now=0.0)
    pace = pace.answered("GET points", started_at=0.1, now=0.2, first_byte_secs=0.1)
    later = pace.answered("GET points", started_at=3_600.0, now=3_600.1, first_byte_secs=0.1)
    assert later.climbed_secs == pace.climbed_secs + 1.0


def test_a_limit_is_remembered_for_minutes_and_a_silence_lets_it_be_remembered_for_longer() -> None:
    pace, now = busy(Pace.full(64, 20.0), 60.0, now=0.0)
    for retry_after_secs, secs in ((0.0, 90.0), (5.0, 300.0)):
        refused = pace.overloaded(started_at=now, now=now, retry_after_secs=retry_after_secs)
        assert 0.85 * 20.0 < refused.rate <= 0.96 * 20.0
        assert busy(refused, secs, now=max(now, refused.pause_until))[0].rate < 20.0


def test_a_refusal_after_many_answers_cuts_little_and_one_at_once_cuts_half() -> None:
    pace, now = busy(Pace.full(4, 100.0), 60.0, now=0.0)
    assert 85.0 < pace.overloaded(started_at=now, now=now).rate <= 96.0
    assert Pace.full(4, 100.0).overloaded(started_at=0.0, now=0.1).rate == 50.0


def test_of_a_batch_that_is_refused_in_part_the_rest_was_answered() -> None:
    """The server is not away. An archive behind it may be: that takes not more than nine tenths of the rate."""
    pace, now = busy(Pace.full(8, 100.0), 60.0, now=0.0)
    refused = pace.overloaded(started_at=now, now=now, partly=True)
    assert 85.0 < refused.rate <= 96.0
    for _ in range(100):
        now = max(now + 1.0, refused.pause_until)
        refused = refused.started(now=now).overloaded(started_at=now, now=now, timed_out=True, partly=True)
        assert not refused.probing
    assert 5.0 <= refused.rate <= 10.0


def test_a_time_out_halves_the_rate() -> None:
    assert Pace.full(4, 100.0).overloaded(started_at=0.0, now=60.0, timed_out=True).rate == 50.0


def test_rising_latency_lowers_the_rate_too() -> None:
    usual = steady(Pace.full(16, 100.0), 50, now=0.0, first_byte_secs=0.2)
    assert steady(usual, 10, now=10.0, first_byte_secs=0.8).rate < 100.0


def test_three_signs_in_a_row_leave_one_probe_after_a_pause_that_doubles() -> None:
    pace, now, pauses = Pace.full(8, 100.0, probe_wait_secs=0.5), 0.0, []
    for _ in range(9):
        now = max(now, pace.pause_until) + 0.001
        pace = pace.overloaded(started_at=now, now=now)
        pauses.append(round(max(0.0, pace.pause_until - now), 3))
    assert pauses == [0.06, 0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert pace.probing
    assert pace.window == 1
    assert pace.rate == 25.0  # an outage says nothing about the rate
    back = pace.answered("GET system", started_at=now + 10, now=now + 10.1, first_byte_secs=0.1)
    assert not back.probing
    assert back.window == 3


def test_no_pause_before_a_probe_is_longer_than_allowed() -> None:
    pace = Pace.full(8, 100.0, probe_wait_secs=0.5, longest_probe_wait_secs=1.5)
    for n in range(9):
        pace = pace.overloaded(started_at=60.0 * n, now=60.0 * n)
        assert pace.pause_until <= 60.0 * n + 1.5
    assert pace.probing


def test_an_answer_to_what_was_sent_before_an_outage_does_not_end_it() -> None:
    pace = Pace.full(8, 100.0)
    for n in range(3):
        pace = pace.overloaded(started_at=float(n), now=float(n))
    assert pace.answered("GET system", started_at=0.5, now=3.0, first_byte_secs=2.5).probing


@dataclass(frozen=True)
class Site:
    """A server that refuses what is above its capacity: a bucket of tokens."""

    capacity: float  # requests a second
    times: float  # so many times as many are allowed
    burst_secs: float
    latency_secs: float
    retry_after_secs: float
    jitter: float  # of the way there, up to a quarter of what the bucket holds
    quick_to_refuse: bool = True
    seed: int = 0


def asked(site: Site, *, begin: float, end: float) -> tuple[float, float]:
    """Ask as fast as the pace allows; give the shares of the capacity used, and of requests refused, in that time."""
    dice = Random(site.seed)
    pace = Pace.full(int(3 * site.capacity * site.latency_secs) + 16, site.capacity * site.times)
    holds = max(2.0, site.burst_secs * site.capacity)
    late_secs = site.jitter * min(site.burst_secs / 4, site.latency_secs / 2) if holds > 4 else 0.0
    tokens, filled_at, now, next_start = holds, 0.0, 0.0, 0.0
    flying: list[tuple[float, float, bool]] = []
    passed = refused = 0
    while now < end:
        start = max(now, next_start, pace.pause_until)
        if flying and (len(flying) >= pace.window or flying[0][0] <= start):
            now, sent_at, welcome = heapq.heappop(flying)
            if welcome:
                pace = pace.answered("POST batch", started_at=sent_at, now=now, first_byte_secs=now - sent_at)
            else:
                pace = pace.overloaded(started_at=sent_at, now=now, retry_after_secs=site.retry_after_secs)
            continue
        now = start
        arrives_at = max(filled_at, now + dice.random() * late_secs)
        tokens, filled_at = min(holds, tokens + (arrives_at - filled_at) * site.capacity), arrives_at
        welcome = tokens >= 1
        tokens -= welcome
        takes_secs = site.latency_secs * dice.uniform(0.7, 1.3)
        if site.quick_to_refuse and not welcome:
            takes_secs = min(takes_secs, 0.02)
        heapq.heappush(flying, (arrives_at + takes_secs, now, welcome))
        pace = pace.started(now=now)
        next_start = now + 1 / pace.rate
        if now >= begin:
            passed, refused = passed + welcome, refused + (not welcome)
    return passed / ((end - begin) * site.capacity), refused / (passed + refused)


sites = st.builds(
    Site,
    capacity=st.floats(5.0, 60.0),
    times=st.floats(1.0, 10.0),
    burst_secs=st.floats(0.1, 1.0),
    latency_secs=st.floats(0.02, 2.0),
    retry_after_secs=st.sampled_from([0.0, 1.0, 5.0]),
    jitter=st.floats(0.0, 1.0),
    quick_to_refuse=st.booleans(),
    seed=st.integers(0, 1_000),
)


@given(sites)
@example(Site(200.0, 4.0, 0.25, 0.05, 0.0, 0.5))
@example(Site(5.0, 10.0, 0.4, 2.0, 1.0, 0.0))
@example(Site(39.26, 7.676, 0.8157, 1.886, 5.0, 0.652, quick_to_refuse=False))  # a long gap hid what was sent before it
@examples(20)
def test_a_limit_that_nobody_told_us_is_found_in_seconds_and_kept_to(site: Site) -> None:
    """Twenty seconds to find it, then two minutes that count.

    Each silence of five seconds that the server asks for is time in which it could have answered. A few are met until
    the limit is known closely.
    """
    used, refused = asked(site, begin=20.0, end=140.0)
    assert refused <= 0.02
    assert used >= {0.0: 0.9, 1.0: 0.85, 5.0: 0.8}[site.retry_after_secs]


@given(sites)
@examples(10)
def test_a_limit_that_is_known_costs_next_to_nothing(site: Site) -> None:
    used, refused = asked(site, begin=140.0, end=380.0)
    assert refused <= 0.01
    assert used >= 0.95
