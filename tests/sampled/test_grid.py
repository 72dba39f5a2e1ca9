"""The grid decision: which points a window holds, and when they may be read."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from engine.model import Window
from engine.plan.grid import count_points, first_point, points_within, readable_end

SECOND = 1_000_000
INSTANTS = st.integers(-(10**15), 4 * 10**15)
INTERVALS = st.integers(1, 40 * 86_400).map(lambda secs: secs * SECOND)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, list[int]]:
    """An interval, and instants in order, some of them points or beside points."""
    interval = draw(INTERVALS)
    start = draw(INSTANTS)
    steps = draw(st.lists(st.integers(0, 3 * interval), min_size=1, max_size=12))
    found = [start]
    for step in steps:
        near = draw(st.sampled_from([None, -1, 0, 1]))
        at = found[-1] + step
        found.append(at if near is None else max(found[-1], at // interval * interval + near))
    return interval, found


def points(window: Window, interval: int) -> range:
    return range(first_point(window.start, interval), window.end, interval)


@given(cuts())
def test_windows_that_follow_each_other_hold_each_point_once(case: tuple[int, list[int]]) -> None:
    interval, at = case
    whole = Window(at[0], at[-1])
    parts = [Window(*pair) for pair in itertools.pairwise(at)]
    assert [point for part in parts for point in points(part, interval)] == list(points(whole, interval))
    assert sum(count_points(part, interval) for part in parts) == len(points(whole, interval))
    assert all(point % interval == 0 and whole.start <= point < whole.end for point in points(whole, interval))


@given(cuts(), st.integers(1, 5))
def test_a_window_is_read_piece_by_piece_to_its_end(case: tuple[int, list[int]], most: int) -> None:
    interval, at = case
    left, seen = Window(at[0], at[-1]), []
    while left.start < left.end:
        piece, held = points_within(left, interval, most)
        assert held == count_points(piece, interval) <= most
        assert left.start == piece.start < piece.end <= left.end
        seen += points(piece, interval)
        left = Window(piece.end, left.end)
    assert seen == list(points(Window(at[0], at[-1]), interval))


@given(INTERVALS, INSTANTS, st.integers(0, 10**12), st.booleans())
def test_what_is_readable_ends_right_after_its_last_settled_point(
    interval: int, settled: int, ahead: int, summary: bool
) -> None:
    reach = interval if summary else 0
    end = readable_end(settled + ahead, settled, interval=interval, reach=reach)
    last = end - 1
    assert last % interval == 0
    assert last + reach <= settled
    assert last < settled
    following = last + interval
    assert following + reach > settled or following >= settled


@given(INTERVALS, INSTANTS, st.integers(0, 10**7))
def test_nothing_is_readable_beyond_the_end_of_what_is_wanted(interval: int, end: int, later: int) -> None:
    assert readable_end(end, end + later, interval=interval, reach=0) <= end
