"""The events of points that store future data, computed from (seed, tag, time, now) alone.

Pure; no state, no I/O. A forecast is issued at fixed intervals from the beginning of history on, and reaches a fixed
time ahead. For an instant in the past, the last forecast before it counts; for an instant ahead, the newest one.
Each forecast leaves out other events than the one before and gives the rest other values, so a new forecast inserts,
changes and deletes events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..options import SimulatorOptions
from .signals import Signal, signal
from .values import Event

# Every so many events one is left out, and it moves on by so many from one forecast to the next.
_LEFT_OUT, _MOVES_ON = 7, 3
_OTHER_VALUES = 613


class ForecastSeries(NamedTuple):
    """When forecasts of a site are issued, and how far they reach."""

    begin: int
    every: int
    reach: int

    def issue(self, ticks: int, now: int) -> int:
        """The number of the forecast that counts for an instant."""
        return (min(ticks, now) - self.begin) // self.every

    def end(self, now: int) -> int:
        """Where the newest forecast ends, itself not included."""
        return self.begin + self.issue(now, now) * self.every + self.reach

    def shown(self, found: Signal, first: int, last: int, now: int) -> Iterator[tuple[int, int]]:
        """Events of a signal visible in the closed range: their number, and that of the forecast they are from."""
        for number in range(found.before(first), found.before(min(last + 1, self.end(now)))):
            issue = self.issue(found.start + found.rhythm.when(number), now)
            if (number + _MOVES_ON * issue) % _LEFT_OUT:
                yield number, issue


def forecast_of(options: SimulatorOptions) -> ForecastSeries:
    return ForecastSeries(options.begin_ticks, options.future_renewed_ticks, options.future_reach_ticks)


def issued(found: Signal, number: int, issue: int) -> Event:
    """An event with the value that a forecast gives it."""
    return found._replace(offset=found.offset + issue * _OTHER_VALUES).event(number)


def forecast_events(options: SimulatorOptions, index: int, start_ticks: int, end_ticks: int, now: int) -> list[Event]:
    """Every event of a forecast tag in `[start_ticks, end_ticks)` at an instant, before anybody edited history."""
    found = signal(options, index)
    shown = forecast_of(options).shown(found, start_ticks, end_ticks - 1, now)
    return [issued(found, number, issue) for number, issue in shown]
