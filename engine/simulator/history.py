"""What the archive shows now: the closed form, less what is hidden, plus what was edited.

Imports only the pure parts. Most tags have no edits and no faults; for them everything is read off
the signal. For the others the visible events of a window are worked out one by one, and that list
is the truth: the server answers from it, and tests read it. Changes are never forgotten, so what
was visible at an earlier instant, and before later changes, can still be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .edits import Edit
from .faults import TagFault
from .forecast import forecast_of, issued
from .options import SimulatorOptions
from .roster import Roster
from .sets import StateSets
from .signals import Signal, signal_of
from .times import MICROSECOND, MINUTE, ticks_of
from .values import Event, State, Table, renamed, table
from .wildcards import wildcard

__all__ = ["FOREVER", "NEVER", "Change", "History", "change_of"]

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

    def __init__(self, options: SimulatorOptions, roster: Roster, sets: StateSets) -> None:
        self.options = options
        self.roster = roster
        self.sets = sets
        self._changes: dict[int, list[Change]] = {}
        self._forecast = forecast_of(options)
        self._first_future = options.tags - options.future_tags
        self._faults = options.faults.tags
        self._damaged: dict[int, list[tuple[int, int]]] = {}
        for damage in options.faults.damaged:
            named = wildcard(damage.tag)
            for index in range(roster.size):
                if named(roster.name(index)):
                    self._damaged.setdefault(index, []).append((ticks_of(damage.start), ticks_of(damage.end)))
        self._snapshot_shown = options.faults.switches.recorded_shows_snapshot
        self.signal = lru_cache(maxsize=65536)(self._signal)
        self._fault_of = lru_cache(maxsize=65536)(self._fault)

    def __repr__(self) -> str:
        return f"History(tags={self.roster.size}, edited={len(self._changes)})"

    def _signal(self, index: int) -> Signal:
        course, begin = self.roster.course(index)
        found = signal_of(self.options, course, begin)
        return found._replace(table=self._shown(found.table, course.digital_set))

    def _shown(self, found: Table, digital_set: str) -> Table:
        """A table with the names that states have now."""
        names = self.sets.shown(digital_set)
        return renamed(found, names) if names else found

    def fault(self, index: int) -> TagFault | None:
        """The trouble a tag is in."""
        return self._fault_of(index) if self._faults else None

    def _fault(self, index: int) -> TagFault | None:
        name = self.roster.name(index)
        return next((fault for fault in self._faults if wildcard(fault.tag)(name)), None)

    def renamed(self) -> None:
        """Names have changed: look again which faults they are about."""
        self._fault_of.cache_clear()

    def restated(self) -> None:
        """Names of states have changed: look again what events show."""
        self.signal.cache_clear()

    def change(self, tag: str | int, change: Change) -> None:
        self._changes.setdefault(self.index(tag), []).append(change)

    def damage(self, tag: str | int, change: Change) -> None:
        """Let a stretch of a tag's records be lost, or be there again."""
        index = self.index(tag)
        left: list[tuple[int, int]] = []
        for start, end in self._damaged.get(index, ()):
            pieces = ((start, min(end, change.start)), (max(start, change.end), end))
            left += [(first, last) for first, last in pieces if first < last]
        self._damaged[index] = [*left, (change.start, change.end)] if change.action == "damage" else left

    def is_damaged(self, index: int, first: int, last: int) -> bool:
        """Whether there is something in the closed range that the archive cannot give."""
        return any(start <= last and first < end for start, end in self._damaged.get(index, ()))

    def changes(self, index: int) -> Sequence[Change]:
        """What was done to a tag's history, in the order it was done."""
        return self._changes.get(index, ())

    def index(self, tag: str | int) -> int:
        found = tag if isinstance(tag, int) else self.roster.find(tag)
        if found is None or not 0 <= found < self.roster.size:
            raise KeyError(f"no tag {tag!r} among the {self.roster.size} simulated ones")
        return found

    def plain(self, index: int) -> bool:
        """Whether a tag is its signal and nothing else."""
        if index in self._changes or index in self.roster.uneven or self.is_future(index):
            return False
        if not self._faults:
            return True
        fault = self.fault(index)
        return fault is None or not (fault.stuck or fault.compress_every)

    def is_future(self, index: int) -> bool:
        """Whether a tag stores future data."""
        return index >= self._first_future and self.roster.is_future(index)

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
        """What a recorded range shows; the snapshot may not be part of it."""
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

        `known` looks back: as if only so many changes had been made. Without `compress` what
        compression dropped is there too.
        """
        found = self.signal(index)
        numbers: Iterable[int] = range(found.before(first), found.until(min(last, now)))
        if self.plain(index):
            return [found.event(number) for number in numbers]
        if self.roster.standing(index).gone:
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
        """When the newest event came, be it compressed away by none or not."""
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
        """No event of a tag is older."""
        instants = [change.start for change in self.changes(index) if change.event]
        return min(self.options.begin_ticks, now, *instants)

    def _highest(self, index: int, now: int) -> int:
        """No event of a tag is newer; some are stamped in the future."""
        return max([self.horizon(index, now), *(change.start for change in self.changes(index) if change.event)])

    def _typed(self, index: int, found: Signal) -> Callable[[int], Signal]:
        """Which signal the event of a number is of: that of the type the tag had when it came."""
        retyped = self.roster.standing(index).retyped if index in self.roster.uneven else ()
        if not retyped:
            return lambda _number: found
        seed, bad = self.options.seed, self.options.bad
        pieces = [
            (found.before(since), found._replace(table=self._shown(table(kind, states, seed, bad), states)))
            for since, kind, states in reversed(retyped)
        ]
        return lambda number: next(piece for first, piece in pieces if first <= number)


def _kept(found: Signal, numbers: Iterable[int], every: int, newest: int, known: Sequence[Change]) -> list[int]:
    """Event numbers that compression leaves: late ones bypass it, and the snapshot is not put to it yet."""
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
    """History after one change, or before it where it is not known yet."""
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
    """An edit of history as the change it makes."""
    start = ticks_of(edit.at or "")
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
