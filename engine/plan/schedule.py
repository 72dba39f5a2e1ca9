"""When each class of tags is read: fixed grids in time, and the patience with tags that fail. Pure.

Invariant: the n-th tick of a class is at start + n x interval, however long cycles took. A cycle serves all that is
due. A tick that passed meanwhile is counted and not made up for, because the next cycle reads the time of both. The
time is an argument, in microseconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from ..model import Micros
from .timeline import HOUR, SECOND

# What is due so soon, measured by its own interval, is read along: one cycle and one commit instead of two.
_EARLY_SHARE = 10
_EARLIEST = 5 * SECOND

_LONGEST_WAIT = HOUR
_FIRST_PAUSE = 5 * SECOND
_LONGEST_PAUSE = 300 * SECOND


@dataclass(frozen=True, slots=True)
class DueTicks:
    """What one cycle serves: the tick of each class that is due, how many were passed over, how late it is.

    `late`: since the first of the ticks that are served; negative for one that is early.
    """

    ticks: Mapping[str, int]
    skipped: int
    late: Micros


@dataclass(frozen=True, slots=True)
class FollowSchedule:
    """Classes with their intervals, and the tick of each that was served last (-1: none)."""

    start: Micros
    intervals: Mapping[str, Micros]
    served: Mapping[str, int]

    @classmethod
    def of(cls, intervals: Mapping[str, Micros], start: Micros) -> Self:
        """All classes are due at `start`, their tick 0."""
        return cls(start, intervals, dict.fromkeys(intervals, -1))

    def due_at(self, name: str) -> Micros:
        """When the class is due next."""
        return self.start + (self.served[name] + 1) * self.intervals[name]

    @property
    def next_due(self) -> Micros:
        return min(map(self.due_at, self.intervals))

    def take(self, now: Micros) -> tuple[FollowSchedule, DueTicks]:
        """What is due now, or very soon, and the schedule once that is served."""
        ticks = {name: tick for name in self.intervals if (tick := self._tick(name, now)) > self.served[name]}
        skipped = sum(tick - self.served[name] - 1 for name, tick in ticks.items())
        first = min((self.start + tick * self.intervals[name] for name, tick in ticks.items()), default=now)
        return replace(self, served={**self.served, **ticks}), DueTicks(ticks, skipped, now - first)

    def _tick(self, name: str, now: Micros) -> int:
        """The newest tick of a class that a cycle beginning now can serve."""
        interval = self.intervals[name]
        early = min(interval // _EARLY_SHARE, _EARLIEST)
        return (now + early - self.start) // interval


def cycles_to_wait(failures: int, interval: Micros) -> int:
    """How many cycles of its class after its last failure in a row a tag is tried again: 1, 2, 4 .. up to an hour."""
    return min(1 << min(failures - 1, 30), max(1, _LONGEST_WAIT // interval)) if failures else 0


def pause_after(outages: int) -> Micros:
    """How long to leave a source alone that has not answered so many times in a row."""
    return min(_FIRST_PAUSE << min(max(0, outages - 1), 30), _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class _Failing:
    name: str
    of_class: str
    failures: int
    due_tick: int


class TagBackoff:
    """The tags that fail, and from which tick of their class on each is tried again."""

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}

    def __len__(self) -> int:
        return len(self._failing)

    def held(self, web_id: str, of_class: str, tick: int) -> bool:
        """Whether the tag is to be left out of the cycle that serves this tick of its class.

        Ticks of two classes have nothing in common: a tag that was given another class is tried at once.
        """
        failing = self._failing.get(web_id)
        return failing is not None and failing.of_class == of_class and tick < failing.due_tick

    def failed(self, web_id: str, name: str, of_class: str, tick: int, interval: Micros) -> None:
        failures = 1 + (known.failures if (known := self._failing.get(web_id)) else 0)
        self._failing[web_id] = _Failing(name, of_class, failures, tick + cycles_to_wait(failures, interval))

    def cleared(self, web_ids: Iterable[str]) -> list[str]:
        """These tags were read, or are asked for no more. Gives the names of those that had failed."""
        return [found.name for web_id in web_ids if (found := self._failing.pop(web_id, None))]

    def beyond(self, web_ids: Iterable[str]) -> list[str]:
        """The failing tags that are not among these."""
        return list(self._failing.keys() - set(web_ids))
