"""The events that the archive shows now: the signal of each tag, with the changes made to it.

Most tags have no edits and no faults; their events come straight from the signal. For the others the visible events
of a window are computed one by one. The server answers from that list, and tests read it. Changes are never
forgotten, so the list can also be computed for an earlier instant and without the later changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..faults.plan import TagFault
from ..options import SimulatorOptions
from ..times import MICROSECOND, MINUTE, ticks_of
from ..wildcards import wildcard
from .digital_sets import DigitalSets
from .edits import Edit
from .forecast import forecast_of, issued
from .point_registry import PointRegistry
from .signals import Signal, signal_of
from .values import DigitalState, Event, Table, table, with_state_names

FOREVER = 253402300799 * 10_000_000
NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Change:
    """One edit of a tag's history over `[start, end)`, known from `visible_at` on."""

    action: str
    start: int
    end: int
    visible_at: int = NEVER
    event: Event | None = None


class History:
    """The visible events of every tag."""

    def __init__(self, options: SimulatorOptions, registry: PointRegistry, digital_sets: DigitalSets) -> None:
        self.options = options
        self.registry = registry
        self.digital_sets = digital_sets
        self._changes: dict[int, list[Change]] = {}
        self._forecast = forecast_of(options)
        self._first_future = options.tags - options.future_tags
        self._faults = options.faults.tags
        self._damaged: dict[int, list[tuple[int, int]]] = {}
        for damage in options.faults.damaged:
            named = wildcard(damage.tag)
            for index in range(registry.size):
                if named(registry.name(index)):
                    self._damaged.setdefault(index, []).append((ticks_of(damage.start), ticks_of(damage.end)))
        self._snapshot_shown = options.faults.switches.recorded_shows_snapshot
        self.signal = lru_cache(maxsize=65536)(self._signal)
        self._fault_of = lru_cache(maxsize=65536)(self._fault)

    def __repr__(self) -> str:
        return f"History(tags={self.registry.size}, edited={len(self._changes)})"

    def _signal(self, index: int) -> Signal:
        signal_parameters, begin = self.registry.signal_parameters(index)
        found = signal_of(self.options, signal_parameters, begin)
        return found._replace(table=self._shown(found.table, signal_parameters.digital_set))

    def _shown(self, found: Table, digital_set: str) -> Table:
        """A table with the names that states have now."""
        names = self.digital_sets.shown(digital_set)
        return with_state_names(found, names) if names else found

    def fault(self, index: int) -> TagFault | None:
        """The fault of a tag in the plan, if any."""
        return self._fault_of(index) if self._faults else None

    def _fault(self, index: int) -> TagFault | None:
        name = self.registry.name(index)
        return next((fault for fault in self._faults if wildcard(fault.tag)(name)), None)

    def point_names_changed(self) -> None:
        """Clear what was derived from the names of points."""
        self._fault_of.cache_clear()

    def state_names_changed(self) -> None:
        """Clear what was derived from the names of states."""
        self.signal.cache_clear()

    def change(self, tag: str | int, change: Change) -> None:
        self._changes.setdefault(self.index(tag), []).append(change)

    def damage(self, tag: str | int, change: Change) -> None:
        """Make a range of a tag's records unreadable (`damage`), or readable again (`heal`)."""
        index = self.index(tag)
        left: list[tuple[int, int]] = []
        for start, end in self._damaged.get(index, ()):
            pieces = ((start, min(end, change.start)), (max(start, change.end), end))
            left += [(first, last) for first, last in pieces if first < last]
        self._damaged[index] = [*left, (change.start, change.end)] if change.action == "damage" else left

    def is_damaged(self, index: int, first: int, last: int) -> bool:
        """Whether the closed range touches records that cannot be read."""
        return any(start <= last and first < end for start, end in self._damaged.get(index, ()))

    def changes(self, index: int) -> Sequence[Change]:
        """The changes of a tag's history, in the order they were made."""
        return self._changes.get(index, ())

    def index(self, tag: str | int) -> int:
        found = tag if isinstance(tag, int) else self.registry.find(tag)
        if found is None or not 0 <= found < self.registry.size:
            raise KeyError(f"no tag {tag!r} among the {self.registry.size} simulated ones")
        return found

    def plain(self, index: int) -> bool:
        """Whether the events of a tag are those of its signal."""
        if index in self._changes or index in self.registry.irregular or self.is_future(index):
            return False
        if not self._faults:
            return True
        fault = self.fault(index)
        return fault is None or not (fault.stuck or fault.compress_every)

    def is_future(self, index: int) -> bool:
        """Whether a tag stores future data."""
        return index >= self._first_future and self.registry.is_future(index)

    def horizon(self, index: int, now: int) -> int:
        """The last instant at which a tag may show an event, but for edits."""
        return self._forecast.end(now) - 1 if self.is_future(index) else now

    def numbers(self, index: int, first: int, last: int, now: int) -> tuple[Signal, int, int]:
        """For a plain tag: the event numbers `[from, to)` visible in the closed range."""
        found = self.signal(index)
        to = found.before(min(last, now) + 1)
        if not self._snapshot_shown:
            to = min(to, found.until(now) - 1)
        return found, found.before(first), to

    def recorded(self, index: int, first: int, last: int, now: int) -> list[Event]:
        """The events of a request for recorded values. A switch leaves out the snapshot."""
        seen = self.window(index, first, last, now)
        if seen and not self._snapshot_shown and not self.is_future(index):
            snapshot = self.last(index, now, now)
            if snapshot and snapshot.ticks == seen[-1].ticks:
                del seen[-1]
        return seen

    def window(
        self, index: int, first: int, last: int, now: int, *, known: int | None = None, compress: bool = True
    ) -> list[Event]:
        """Visible events in the closed range, in the order the archive holds them.

        With `known`, only the first so many changes count. Without `compress`, events that compression removed
        are included.
        """
        found = self.signal(index)
        numbers: Iterable[int] = range(found.before(first), found.until(min(last, now)))
        if self.plain(index):
            return [found.event(number) for number in numbers]
        if self.registry.state(index).gone:
            return []
        future = self.is_future(index)
        changes = [change for change in self.changes(index)[:known] if change.start <= last and first < change.end]
        fault = self.fault(index)
        every = fault.compress_every if fault and compress and not future else None
        newest = NEVER
        if every or (compress and any(change.action == "compress" for change in changes)):
            newest = self._newest(index, now, known)
        if every:
            numbers = _kept(found, numbers, every, newest, [change for change in changes if change.visible_at <= now])
        typed = self._typed(index, found)
        if future:
            shown = self._forecast.shown(found, first, last, now)
            seen = [issued(typed(number), number, issue) for number, issue in shown]
        else:
            seen = [typed(number).event(number) for number in numbers]
        if fault and fault.stuck:
            seen.extend(event for event in _burst(fault, found) if first <= event.ticks <= min(last, now))
        for change in changes:
            seen = _changed(seen, change, now, newest)
        return sorted((event for event in seen if first <= event.ticks <= last), key=lambda event: event.ticks)

    def last(self, index: int, at: int, now: int) -> Event | None:
        """The latest visible event at or before an instant."""
        if self.plain(index):
            found = self.signal(index)
            number = found.until(min(at, now)) - 1
            return found.event(number) if number >= 0 else None
        return self._latest(index, at, now, known=None, compress=True)

    def _latest(self, index: int, at: int, now: int, *, known: int | None, compress: bool) -> Event | None:
        lowest, at, span = self.lowest(index, now), min(at, self._highest(index, now)), MINUTE
        while True:
            if seen := self.window(index, at - span, at, now, known=known, compress=compress):
                return seen[-1]
            if at - span < lowest:
                return None
            span *= 8

    def _newest(self, index: int, now: int, known: int | None) -> int:
        """When the newest event came, with or without compression."""
        found = self._latest(index, FOREVER, now, known=known, compress=False)
        return found.ticks if found else NEVER

    def after(self, index: int, ticks: int, now: int) -> Event | None:
        """The earliest visible event strictly after an instant."""
        if self.plain(index):
            found = self.signal(index)
            number = found.until(ticks)
            return found.event(number) if number < found.until(now) else None
        highest, span = self._highest(index, now), MINUTE
        while True:
            if seen := self.window(index, ticks + 1, ticks + span, now):
                return seen[0]
            if ticks + span > highest:
                return None
            span *= 8

    def lowest(self, index: int, now: int) -> int:
        """A lower limit of the instants of a tag's events."""
        instants = [change.start for change in self.changes(index) if change.event]
        return min(self.options.begin_ticks, now, *instants)

    def _highest(self, index: int, now: int) -> int:
        """An upper limit of the instants of a tag's events. Some lie in the future."""
        return max([self.horizon(index, now), *(change.start for change in self.changes(index) if change.event)])

    def _typed(self, index: int, found: Signal) -> Callable[[int], Signal]:
        """A function from the number of an event to its signal, which has the type of the tag at that time."""
        retyped = self.registry.state(index).retyped if index in self.registry.irregular else ()
        if not retyped:
            return lambda _number: found
        seed, bad = self.options.seed, self.options.bad
        pieces = [
            (found.before(since), found._replace(table=self._shown(table(kind, states, seed, bad), states)))
            for since, kind, states in reversed(retyped)
        ]
        return lambda number: next(piece for first, piece in pieces if first <= number)


def _kept(found: Signal, numbers: Iterable[int], every: int, newest: int, known: Sequence[Change]) -> list[int]:
    """The event numbers that compression keeps. It applies neither to late events nor to the snapshot."""
    late = [change for change in known if change.action == "hide"]
    snapshot = found.until(newest) - 1

    def stays(number: int) -> bool:
        when = found.start + found.rhythm.when(number)
        if number % every or (number == snapshot and when == newest):
            return True
        return any(change.start <= when < min(change.end, change.visible_at) for change in late)

    return [number for number in numbers if stays(number)]


def _burst(fault: TagFault, found: Signal) -> list[Event]:
    assert fault.stuck is not None  # noqa: S101 - the caller looked
    at = ticks_of(fault.stuck.at)
    at -= at % MICROSECOND
    count = fault.stuck.events
    ticks = [at if fault.stuck.same_tick else at + number * MICROSECOND // count for number in range(count)]
    return [found.table.event(number % len(found.table), instant) for number, instant in enumerate(ticks)]


def _changed(seen: list[Event], change: Change, now: int, newest: int) -> list[Event]:
    """Apply one change to a list of events, if it is visible at `now`."""
    touched = change.start, change.end
    if change.action == "hide":
        return seen if now >= change.visible_at else [event for event in seen if not _in(event, *touched)]
    if change.action == "compress":
        return [event for event in seen if event.ticks >= newest or not _in(event, *touched)]
    if now < change.visible_at:
        return seen
    kept = seen if change.action == "insert" else [event for event in seen if not _in(event, *touched)]
    return kept if change.event is None else [*kept, change.event]


def _in(event: Event, start: int, end: int) -> bool:
    return start <= event.ticks < end


def change_of(edit: Edit) -> Change:
    """The change that an edit of history makes."""
    start = ticks_of(edit.at or "")
    event = None
    if edit.action in {"insert", "replace"}:
        value = edit.value
        if isinstance(value, dict):
            value = DigitalState(str(value["Name"]), int(value["Value"]), bool(value.get("IsSystem")))
        event = Event(start, value, good=edit.good, substituted=edit.action == "replace")
    return Change(
        action=edit.action,
        start=start,
        end=start + 1 if edit.until is None else ticks_of(edit.until),
        visible_at=NEVER if edit.visible_at is None else ticks_of(edit.visible_at),
        event=event,
    )
