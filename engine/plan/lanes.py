"""Readings (one tag, one gap) and the lanes that carry them. Pure.

A lane is a pack of readings that travel in the same requests. It walks its gap slice by slice and
is in flight at most once, so what it delivers of a tag is in order and without holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec

from config.errors import ExtractError

from ..model import Ask, Micros, Tag, Window
from .narrowing import Narrowing, most_asks
from .overlap import Overlap, begin
from .timeline import DAY, Gap, cut, gaps

__all__ = ["Lane", "Limits", "Reading", "pack", "readings_for"]

# A slice never spans more days than this: each day is a partition, and a file, of its own.
MAX_SLICE_DAYS = 31
# So many slices are answered at most before a length is tried again that was not.
STEADY_SLICES = 16
# So many asks may narrowing cost a reading for each hole beside what finding it takes, and one for every two answered.
_SEARCHES = 30


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask for. Counts are recorded values."""

    tags_per_request: int = 100
    values_per_answer: int = 25_000
    max_count_per_tag: int = 10_000
    server_max_count: int = 150_000
    first_slice: Micros = 0  # how long a window to begin with, where longer ones were not answered; 0: any
    one_window: bool = True  # a request has one window for all its tags, as a streamset does; a batch has one for each

    @property
    def answer_cap(self) -> int:
        """Most values one answer can hold, however wrong the expectation: tags x max_count."""
        return min(2 * self.values_per_answer, self.server_max_count)


@dataclass(slots=True, eq=False)
class Trouble:
    """What has failed of a reading, and what is tried about it. Few readings have any."""

    error: ExtractError | None = None  # the last one
    narrowing: Narrowing | None = None
    begun: Micros = 0  # where narrowing began
    length: Micros = 0  # how much was left to read when it began for the first time
    holes: tuple[Window, ...] = ()  # passed over, and to be written down with the next rows that land
    holes_met: int = 0
    too_long: Micros = 0  # shortest slice that failed for its length; 0: none did
    steady: int = 0  # slices that were answered since their length changed last
    settled: int = 1  # so many must be before it grows
    searched: int = 0  # asks of narrowing so far, and others that were answered
    answered: int = 0

    def shorten(self, failed: Micros) -> None:
        """A slice was too long. It is tried again soon, for that may have been chance, or dense just there; if it fails
        again and again, more and more seldom.
        """
        again = 0 < self.too_long <= failed
        self.settled = min(2 * self.settled, STEADY_SLICES) if again else 1
        self.too_long, self.steady = failed, 0

    def longer(self, stride: Micros) -> Micros:
        """How long the next slice may be, after one of `stride` was answered."""
        self.steady += 1
        if self.too_long and stride >= self.too_long:
            self.too_long, self.settled = 0, 1
        elif self.steady < self.settled:
            return stride
        self.steady = 0
        return min(2 * stride, self.too_long or 2 * stride)

    @property
    def costs_too_much(self) -> bool:
        """Whether narrowing has asked more in vain than it takes for holes and lengths: it fails for no reason."""
        return self.searched > self.answered // 2 + (1 + self.holes_met) * (_SEARCHES + most_asks(self.length))


class Reading(msgspec.Struct, eq=False, gc=False):
    """What is left to read of one tag: `[start, end)`, shrinking from the front, or from the back.

    A forward reading may begin before `high`, to compare what the table holds in `check` with the source.
    A `repair` lies in what is done: it is read to be put in the place of what the table holds there; one that
    `fills_hole` was written down as a hole.
    """

    tag: Tag
    start: Micros
    end: Micros
    backward: bool
    rate: float  # expected events per microsecond
    low: Micros  # what is done of the tag (low == high: nothing yet)
    high: Micros
    mark: Micros | None = None  # where the current slice stops; None between slices
    max_count: int = 0  # 0: the lane's share; otherwise what a stuck tag was raised, or a heavy one cut, to
    full: int = 0  # a page of so many did not get past one microsecond; 0: none was
    refused: int = 0  # smallest count the server would not give here; 0: it gave what was asked
    stride: Micros = 0  # longest slice that is likely to be answered, backward also in one page; 0: unknown
    attempts: int = 0
    check: Window | None = None  # what is still to be compared; None once it is done
    expected: int = 0  # digest of what the table holds in `check`
    quiet: bool = False  # nothing is expected between its first instant and `high`
    found: int = 0  # digest of what the source has shown of it so far
    mending: bool = False  # it differs: what is read of it takes the place of what the table holds
    repair: bool = False
    knows_last: bool = False  # repair only: what is done ends where it ends, and its last event lies in it
    last_event: Micros | None = None  # of a repair or while mending: the last event seen so far, and its digest
    last_digest: int | None = None
    hole_attempts: int | None = None  # how often the hole that it fills was asked for; None: it fills none
    trouble: Trouble | None = None  # what has failed of it

    @property
    def finished(self) -> bool:
        return self.start >= self.end

    @property
    def fills_hole(self) -> bool:
        return self.hole_attempts is not None

    def open_slice(self, days: int, longest: Micros = 0) -> None:
        # Years without an event are asked for at once, to hear that there still is none.
        start = max(self.start, self.high) if self.quiet else self.start
        self.mark = cut(start, self.end, days, backward=self.backward)
        if longest and not self.stride:
            self.shorten(longest, 2 * longest)
        if self.stride:
            at = self.end - self.stride if self.backward else self.start + self.stride
            self.mark = max(self.mark, at) if self.backward else min(self.mark, at)

    @property
    def narrowing(self) -> Narrowing | None:
        """The search for what cannot be read, while there is one."""
        return None if self.trouble is None else self.trouble.narrowing

    def in_trouble(self) -> Trouble:
        """What has failed of it, from now on."""
        if self.trouble is None:
            self.trouble = Trouble()
        return self.trouble

    def shorten(self, answered: Micros, failed: Micros) -> None:
        """Windows of one length are answered, those of another were not."""
        self.in_trouble().shorten(failed)
        self.stride = answered

    def lengthen(self) -> None:
        """A slice of `stride` was answered."""
        self.stride = 2 * self.stride if self.trouble is None else self.trouble.longer(self.stride)

    def narrowed(self) -> Window:
        """What narrowing asks for."""
        assert self.narrowing is not None  # noqa: S101 - the caller looked
        start, end, begun = self.narrowing.start, self.narrowing.end, self.in_trouble().begun
        return Window(begun - end, begun - start) if self.backward else Window(begun + start, begun + end)

    def ask(self, share: int) -> Ask:
        """For the rest of the current slice, with `share` events unless a count of its own is set."""
        if self.narrowing is not None:
            window = self.narrowed()
            # A hole may have been passed over that reaches beyond what is compared.
            check = self.check if self.check is not None and window.start < self.check.end else None
            return Ask(self.tag, window.start, window.end, self.max_count or share, check)
        assert self.mark is not None  # noqa: S101 - a lane marks its readings before it asks
        if self.backward:
            return Ask(self.tag, self.mark, self.end, self.max_count or share, self.check)
        return Ask(self.tag, self.start, self.mark, self.max_count or share, self.check)


def readings_for(
    tag: Tag,
    wanted: Window,
    done: Window | None,
    *,
    rows_done: int,
    assumed_rate: float,
    overlap: Overlap | None = None,
    compared_from: Micros | None = None,
) -> tuple[Reading, ...]:
    """Readings that make `wanted` done. The expected rate is what was seen so far, else `assumed_rate`.

    With an `overlap`, the forward one begins there and compares; it may begin a bit earlier, but not before
    `compared_from` (where what is done begins, or where the last hole ends).
    """
    span = done.end - done.start if done is not None else 0
    rate = rows_done / span if span > 0 else assumed_rate
    found = gaps(done, wanted)
    if done is None:
        return tuple(Reading(tag, gap.start, gap.end, gap.backward, rate, gap.start, gap.start) for gap in found)
    if overlap is None:
        return tuple(Reading(tag, gap.start, gap.end, gap.backward, rate, done.start, done.end) for gap in found)
    ahead = [gap for gap in found if not gap.backward]
    if not ahead and overlap.demanded and wanted.end == done.end:
        ahead = [Gap(done.end, done.end)]
    return (
        *(
            Reading(
                tag,
                begin(done.start if compared_from is None else compared_from, done.end, overlap.start, rate),
                gap.end,
                backward=False,
                rate=rate,
                low=done.start,
                high=done.end,
                check=Window(overlap.start, done.end),
                expected=overlap.digest,
                quiet=overlap.quiet,
            )
            for gap in ahead
        ),
        *(Reading(tag, g.start, g.end, g.backward, rate, done.start, done.end) for g in found if g.backward),
    )


@dataclass(slots=True, eq=False)
class Lane:
    """A pack of readings; `number` makes the order of equals stable."""

    number: int
    readings: list[Reading] = field(default_factory=list)
    shortened: int = 0  # how often in a row its windows were, for a request that failed as a whole

    @property
    def priority(self) -> tuple[bool, bool, bool, Micros, int]:
        """Tags that failed last, so that they hold up nobody. Live data before repairs before backfill; then
        the oldest gap first, backfill from the newest.
        """
        first = self.readings[0]
        failing = any(r.attempts or r.narrowing for r in self.readings)
        # What is looked for in one lane may be what others will look for: one after the other.
        asks = max((r.narrowing.asks for r in self.readings if r.narrowing is not None), default=0)
        if asks:
            return (failing, first.backward, first.repair, -(1 << 62) - asks, self.number)
        edge = -max(r.end for r in self.readings) if first.backward else min(r.start for r in self.readings)
        return (failing, first.backward, first.repair, edge, self.number)

    @property
    def patient(self) -> bool:
        """Whether its requests are worth being repeated by the client: not while something is looked for by halves."""
        return all(r.narrowing is None or r.narrowing.patient for r in self.readings)

    def asks(self, limits: Limits) -> tuple[tuple[Reading, ...], tuple[Ask, ...]]:
        """What to ask next: the rest of the current slice, or the next slice of everything left."""
        open_now = [r for r in self.readings if r.mark is not None or r.narrowing is not None]
        if not open_now:
            days = self._slice_days(limits)
            for reading in self.readings:
                reading.open_slice(days, limits.first_slice)
            open_now = self.readings
        chosen = tuple(open_now[: limits.answer_cap])
        share = max(1, min(limits.max_count_per_tag, limits.answer_cap // len(chosen)))
        return chosen, tuple([r.ask(share) for r in chosen])

    def _slice_days(self, limits: Limits) -> int:
        per_day = sum(r.rate for r in self.readings) * DAY
        # A rate that was halved a thousand times makes the quotient infinite.
        return max(1, int(min(MAX_SLICE_DAYS, limits.values_per_answer / per_day))) if per_day > 0 else MAX_SLICE_DAYS


def _day_of_start(reading: Reading) -> int:
    """What is left of a day is read in one slice, whenever it begins."""
    return reading.start // DAY


def pack(readings: Iterable[Reading], limits: Limits) -> Iterator[list[Reading]]:
    """Packs of readings whose next answer stays within the limits.

    Neighbours share direction and window (so that one streamset can carry them; for a batch it is enough that they
    begin on the same day, and then they stay in the order they came in, in which memory holds them) and are of
    like rate (so that the fastest of a pack wastes no pages). A reading too heavy for one answer travels alone, by
    pages.
    """
    ordered = list(readings)
    by_start = attrgetter("start") if limits.one_window else _day_of_start
    # Key by key, the least important first: tuples of keys would take half the memory of the readings again.
    for key in (attrgetter("rate"), attrgetter("end"), by_start, attrgetter("repair"), attrgetter("backward")):
        ordered.sort(key=key)
    pile: list[Reading] = []
    values = 0.0
    for reading in ordered:
        expected = min(reading.rate * min(reading.end - reading.start, DAY), limits.max_count_per_tag)
        full = len(pile) >= limits.tags_per_request or values + expected > limits.values_per_answer
        if pile and (full or reading.backward != pile[0].backward):
            yield pile
            pile, values = [], 0.0
        pile.append(reading)
        values += expected
    if pile:
        yield pile
