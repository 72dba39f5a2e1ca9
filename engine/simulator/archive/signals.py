"""The events of a tag, computed from (seed, tag, time) alone.

Pure; no state, no I/O. Events of a tag are numbered from 0 at the beginning of history. The rhythm of a tag gives the
instant of event `n`, the value table of its type gives the value. Tests compute what they expect from here. Changes of
history are applied in `history`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from math import lcm
from typing import NamedTuple

from ..options import SimulatorOptions
from ..times import MINUTE
from .points import SignalParameters, signal_parameters
from .values import Event, Table, table

# Where five events lie in five intervals, in (thousandths of an interval, extra ticks).
_SLOTS: dict[str, tuple[tuple[int, int], ...]] = {
    "steady": ((0, 0),),
    "jittered": ((0, 0), (900, 0), (2100, 0), (2950, 0), (4020, 0)),
    "doubled": ((0, 0), (1000, 0), (1000, 0), (3000, 0), (4000, 0)),
    "crowded": ((0, 0), (1000, 0), (1000, 1), (1000, 2), (4000, 0)),
}
# Longer cycles than this are not unrolled to whole minutes; such tags are rendered one by one.
_MAX_SLOTS = 3600


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A cycle that repeats, and the offsets of events in it: ascending, equal ones allowed."""

    cycle: int
    slots: tuple[int, ...]
    minutes: int  # of a cycle; 0 where it is no whole number of them

    def when(self, number: int) -> int:
        cycles, slot = divmod(number, len(self.slots))
        return cycles * self.cycle + self.slots[slot]


@lru_cache(maxsize=64)
def rhythm(interval_ticks: int, shape: str) -> Rhythm:
    """Rhythm of a tag, unrolled to whole minutes where that stays small."""
    slots = tuple(interval_ticks * thousandths // 1000 + ticks for thousandths, ticks in _SLOTS[shape])
    cycle = interval_ticks * len(slots)
    repeats = lcm(cycle, MINUTE) // cycle
    if repeats * len(slots) <= _MAX_SLOTS:
        slots = tuple(cycle * turn + slot for turn in range(repeats) for slot in slots)
        return Rhythm(cycle * repeats, slots, cycle * repeats // MINUTE)
    return Rhythm(cycle, slots, 0)


class Signal(NamedTuple):
    """All events of a tag, by number. `start` is the first cycle's start, also split at its minute."""

    start: int
    start_minute: int
    start_rest: int
    rhythm: Rhythm
    table: Table
    offset: int

    def before(self, ticks: int) -> int:
        """How many events lie before an instant: the number of the first one at or after it."""
        slots, cycle = self.rhythm.slots, self.rhythm.cycle
        if len(slots) == 1:  # nine tags in ten
            return max(0, -((self.start - ticks) // cycle))
        cycles, rest = divmod(ticks - self.start, cycle)
        return max(0, cycles * len(slots) + bisect_left(slots, rest))

    def until(self, ticks: int) -> int:
        """How many events lie at or before an instant: one more than the number of the last."""
        return self.before(ticks + 1)

    def event(self, number: int) -> Event:
        return self.table.event((self.offset + number) % len(self.table), self.start + self.rhythm.when(number))


def signal(options: SimulatorOptions, index: int) -> Signal:
    """The signal of a tag. Costs a few microseconds."""
    return signal_of(options, signal_parameters(options, index), options.begin_ticks)


def signal_of(options: SimulatorOptions, found: SignalParameters, begin: int) -> Signal:
    """The events of a tag with these parameters from `begin` on."""
    start = begin + found.phase_ticks
    return Signal(
        start,
        start // MINUTE,
        start % MINUTE,
        rhythm(found.interval_ticks, found.shape),
        table(found.type, found.digital_set, options.seed, options.bad),
        found.offset,
    )


def events(options: SimulatorOptions, index: int, start_ticks: int, end_ticks: int) -> list[Event]:
    """Every event of a tag in `[start_ticks, end_ticks)`, as recorded before anybody edited history."""
    if not 0 <= index < options.tags:
        raise IndexError(f"tag {index} of {options.tags}")
    found = signal(options, index)
    return [found.event(number) for number in range(found.before(start_ticks), found.before(end_ticks))]
