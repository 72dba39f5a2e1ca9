"""Live runs raise what is done, a backfill lowers it, and the two leave no hole; a repair moves neither end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import from_mapping
from engine.datasets.request_mode import Mode
from engine.model import AskOutcome, AskOutcomes, Tag, Window
from engine.plan.run_scope import RunScope, window_of
from engine.plan.timeline import DAY, gaps
from engine.run.plans import limits_of, repairs_of
from tests.landing.widening import moves_in
from writers import Watermark

WINDOWS = st.tuples(st.integers(0, 5 * DAY), st.integers(1, DAY)).map(lambda w: Window(w[0], w[0] + w[1]))


def windows(scope: RunScope, wanted: Window, done: Window | None, *, newest_first: bool) -> Window | None:
    return window_of(scope, wanted, done, newest_first=newest_first, present=wanted.end)


@given(WINDOWS, WINDOWS, st.booleans())
def test_the_front_only_raises_and_the_back_only_lowers(wanted: Window, done: Window, newest_first: bool) -> None:
    front = windows(RunScope.FORWARD, wanted, done, newest_first=newest_first)
    back = windows(RunScope.BACKFILL, wanted, done, newest_first=newest_first)
    ahead = gaps(done, front) if front is not None else ()
    behind = gaps(done, back) if back is not None else ()
    assert not any(gap.backward for gap in ahead)
    assert all(gap.backward for gap in behind)
    assert sorted(map(str, (*ahead, *behind))) == sorted(map(str, gaps(done, wanted)))


@pytest.mark.parametrize(("newest_first", "start"), [(True, 4 * DAY), (False, DAY)])
def test_a_tag_that_was_never_read_begins_at_the_front(newest_first: bool, start: int) -> None:
    wanted = Window(DAY, 4 * DAY + 5)
    assert windows(RunScope.FORWARD, wanted, None, newest_first=newest_first) == Window(start, wanted.end)
    assert windows(RunScope.BACKFILL, wanted, None, newest_first=newest_first) is None


@pytest.mark.parametrize(
    ("window", "last_event", "told"),
    [
        (Window(50, 100), 10, False),  # the last event lies before what is read
        (Window(10, 100), 10, True),
        (Window(10, 90), 10, False),  # there may be a later one
        (Window(50, 100), None, True),
    ],
)
def test_a_repair_tells_of_the_last_event_only_if_it_must_have_seen_it(window, last_event, told: bool) -> None:
    config = from_mapping({}).config
    marks = {"a": Watermark("a", 0, 100, last_event, 1)}
    plan = repairs_of(config, [(Tag("a", "A"), window)], marks, limits_of(config, Mode.BATCH))
    chunk = plan.take()
    assert chunk is not None
    result = plan.record_answer(chunk, AskOutcomes.of([AskOutcome(ask, 0, ask.end) for ask in chunk.asks]))
    assert [swap.end for swap in result.replaced] == [window.end]
    assert [move.last_event for moves in result.moves for move in moves_in(moves)] == ([window.start] if told else [])


def test_a_page_of_a_repair_does_not_tell_of_the_last_event_before_the_last_page() -> None:
    config = from_mapping({}).config
    marks = {"a": Watermark("a", 0, 100, 90, 1)}
    plan = repairs_of(config, [(Tag("a", "A"), Window(10, 100))], marks, limits_of(config, Mode.BATCH))
    told: list[tuple[int, list[int | None]]] = []
    for until in (50, 100):
        chunk = plan.take()
        assert chunk is not None
        [ask] = chunk.asks
        result = plan.record_answer(chunk, AskOutcomes.of([AskOutcome(ask, 1, until, until - 20, last_digest=7)]))
        told.append((until, [move.last_event for moves in result.moves for move in moves_in(moves)]))
        plan.give_back(chunk)
    assert told == [(50, []), (100, [80])]
