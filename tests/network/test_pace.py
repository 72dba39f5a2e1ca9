"""The pace: never above what is configured, never zero, and always back to full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.plan.pace import Pace

ceilings = st.integers(1, 64)
secs = st.floats(0.001, 120.0)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Pace, Pace, float]:
    """Any mix of answers and overloads, with requests that started up to a minute before."""
    start = pace = Pace.full(draw(ceilings))
    now = 0.0
    for _ in range(draw(st.integers(0, 60))):
        now += draw(st.floats(0.0, 10.0))
        started_at = now - draw(st.floats(0.0, 60.0))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["GET points", "POST batch"]))
            pace = pace.answered(kind, started_at=started_at, now=now, first_byte_secs=draw(secs))
        else:
            pause = draw(st.floats(0.0, 300.0))
            pace = pace.overloaded(started_at=started_at, now=now, retry_after_secs=pause)
        assert 1 <= pace.window <= pace.ceiling
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
    pace = Pace.full(ceiling)
    for n in range(refusals):  # all of them sent before the first was refused
        pace = pace.overloaded(started_at=1.0, now=2.0 + n)
    assert pace.limit == max(1.0, ceiling / 2)
    again = pace.overloaded(started_at=2.5, now=200.0)
    assert again.limit == max(1.0, ceiling / 4)


def test_retry_after_stops_every_start_until_it_is_over() -> None:
    pace = Pace.full(8).overloaded(started_at=0.0, now=1.0, retry_after_secs=5.0)
    shorter = pace.overloaded(started_at=0.0, now=2.0, retry_after_secs=1.0)
    assert not shorter.may_start(now=5.99, in_flight=0)
    assert shorter.may_start(now=6.0, in_flight=0)


def test_no_retry_after_means_no_pause() -> None:
    assert Pace.full(8).overloaded(started_at=0.0, now=1.0).may_start(now=1.0, in_flight=0)


def test_rising_latency_shrinks_the_window_and_its_fall_lets_it_grow() -> None:
    usual = steady(Pace.full(16), 50, now=0.0, first_byte_secs=0.2)
    assert usual.window == 16
    rising = steady(usual, 10, now=10.0, first_byte_secs=0.8)
    assert 4 <= rising.window < 16
    assert steady(rising, 200, now=50.0, first_byte_secs=0.2).window == 16


def test_one_slow_answer_is_no_trend() -> None:
    usual = steady(Pace.full(16), 50, now=0.0, first_byte_secs=0.2)
    assert usual.answered("POST batch", started_at=10.0, now=70.0, first_byte_secs=60.0).window == 16


def test_noise_on_a_quick_server_is_no_trend() -> None:
    usual = steady(Pace.full(16), 50, now=0.0, first_byte_secs=0.001)
    assert steady(usual, 50, now=10.0, first_byte_secs=0.04).window == 16


def test_a_slow_kind_of_request_does_not_make_the_others_look_bad() -> None:
    pace = steady(Pace.full(16), 50, now=0.0, first_byte_secs=3.0)
    for n in range(50):
        kind, latency = ("POST batch", 3.0) if n % 2 else ("GET points", 0.1)
        pace = pace.answered(kind, started_at=200.0 + 3 * n, now=203.0 + 3 * n, first_byte_secs=latency)
        assert pace.window == 16
