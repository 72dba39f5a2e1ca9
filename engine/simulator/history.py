"""What the archive shows now: the closed form, less what is hidden, plus what was edited.

Imports only the pure parts. Most tags have no edits and no faults; for them everything is read off
the signal. For the others the visible events of a window are worked out one by one, and that list
is the truth: the server answers from it, and tests read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .faults import Edit, TagFault
from .options import SimulatorOptions
from .points import find, name_of
from .signals import Signal, signal
from .times import DAY, MICROSECOND, ticks_of
from .values import Event, State
from .wildcards import wildcard

__all__ = ["FOREVER", "Change", "History"]

FOREVER = 253402300799 * 10_000_000
NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Change:
    """One edit of a tag's history over `[start, end)`, known from `visible_at` on."""

    action: str
    start: int
    end: int
    visible_at: int
    event: Event | None = None


class History:
    """The visible events of every tag."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self._changes: dict[int, list[Change]] = {}
        self._faults = options.faults.tags
        self._snapshot_shown = options.faults.switches.recorded_shows_snapshot
        self.signal = lru_cache(maxsize=65536)(self._signal)
        self.fault = lru_cache(maxsize=65536)(self._fault) if self._faults else _no_fault
        for edit in options.faults.edits:
            self.change(edit.tag, _change(edit))

    def __repr__(self) -> str:
        return f"History(tags={self.options.tags}, edited={len(self._changes)})"

    def _signal(self, index: int) -> Signal:
        return signal(self.options, index)

    def _fault(self, index: int) -> TagFault | None:
        name = name_of(self.options, index)
        return next((fault for fault in self._faults if wildcard(fault.tag)(name)), None)

    def change(self, tag: str | int, change: Change) -> None:
        self._changes.setdefault(self.index(tag), []).append(change)

    def index(self, tag: str | int) -> int:
        found = tag if isinstance(tag, int) else find(self.options, tag)
        if found is None or not 0 <= found < self.options.tags:
            raise KeyError(f"no tag {tag!r} among the {self.options.tags} simulated ones")
        return found

    def plain(self, index: int) -> bool:
        """Whether a tag is its signal and nothing else."""
        if index in self._changes:
            return False
        fault = self.fault(index)
        return fault is None or not (fault.stuck or fault.compress_every)

    def numbers(self, index: int, first: int, last: int, now: int) -> tuple[Signal, int, int]:
        """For a plain tag: the event numbers `[from, to)` visible in the closed range."""
        found = self.signal(index)
        to = found.before(min(last, now) + 1)
        if not self._snapshot_shown:
            to = min(to, found.until(now) - 1)
        return found, found.before(first), to

    def recorded(self, index: int, first: int, last: int, now: int) -> list[Event]:
        """What a recorded range shows; the snapshot may not be part of it."""
        seen = self.window(index, first, last, now)
        if seen and not self._snapshot_shown:
            snapshot = self.last(index, now, now)
            if snapshot and snapshot.ticks == seen[-1].ticks:
                del seen[-1]
        return seen

    def window(self, index: int, first: int, last: int, now: int) -> list[Event]:
        """Visible events in the closed range, in the order the archive holds them."""
        found = self.signal(index)
        numbers: Iterable[int] = range(found.before(first), found.until(min(last, now)))
        if self.plain(index):
            return [found.event(number) for number in numbers]
        fault = self.fault(index)
        if fault and fault.compress_every:
            newest = found.until(now) - 1
            numbers = (number for number in numbers if number % fault.compress_every or number == newest)
        seen = [found.event(number) for number in numbers]
        if fault and fault.stuck:
            seen.extend(event for event in _burst(fault, found) if first <= event.ticks <= min(last, now))
        for change in self._changes.get(index, ()):
            seen = _changed(seen, change, now)
        return sorted((event for event in seen if first <= event.ticks <= last), key=lambda event: event.ticks)

    def last(self, index: int, at: int, now: int) -> Event | None:
        """The latest visible event at or before an instant."""
        if self.plain(index):
            found = self.signal(index)
            number = found.until(min(at, now)) - 1
            return found.event(number) if number >= 0 else None
        lowest, highest = self._bounds(index, now)
        at, span = min(at, highest), DAY
        while True:
            if seen := self.window(index, at - span, at, now):
                return seen[-1]
            if at - span < lowest:
                return None
            span *= 8

    def after(self, index: int, ticks: int, now: int) -> Event | None:
        """The earliest visible event strictly after an instant."""
        if self.plain(index):
            found = self.signal(index)
            number = found.until(ticks)
            return found.event(number) if number < found.until(now) else None
        _, highest = self._bounds(index, now)
        span = DAY
        while True:
            if seen := self.window(index, ticks + 1, ticks + span, now):
                return seen[0]
            if ticks + span > highest:
                return None
            span *= 8

    def _bounds(self, index: int, now: int) -> tuple[int, int]:
        instants = [change.start for change in self._changes.get(index, ())]
        return min(self.options.begin_ticks, *instants, now), max(now, *instants, now)


def _no_fault(_index: int) -> None:
    return None


def _burst(fault: TagFault, found: Signal) -> list[Event]:
    assert fault.stuck is not None  # noqa: S101 - the caller looked
    at = ticks_of(fault.stuck.at)
    at -= at % MICROSECOND
    count = fault.stuck.events
    ticks = [at if fault.stuck.same_tick else at + number * MICROSECOND // count for number in range(count)]
    return [found.table.event(number % len(found.table), instant) for number, instant in enumerate(ticks)]


def _changed(seen: list[Event], change: Change, now: int) -> list[Event]:
    """History after one change, or before it where it is not known yet."""
    touched = change.start, change.end
    if change.action == "hide":
        return seen if now >= change.visible_at else [event for event in seen if not _in(event, *touched)]
    if now < change.visible_at:
        return seen
    kept = seen if change.action == "insert" else [event for event in seen if not _in(event, *touched)]
    return kept if change.event is None else [*kept, change.event]


def _in(event: Event, start: int, end: int) -> bool:
    return start <= event.ticks < end


def _change(edit: Edit) -> Change:
    start = ticks_of(edit.at)
    event = None
    if edit.action in {"insert", "replace"}:
        value = edit.value
        if isinstance(value, dict):
            value = State(str(value["Name"]), int(value["Value"]), bool(value.get("IsSystem")))
        event = Event(start, value, good=edit.good, substituted=edit.action == "replace")
    return Change(
        action=edit.action,
        start=start,
        end=start + 1 if edit.until is None else ticks_of(edit.until),
        visible_at=NEVER if edit.visible_at is None else ticks_of(edit.visible_at),
        event=event,
    )
