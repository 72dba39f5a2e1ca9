"""Cursors (what is left to read of one tag in one gap), and the groups in which they are asked. Pure.

A group is a pack of cursors that travel in the same requests. It reads its gap slice by slice. A group is in flight at
most once, so its answers come in order and without holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter
from typing import TypeAlias

import msgspec

from config.errors import ExtractError

from ..model import Ask, Micros, Tag, Window
from .narrowing import Narrowing, most_asks
from .overlap import DIGEST_MASK, Overlap, reading_start
from .timeline import DAY, Gap, cut, gaps

# Failing, urgency, edge, number of a group: the smallest goes first.
Priority: TypeAlias = tuple[bool, int, Micros, int]
# A slice never spans more days than this: each day is a partition, and a file, of its own.
MAX_SLICE_DAYS = 31
# So many slices are answered at most before a length is tried again that was not.
STEADY_SLICES = 16
# Narrowing may take so many asks for each hole on top of what finding it takes, and one for every two answered.
_SEARCHES = 30


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much one request may ask for. Counts are recorded values."""

    tags_per_request: int = 100
    values_per_answer: int = 25_000
    max_count_per_tag: int = 10_000
    server_max_count: int = 150_000
    first_slice: Micros | None = None  # how long a window to begin with, where longer ones were not answered; None: any
    one_window: bool = True  # a request has one window for all its tags, as a streamset does; a batch has one for each

    @property
    def answer_cap(self) -> int:
        """Most values one answer can hold, however wrong the expectation: tags x max_count."""
        return min(2 * self.values_per_answer, self.server_max_count)


@dataclass(slots=True, eq=False)
class Recovery:
    """What has failed of a cursor, and what is tried about it. Few cursors have any."""

    error: ExtractError | None = None  # the last one
    narrowing: Narrowing | None = None
    begun: Micros = 0  # where narrowing began
    length: Micros | None = None  # how much was left to read when narrowing began for the first time
    holes: tuple[Window, ...] = ()  # passed over; they are written down with the next rows that land
    holes_met: int = 0
    too_long: Micros | None = None  # shortest slice that failed for its length
    steady: int = 0  # slices that were answered since their length changed last
    required_steady: int = 1  # so many must be before it grows
    searched: int = 0  # asks of narrowing so far, and others that were answered
    answered: int = 0

    def shorten(self, failed: Micros) -> None:
        """A slice was too long. It is tried again soon: that may have been chance, or the tag is dense just there. If
        it fails again and again, it is tried more and more seldom.
        """
        again = self.too_long is not None and self.too_long <= failed
        self.required_steady = min(2 * self.required_steady, STEADY_SLICES) if again else 1
        self.too_long, self.steady = failed, 0

    def longer(self, stride: Micros) -> Micros:
        """How long the next slice may be, after one of `stride` was answered."""
        self.steady += 1
        if self.too_long is not None and stride >= self.too_long:
            self.too_long, self.required_steady = None, 1
        elif self.steady < self.required_steady:
            return stride
        self.steady = 0
        return 2 * stride if self.too_long is None else min(2 * stride, self.too_long)

    @property
    def costs_too_much(self) -> bool:
        """Whether narrowing has asked more in vain than it takes for holes and lengths: it fails for no reason."""
        most = _SEARCHES + most_asks(self.length or 0)
        return self.searched > self.answered // 2 + (1 + self.holes_met) * most


class GapKind(Enum):
    """What a cursor reads, and how urgent that is: live data before repairs before history."""

    FORWARD = ("what comes after what is done", 0)
    REPAIR = ("a window inside what is done, again, to replace the rows of the table", 1)
    END_REPAIR = ("a repair that reaches the end of what is done, and holds its last event", 1)
    HOLE = ("a repair of a window that was written down as a hole", 1)
    BACKWARD = ("what comes before what is done, from its newest end", 2)

    def __init__(self, _meaning: str, urgency: int) -> None:
        self.urgency = urgency


_FORWARD, _BACKWARD = GapKind.FORWARD, GapKind.BACKWARD


class Comparison(msgspec.Struct, frozen=True, gc=False):
    """What a forward cursor reads again of what is done, to compare it with the table.

    `expected` is the digest of the rows in `window`, `found` that of the rows the source has shown of it so far. When
    they differ, the cursor is `replacing`: what it reads of the window takes the place of what the table holds. `quiet`:
    nothing is expected in the window but at its first instant.
    """

    window: Window
    expected: int
    quiet: bool = False
    found: int = 0
    replacing: bool = False

    @property
    def missing(self) -> int:
        """The digest that the rest of the window has if the source agrees with the table."""
        return (self.expected - self.found) & DIGEST_MASK


class CountBounds(msgspec.Struct, frozen=True, gc=False):
    """Between which counts the next request of a cursor lies, as far as they are known.

    A page of `too_small` events did not get past one microsecond. The server would not give `refused` events.
    """

    too_small: int | None = None
    refused: int | None = None


class LastEvent(msgspec.Struct, frozen=True, gc=False):
    """The last event that was read, and the digest of the rows at its time."""

    at: Micros
    digest: int | None


class TagCursor(msgspec.Struct, eq=False, gc=False):
    """What is left to read of one tag: `[start, end)`. It shrinks from the front, or, `BACKWARD`, from the back.

    A forward cursor with a `comparison` may begin before `high`.
    """

    tag: Tag
    start: Micros
    end: Micros
    kind: GapKind
    rate: float  # expected events per microsecond
    low: Micros  # what is done of the tag (low == high: nothing yet)
    high: Micros
    comparison: Comparison | None = None
    slice_stop: Micros | None = None  # where the current slice stops; None between slices
    max_count: int | None = None  # a count of its own, of a tag that is stuck or heavy; None: the share of its group
    bounds: CountBounds | None = None  # of a count of its own
    stride: Micros | None = None  # longest slice that is likely to be answered, backward also in one page
    attempts: int = 0
    hole_attempts: int = 0  # how often the hole was asked for
    last_event: LastEvent | None = None  # of a repair, or while replacing
    recovery: Recovery | None = None

    @property
    def finished(self) -> bool:
        return self.start >= self.end

    @property
    def backward(self) -> bool:
        return self.kind is _BACKWARD

    @property
    def is_repair(self) -> bool:
        """Whether it reads what is done, to replace it."""
        return self.kind is not _FORWARD and self.kind is not _BACKWARD

    @property
    def expected_from(self) -> Micros:
        """From where on events are expected, as often as `rate` says."""
        quiet = self.comparison is not None and self.comparison.quiet
        return max(self.start, self.high) if quiet else self.start

    def open_slice(self, days: int, longest: Micros | None = None) -> None:
        # Years without an event are asked for at once, to hear that there still is none.
        start = self.start if self.comparison is None else self.expected_from
        backward = self.kind is _BACKWARD
        self.slice_stop = cut(start, self.end, days, backward=backward)
        if longest is not None and self.stride is None:
            self.shorten(longest, 2 * longest)
        if self.stride is not None:
            at = self.end - self.stride if backward else self.start + self.stride
            self.slice_stop = max(self.slice_stop, at) if backward else min(self.slice_stop, at)

    @property
    def narrowing(self) -> Narrowing | None:
        """The search for what cannot be read, while there is one."""
        return None if self.recovery is None else self.recovery.narrowing

    def start_recovery(self) -> Recovery:
        """Its recovery, which begins now if it has none."""
        if self.recovery is None:
            self.recovery = Recovery()
        return self.recovery

    def forget_count(self) -> None:
        """What was learnt of counts does not hold for the next slice."""
        self.max_count = self.bounds = None

    def shorten(self, answered: Micros, failed: Micros) -> None:
        """Windows of length `answered` work, those of length `failed` do not."""
        self.start_recovery().shorten(failed)
        self.stride = answered

    def lengthen(self, stride: Micros) -> None:
        """A slice of `stride`, its longest, was answered."""
        self.stride = 2 * stride if self.recovery is None else self.recovery.longer(stride)

    def ask(self, share: int) -> Ask:
        """The ask for the rest of the current slice, with `share` events unless a count of its own is set."""
        comparison, recovery = self.comparison, self.recovery
        overlap = None if comparison is None else comparison.window
        start, end = self.start, self.end
        if recovery is not None and (narrowing := recovery.narrowing) is not None:
            if self.kind is _BACKWARD:
                start, end = recovery.begun - narrowing.end, recovery.begun - narrowing.start
            else:
                start, end = recovery.begun + narrowing.start, recovery.begun + narrowing.end
            # A hole may have been passed over that reaches beyond what is compared.
            overlap = overlap if overlap is not None and start < overlap.end else None
        else:
            assert self.slice_stop is not None  # noqa: S101 - a group opens slices before it asks
            if self.kind is _BACKWARD:
                start = self.slice_stop
            else:
                end = self.slice_stop
        return Ask(self.tag, start, end, self.max_count or share, overlap)


def cursors_for(
    tag: Tag,
    wanted: Window,
    done: Window | None,
    *,
    rows_done: int,
    assumed_rate: float,
    overlap: Overlap | None = None,
    compared_from: Micros | None = None,
) -> tuple[TagCursor, ...]:
    """Cursors that make `wanted` done. The expected rate is what was seen so far, else `assumed_rate`.

    With an `overlap`, the forward one begins there and compares; it may begin a bit earlier, but not before
    `compared_from` (where what is done begins, or where the last hole ends).
    """
    span = done.end - done.start if done is not None else 0
    rate = rows_done / span if span > 0 else assumed_rate
    missing = gaps(done, wanted)
    if done is None:
        return tuple([TagCursor(tag, gap.start, gap.end, _kind_of(gap), rate, gap.start, gap.start) for gap in missing])
    cursors = [TagCursor(tag, gap.start, gap.end, _kind_of(gap), rate, done.start, done.end) for gap in missing]
    if overlap is None:
        return tuple(cursors)
    forward = next((cursor for cursor in cursors if cursor.kind is _FORWARD), None)
    if forward is None and overlap.demanded and wanted.end == done.end:
        forward = TagCursor(tag, done.end, done.end, _FORWARD, rate, done.start, done.end)
        cursors.insert(0, forward)
    if forward is not None:
        first = done.start if compared_from is None else compared_from
        forward.start = reading_start(first, done.end, overlap.start, rate)
        forward.comparison = Comparison(Window(overlap.start, done.end), overlap.digest, overlap.quiet)
    return tuple(cursors)


def _kind_of(gap: Gap) -> GapKind:
    return _BACKWARD if gap.backward else _FORWARD


@dataclass(slots=True, eq=False)
class RequestGroup:
    """Cursors that are asked in the same requests. `number` makes the order of equal groups stable."""

    number: int
    cursors: list[TagCursor] = field(default_factory=list)
    shortened: int = 0  # how often in a row its windows were, for a request that failed as a whole

    @property
    def priority(self) -> Priority:
        """Tags that failed come last, so that they hold up no other tag. Then live data before repairs before history; then
        the oldest gap first, of history the newest.
        """
        first, failing, asks = self.cursors[0], False, 0
        for cursor in self.cursors:
            if (narrowing := cursor.narrowing if cursor.recovery is not None else None) is not None:
                # What is looked for in one group may be what others will look for: one after the other.
                failing, asks = True, max(asks, narrowing.asks)
            elif cursor.attempts:
                failing = True
        if asks:
            edge = -(1 << 62) - asks
        elif first.kind is _BACKWARD:
            edge = -max([cursor.end for cursor in self.cursors])
        else:
            edge = min([cursor.start for cursor in self.cursors])
        return (failing, first.kind.urgency, edge, self.number)

    @property
    def patient(self) -> bool:
        """Whether its requests are worth being repeated by the client: not while something is looked for by halves."""
        return all(r.recovery is None or r.narrowing is None or r.narrowing.patient for r in self.cursors)

    def asks(self, limits: RequestLimits) -> tuple[tuple[TagCursor, ...], tuple[Ask, ...]]:
        """What to ask next: the rest of the current slice, or the next slice of everything left."""
        open_now = [
            r for r in self.cursors if r.slice_stop is not None or (r.recovery is not None and r.narrowing is not None)
        ]
        if not open_now:
            days = self._slice_days(limits)
            for cursor in self.cursors:
                cursor.open_slice(days, limits.first_slice)
            open_now = self.cursors
        chosen = tuple(open_now[: limits.answer_cap])
        share = max(1, min(limits.max_count_per_tag, limits.answer_cap // len(chosen)))
        return chosen, tuple([r.ask(share) for r in chosen])

    def _slice_days(self, limits: RequestLimits) -> int:
        per_day = sum(r.rate for r in self.cursors) * DAY
        # A rate that was halved a thousand times makes the quotient infinite.
        return max(1, int(min(MAX_SLICE_DAYS, limits.values_per_answer / per_day))) if per_day > 0 else MAX_SLICE_DAYS


def _day_of_start(cursor: TagCursor) -> int:
    """The rest of a day is read in one slice, whenever it begins."""
    return cursor.start // DAY


def pack(cursors: Iterable[TagCursor], limits: RequestLimits) -> Iterator[list[TagCursor]]:
    """Packs of cursors whose next answer stays within the limits.

    Neighbours share direction and window (so that one streamset can carry them; for a batch it is enough that they
    begin on the same day, and then they stay in the order they came in, in which memory holds them) and are of
    like rate (so that the fastest of a pack wastes no pages). A cursor too heavy for one answer travels alone, by
    pages.
    """
    ordered = list(cursors)
    by_start = attrgetter("start") if limits.one_window else _day_of_start
    # Key by key, the least important first: tuples of keys would take half the memory of the cursors again.
    for key in (attrgetter("rate"), attrgetter("end"), by_start, attrgetter("kind.urgency")):
        ordered.sort(key=key)
    pile: list[TagCursor] = []
    values = 0.0
    for cursor in ordered:
        expected = min(cursor.rate * min(cursor.end - cursor.start, DAY), limits.max_count_per_tag)
        full = len(pile) >= limits.tags_per_request or values + expected > limits.values_per_answer
        if pile and (full or (cursor.kind is _BACKWARD) != (pile[0].kind is _BACKWARD)):
            yield pile
            pile, values = [], 0.0
        pile.append(cursor)
        values += expected
    if pile:
        yield pile
