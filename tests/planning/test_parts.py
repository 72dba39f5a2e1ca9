"""Live runs raise what is done, a backfill lowers it, and the two leave no hole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Window
from engine.plan.parts import Part, window_of
from engine.plan.timeline import DAY, gaps

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
