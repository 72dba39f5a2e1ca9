"""The window that a scenario reads, and how many events the simulator has in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config import parse_duration, parse_instant
from engine.piweb.times import iso_text
from engine.simulator import SimulatorOptions, point
from engine.simulator.archive.signals import signal

__all__ = ["TimeSpan", "expected_events", "options_of"]

_TICKS_PER_MICRO = 10


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Half-open, microseconds since 1970."""

    start: int
    end: int

    @classmethod
    def of(cls, start: str, length: str) -> TimeSpan:
        begin = parse_instant(start).micros(0)
        return cls(begin, begin + parse_duration(length) // _MICROSECOND)

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / 1e6

    @property
    def texts(self) -> tuple[str, str]:
        return iso_text(self.start), iso_text(self.end)

    def before(self, length: str) -> TimeSpan:
        """The window of this length that ends where this one starts."""
        return TimeSpan(self.start - parse_duration(length) // _MICROSECOND, self.start)


_MICROSECOND = parse_duration("1us")


def options_of(settings: Mapping[str, Any]) -> SimulatorOptions:
    """The options a simulator with these command-line settings has, as far as its events depend on them."""
    return SimulatorOptions(
        tags=settings["tags"],
        seed=settings["seed"],
        interval_secs=parse_duration(settings.get("interval", "60s")).total_seconds(),
        profile=settings.get("profile", "uniform"),
    )


def expected_events(settings: Mapping[str, Any], span: TimeSpan) -> dict[str, int]:
    """Events of each tag in the window, by tag name."""
    options = options_of(settings)
    first, last = span.start * _TICKS_PER_MICRO, span.end * _TICKS_PER_MICRO
    counts: dict[str, int] = {}
    for index in range(options.tags):
        found = signal(options, index)
        counts[point(options, index).name] = found.before(last) - found.before(first)
    return counts
