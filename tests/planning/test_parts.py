"""Live runs raise what is done, a backfill lowers it, and the two leave no hole; a repair moves neither end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import from_mapping
from engine.datasets.recorded import Mode
from engine.model import Outcome, Outcomes, Tag, Window
from engine.plan.parts import Part, window_of
from engine.plan.timeline import DAY, gaps
from engine.wiring import repairs_of
from writers import Watermark

WINDOWS = st.tuples(st.integers(0, 5 * DAY), st.integers(1, DAY)).map(lambda w: Window(w[0], w[0] + w[1]))


def windows(part: Part, wanted: Window, done: Window | None, *, newest_first: bool) -> Window | None:
    return window_of(part, wanted, done, newest_first=newest_first, present=wanted.end)


@given(WINDOWS, WINDOWS, st.booleans())
def test_the_front_only_raises_and_the_back_only_lowers(wanted: Window, done: Window, newest_first: bool) -> None:
    front = windows(Part.FRONT, wanted, done, newest_first=newest_first)
    back = windows(Part.BACK, wanted, done, newest_first=newest_first)
    ahead = gaps(done, front) if front is not None else ()
    behind = gaps(done, back) if back is not None else ()
    assert not any(gap.backward for gap in ahead)
    assert all(gap.backward for gap in behind)
    assert sorted(map(str, (*ahead, *behind))) == sorted(map(str, gaps(done, wanted)))


@pytest.mark.parametrize(("newest_first", "start"), [(True, 4 * DAY), (False, DAY)])
def test_a_tag_that_was_never_read_begins_at_the_front(newest_first: bool, start: int) -> None:
    wanted = Window(DAY, 4 * DAY + 5)
    assert windows(Part.FRONT, wanted, None, newest_first=newest_first) == Window(start, wanted.end)
    assert windows(Part.BACK, wanted, None, newest_first=newest_first) is None


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
    plan = repairs_of(config, [(Tag("a", "A"), window)], marks, mode=Mode.BATCH)
    chunk = plan.take()
    assert chunk is not None
    settled = plan.settle(chunk, Outcomes.of([Outcome(ask, 0, ask.end) for ask in chunk.asks]))
    assert [swap.end for swap in settled.swaps] == [window.end]
    assert [move.last_event for moves in settled.moves for move in moves] == ([window.start] if told else [])
