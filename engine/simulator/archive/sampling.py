"""The value of a tag at an instant, and summaries of a range.

The value of a stepped tag, and a value that is no number, holds until the next event. Other values are interpolated
linearly between two good numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..site import Site
from ..times import DAY, SECOND
from .values import SYSTEM_STATES, DigitalState, Event, Value

BASES = (
    "TimeWeighted",
    "EventWeighted",
    "EventWeightedExcludeMostRecentEvent",
    "EventWeightedExcludeEarliestEvent",
    "EventWeightedIncludeBothEnds",
)


def no_data(ticks: int) -> Event:
    return Event(ticks, DigitalState("No Data", SYSTEM_STATES["No Data"], is_system=True), good=False)


def number_of(event: Event | None) -> float | None:
    """The value as a number, or None if it is bad or no number."""
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
        left, right = number_of(before), number_of(after)
        if left is not None and right is not None and after is not None:
            share = (ticks - before.ticks) / (after.ticks - before.ticks)
            return Event(ticks, left + (right - left) * share)
    return Event(ticks, before.value, before.good, before.questionable, before.substituted, before.annotated)


def plot(site: Site, index: int, start: int, end: int, *, parts: int, now: int) -> list[Event]:
    """What a trend needs to show: of each part of a range the first and the last event, the lowest and the highest number,
    and the first that is no good number. At the ends of the range stand the values there.
    """
    kept: dict[int, Event] = {start: value_at(site, index, start, now)}
    for part in range(parts):
        first, last = start + (end - start) * part // parts, start + (end - start) * (part + 1) // parts
        events = site.history.recorded(index, first, last if part == parts - 1 else last - 1, now)
        numbers = [event for event in events if number_of(event) is not None]
        odd = [event for event in events if number_of(event) is None]
        chosen = [*events[:1], *events[-1:], *odd[:1]]
        if numbers:
            chosen += [min(numbers, key=_as_number), max(numbers, key=_as_number)]
        kept.update((event.ticks, event) for event in chosen)
    kept.setdefault(end, value_at(site, index, end, now))
    return [kept[ticks] for ticks in sorted(kept)]


def _as_number(event: Event) -> float:
    return number_of(event) or 0.0


@dataclass(frozen=True, slots=True)
class _Segment:
    """The line between two events: the value at each end, `None` where there is no good number."""

    left: float | None
    right: float | None
    secs: float


def _segments(site: Site, index: int, start: int, end: int, now: int) -> list[_Segment]:
    step = site.point(index).step
    events = [value_at(site, index, start, now), *site.history.window(index, start, end - 1, now)]
    events.append(value_at(site, index, end, now))
    pieces = []
    for this, following in pairwise(events):
        left, right = number_of(this), number_of(following)
        held = left if step or right is None else right
        pieces.append(_Segment(left, held, (following.ticks - this.ticks) / SECOND))
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

    @property
    def _sum(self) -> float:
        return math.fsum(number * weight for number, weight in zip(self.numbers, self.weights, strict=True))

    def total(self) -> float | None:
        """Of time: as if the times without a good number had the average of the others."""
        if not self.numbers or not self.weight:
            return None
        by_time = not self.lost
        return self._sum / self.per_total * (self.asked / self.weight if by_time else 1.0)

    def average(self) -> float | None:
        return self._sum / self.weight if self.weight else None


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


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval of a summary, `[start, end)`, and the closed range of the events that count in it."""

    start: int
    end: int
    first: int
    last: int


def intervals(start: int, end: int, span: int, basis: str, includes_end: str) -> list[Interval]:
    """The intervals of a summary. Whether an event on a boundary counts depends on the basis, or on the server."""
    begins = range(start, max(end, start + 1), span)
    lone = len(begins) == 1
    before = 1 if basis == "EventWeightedExcludeEarliestEvent" else 0
    every = basis in {"EventWeightedIncludeBothEnds", "EventWeightedExcludeEarliestEvent"}
    at_end = basis == "EventWeighted" and (includes_end == "always" or (includes_end == "single" and lone))
    found = []
    for begin in begins:
        close = min(begin + span, end)
        counted = every or (at_end and close == end)
        found.append(Interval(begin, close, begin + before, close if counted else close - 1))
    return found


def counts(site: Site, index: int, asked: Sequence[Interval], now: int) -> list[int]:
    """How many events count in each interval. For a plain tag this is computed without listing the events."""
    history, bad = site.history, site.switches.count_includes_bad
    if not history.plain(index):
        seen = [history.recorded(index, interval.first, interval.last, now) for interval in asked]
        return [len(events) if bad else sum(event.good for event in events) for events in seen]
    found, _, shown = history.numbers(index, now, now, now)
    ranges = [(found.before(interval.first), min(shown, found.until(interval.last))) for interval in asked]
    if bad:
        return [max(0, to - number) for number, to in ranges]
    good, offset = found.table.good, found.offset
    return [good(offset + number, offset + to) if number < to else 0 for number, to in ranges]


def summary(
    site: Site, index: int, kinds: Sequence[str], interval: Interval, *, basis: str, now: int
) -> list[tuple[str, Event]]:
    """Summaries of an interval, each stamped with its start."""
    start, by_event = interval.start, basis.startswith("EventWeighted")
    if by_event and list(kinds) == ["Count"]:
        return [("Count", Event(start, counts(site, index, [interval], now)[0]))]
    sample = (_by_event if by_event else _by_time)(site, index, interval, now)
    found: list[tuple[str, Event]] = []
    for kind in kinds:
        counted = by_event and kind == "Count"
        value: Value = counts(site, index, [interval], now)[0] if counted else _CALCULATE[kind](sample)
        if value is None:
            state = DigitalState("Calc Failed", SYSTEM_STATES["Calc Failed"], is_system=True)
            found.append((kind, Event(start, state, good=False)))
        else:
            found.append((kind, Event(start, value)))
    return found


def _by_event(site: Site, index: int, interval: Interval, now: int) -> _Sample:
    events = site.history.recorded(index, interval.first, interval.last, now)
    numbers = [number for event in events if (number := number_of(event)) is not None]
    return _Sample(numbers, [1.0] * len(numbers), numbers, float(len(events)), 1.0, 1.0)


def _by_time(site: Site, index: int, interval: Interval, now: int) -> _Sample:
    numbers, weights, ends = [], [], []
    for piece in _segments(site, index, interval.start, interval.end, now):
        if piece.left is not None and piece.right is not None and piece.secs:
            numbers.append((piece.left + piece.right) / 2)
            weights.append(piece.secs)
            ends += [piece.left, piece.right]
    return _Sample(numbers, weights, ends, (interval.end - interval.start) / SECOND, DAY / SECOND, 0.0)
