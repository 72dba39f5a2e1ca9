"""What a tag is worth at an instant or over a range: interpolation and summaries.

Imports only the pure parts. Stepped tags and values that are no numbers hold until the next event;
others run in a straight line between two good numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .site import Site
from .times import DAY, SECOND
from .values import SYSTEM_STATES, Event, State, Value

__all__ = ["SUMMARY_TYPES", "no_data", "summary", "value_at"]


def no_data(ticks: int) -> Event:
    return Event(ticks, State("No Data", SYSTEM_STATES["No Data"], is_system=True), good=False)


def _number(event: Event | None) -> float | None:
    """The value as a number one can calculate with, or nothing."""
    if (
        event is None
        or not event.good
        or isinstance(event.value, (bool, str))
        or not isinstance(event.value, (int, float))
    ):
        return None
    return None if math.isnan(event.value) else float(event.value)


def value_at(site: Site, index: int, ticks: int, now: int) -> Event:
    """Value at an instant, stamped with it: recorded, stepped or interpolated."""
    before = site.history.last(index, ticks, now)
    if before is None:
        return no_data(ticks)
    if before.ticks != ticks and not site.point(index).step:
        after = site.history.after(index, ticks, now)
        left, right = _number(before), _number(after)
        if left is not None and right is not None and after is not None:
            share = (ticks - before.ticks) / (after.ticks - before.ticks)
            return Event(ticks, left + (right - left) * share)
    return Event(ticks, before.value, before.good, before.questionable, before.substituted, before.annotated)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a tag's course: a value at each end, `None` where there is no good number."""

    left: float | None
    right: float | None
    secs: float


def _pieces(site: Site, index: int, start: int, end: int, now: int) -> list[_Piece]:
    step = site.point(index).step
    events = [value_at(site, index, start, now), *site.history.window(index, start, end - 1, now)]
    events.append(value_at(site, index, end, now))
    pieces = []
    for this, following in pairwise(events):
        left, right = _number(this), _number(following)
        held = left if step or right is None else right
        pieces.append(_Piece(left, held, (following.ticks - this.ticks) / SECOND))
    return pieces


def _deviation(numbers: Sequence[float], weights: Sequence[float], lost: float) -> float | None:
    """Weighted standard deviation; `lost` is 1 for a sample of events, 0 for a population."""
    total = sum(weights)
    if total - lost <= 0:
        return None
    mean = sum(number * weight for number, weight in zip(numbers, weights, strict=True)) / total
    squares = sum(weight * (number - mean) ** 2 for number, weight in zip(numbers, weights, strict=True))
    return math.sqrt(squares / (total - lost))


@dataclass(frozen=True, slots=True)
class _Sample:
    """Numbers and their weights (1 per event, or seconds), the whole weight asked about, and the unit of a total."""

    numbers: list[float]
    weights: list[float]
    ends: list[float]
    asked: float
    per_total: float
    lost: float

    @property
    def weight(self) -> float:
        return sum(self.weights)

    def total(self) -> float | None:
        products = [number * weight for number, weight in zip(self.numbers, self.weights, strict=True)]
        return math.fsum(products) / self.per_total if products else None

    def average(self) -> float | None:
        total = self.total()
        return total * self.per_total / self.weight if total is not None and self.weight else None


_CALCULATE: dict[str, Callable[[_Sample], float | None]] = {
    "Total": _Sample.total,
    "Average": _Sample.average,
    "Minimum": lambda sample: min(sample.ends, default=None),
    "Maximum": lambda sample: max(sample.ends, default=None),
    "Range": lambda sample: max(sample.ends) - min(sample.ends) if sample.ends else None,
    "StdDev": lambda sample: _deviation(sample.numbers, sample.weights, sample.lost),
    "PopulationStdDev": lambda sample: _deviation(sample.numbers, sample.weights, 0),
    "Count": lambda sample: sample.weight,
    "PercentGood": lambda sample: 100 * sample.weight / sample.asked if sample.asked else 0.0,
}
SUMMARY_TYPES = tuple(_CALCULATE)


def summary(
    site: Site, index: int, kinds: Sequence[str], *, basis: str, start: int, end: int, now: int
) -> list[tuple[str, Event]]:
    """Summaries of `[start, end)`, each stamped with its start."""
    by_event = basis == "EventWeighted"
    if by_event and list(kinds) == ["Count"] and site.switches.summary_count == "all" and site.history.plain(index):
        _, number, to = site.history.numbers(index, start, end - 1, now)
        return [("Count", Event(start, max(0, to - number)))]
    sample, count = (_by_event if by_event else _by_time)(site, index, start, end, now)
    found: list[tuple[str, Event]] = []
    for kind in kinds:
        value: Value = count if kind == "Count" else _CALCULATE[kind](sample)
        if value is None:
            state = State("Calc Failed", SYSTEM_STATES["Calc Failed"], is_system=True)
            found.append((kind, Event(start, state, good=False)))
        else:
            found.append((kind, Event(start, value)))
    return found


def _by_event(site: Site, index: int, start: int, end: int, now: int) -> tuple[_Sample, float]:
    events = site.history.recorded(index, start, end - 1, now)
    numbers = [number for event in events if (number := _number(event)) is not None]
    good = sum(event.good for event in events)
    sample = _Sample(numbers, [1.0] * len(numbers), numbers, float(len(events)), 1.0, 1.0)
    return sample, len(events) if site.switches.summary_count == "all" else good


def _by_time(site: Site, index: int, start: int, end: int, now: int) -> tuple[_Sample, float]:
    numbers, weights, ends = [], [], []
    for piece in _pieces(site, index, start, end, now):
        if piece.left is not None and piece.right is not None and piece.secs:
            numbers.append((piece.left + piece.right) / 2)
            weights.append(piece.secs)
            ends += [piece.left, piece.right]
    sample = _Sample(numbers, weights, ends, (end - start) / SECOND, DAY / SECOND, 0.0)
    return sample, sample.weight
