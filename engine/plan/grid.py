"""The grid of sampled series: which instants are read, and when. Pure.

The points of a grid are the multiples of its interval since 1970, in UTC: they do not depend on the window. Invariant: a window holds
the points in it, and windows that follow each other hold each point once, wherever they are cut.
"""

from __future__ import annotations

from ..model import Micros, Window


def first_point(at: Micros, interval: Micros) -> Micros:
    """The first point that is not before an instant."""
    return -(-at // interval) * interval


def count_points(window: Window, interval: Micros) -> int:
    """How many points a window holds."""
    return max(0, first_point(window.end, interval) - first_point(window.start, interval)) // interval


def points_within(window: Window, interval: Micros, most: int) -> tuple[Window, int]:
    """The beginning of a window that holds at most so many of its points, and how many it holds."""
    held = count_points(window, interval)
    if held <= most:
        return window, held
    return Window(window.start, first_point(window.start, interval) + most * interval), most


def readable_end(end: Micros, settled: Micros, *, interval: Micros, reach: Micros) -> Micros:
    """Where a window of `end` has to end so that the values in it are final.

    `settled`: before it events are expected to be complete. A value depends on events at its point, and on those less than
    `reach` after it. The window ends right after its last point: runs between two points have the same window, and
    nothing new to read.
    """
    last = min(settled - max(1, reach), end - 1) // interval * interval
    return last + 1


def readable_window(
    wanted: Window, settled: Micros, *, interval: Micros, reach: Micros, done: Window | None = None
) -> Window:
    """What of a wanted window can be read: up to its `readable_end`. What is done stays in it, also after the lookback has
    become longer: it is compared.
    """
    end = readable_end(wanted.end, settled, interval=interval, reach=reach)
    if done is not None:
        end = max(end, done.end)
    return Window(min(wanted.start, end), end)


def next_readable(high: Micros, interval: Micros, reach: Micros, *, waits: Micros) -> Micros:
    """When the next point can be read of a series that is done up to `high`. `waits`: how long events are waited for."""
    return first_point(high, interval) + max(1, reach) + waits
