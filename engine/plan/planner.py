"""The plan of a run: which request comes next, and what an answer, or its failure, means for it. Pure.

It holds every reading and nothing of what was read. The flow takes a chunk, asks, and settles it;
what comes back says how far each watermark may move once the rows are committed.

Invariant: a tag is in at most one chunk at a time, and a move never covers an event that was
not handed over with it or before it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from config.errors import ExtractError, TagStuckError
from writers import Move, Moves

from ..model import Ask, Micros, Outcome, Outcomes, Window
from .decisions import Decision, decide
from .lanes import Lane, Limits, Reading, pack
from .narrowing import Found, Narrowing
from .overlap import MASK
from .settled import Failure, HoleNote, Keep, Settled, Swap, as_expected, finished
from .timeline import DAY, SECOND, instant

__all__ = ["Chunk", "Plan"]

# So many holes of a reading are narrowed down to an instant; those after them less and less, so that a tag that is full
# of them costs a bounded number of requests. What they take too much is found when they are asked for again.
_FINE_HOLES = 8
_COARSER = 64
# Holes of other tags are tried first where many tags are likely to have the same: a damaged archive.
_SHARED_HOLE: Micros = SECOND
_HOLES_REMEMBERED = 4
_COLUMNS_MISSING = "the checkpoint table lacks the columns for it, see docs/upgrade.md"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of work: asks of one lane, in order with their readings. `patient`: worth the client's retries."""

    lane: Lane
    readings: tuple[Reading, ...]
    asks: tuple[Ask, ...]
    patient: bool = True

    def part(self, start: int, stop: int) -> Chunk:
        return Chunk(self.lane, self.readings[start:stop], self.asks[start:stop], self.patient)


@dataclass(slots=True)
class _Settling:
    """What comes of the outcomes of a chunk, one by one."""

    moves: list[Move] = field(default_factory=list)
    swaps: list[Swap] = field(default_factory=list)
    holes: list[HoleNote] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    apart: list[Reading] = field(default_factory=list)  # to travel in a lane of their own from now on


class Plan:
    """Lanes by priority. Not thread-safe: one event loop owns it."""

    def __init__(
        self, readings: Iterable[Reading], limits: Limits, *, present: Micros | None = None, keeps_holes: bool = True
    ) -> None:
        """`present`: what lies beyond is yet to come, of tags that store future data. Without `keeps_holes` holes
        cannot be written down, and no watermark moves over one.
        """
        self.limits = limits
        self._keeps_holes = keeps_holes
        self._longest_answered: Micros = 0
        self._shared_holes: deque[Window] = deque(maxlen=_HOLES_REMEMBERED)
        self._present = present
        self._heap: list[tuple[tuple[bool, bool, bool, Micros, int], Lane]] = []
        self._lanes_made = 0
        self._away = 0
        self._lanes_away: dict[int, Lane] = {}
        self._stopped: ExtractError | None = None
        self._stopping = False
        self.span_total = 0
        self.span_done = 0
        self.expected_values = 0.0
        self._unfinished: dict[str, int] = {}  # readings left, by WebID
        kept = [r for r in readings if not r.finished]
        for reading in kept:
            self._count_in(reading)
            new_from = reading.start if reading.check is None else reading.high
            self.expected_values += reading.rate * (reading.end - new_from)
        self.earliest = min((r.start if r.check is None else r.high for r in kept), default=None)
        for pile in pack(kept, limits):
            self._add_lane(pile)

    def __repr__(self) -> str:
        return f"Plan({len(self._heap)} lanes ready, {self._away} away, {self.fraction_done:.1%} done)"

    @property
    def fraction_done(self) -> float:
        return self.span_done / self.span_total if self.span_total else 1.0

    @property
    def tags_unfinished(self) -> int:
        """Tags with something left to read; those given up are not among them."""
        return len(self._unfinished)

    @property
    def unfinished(self) -> Collection[str]:
        """Their WebIDs."""
        return self._unfinished.keys()

    @property
    def done(self) -> bool:
        """Nothing is ready and nothing is away."""
        return not self._heap and not self._away

    @property
    def stopped(self) -> ExtractError | None:
        """Why the plan was stopped early, if an error stopped it."""
        return self._stopped

    def stop(self, error: ExtractError | None = None) -> None:
        """Hand out nothing more; what is away may still be settled."""
        self._stopping = True
        self._heap.clear()
        self._stopped = self._stopped or error

    def lanes(self) -> Iterator[Lane]:
        """All lanes with something left to read, ready or away, to be looked at."""
        yield from (lane for _, lane in self._heap)
        yield from self._lanes_away.values()

    def take(self) -> Chunk | None:
        """The most urgent chunk, or None when nothing is ready now (more may come back)."""
        if not self._heap:
            return None
        _, lane = heapq.heappop(self._heap)
        self._away += 1
        self._lanes_away[lane.number] = lane
        for reading in lane.readings if self._shared_holes else ():
            if (narrowing := reading.narrowing) is not None and not narrowing.begun:
                reading.in_trouble().narrowing = narrowing.knowing(self._shared_hole(reading))
        readings, asks = lane.asks(self.limits)
        return Chunk(lane, readings, asks, lane.patient)

    def give_back(self, chunk: Chunk) -> None:
        """Every part of the chunk is settled: its lane may travel again, if anything is left of it."""
        self._away -= 1
        lane = chunk.lane
        self._lanes_away.pop(lane.number, None)
        lane.readings = [r for r in lane.readings if r.start < r.end]
        narrowing = [r for r in lane.readings if r.narrowing is not None]
        if narrowing and len(narrowing) < len(lane.readings):
            self._move_out(lane, narrowing)  # the others are not to wait for what is looked for
        if lane.readings and not self._stopping:
            heapq.heappush(self._heap, (lane.priority, lane))

    def settle(self, chunk: Chunk, outcomes: Outcomes) -> Settled:
        """Take in the outcomes of a chunk (or part), in the order of its asks.

        Most readings end as expected, and do so together; what is left is looked at one by one.
        """
        plain = as_expected(chunk.readings, outcomes)
        keep = np.where(plain, np.int8(Keep.FRESH), np.int8(Keep.NOTHING))
        told = _Settling()
        self._note_answered(chunk, outcomes)
        for n in np.flatnonzero(~plain).tolist():
            keep[n] = self._settle_one(chunk.lane, chunk.readings[n], outcomes[n], told)
        if told.apart:
            self._move_out(chunk.lane, told.apart)
        moves = (*self._end(chunk, outcomes, plain), *([Moves.of(told.moves)] if told.moves else ()))
        return Settled(moves, tuple(told.failures), keep, tuple(told.swaps), tuple(told.holes))

    def _end(self, chunk: Chunk, outcomes: Outcomes, plain: npt.NDArray[np.bool_]) -> Iterator[Moves]:
        """Readings that ended as expected are done with."""
        readings: Sequence[Reading] = chunk.readings
        if not plain.all():
            places = np.flatnonzero(plain)
            if not len(places):
                return
            readings, outcomes = [readings[n] for n in places.tolist()], outcomes.take(places)
        for reading, ask in zip(readings, outcomes.asks, strict=True):
            reading.start = reading.end
            self.span_done += ask.end - ask.start
            self._finish(reading)
        yield finished(readings, outcomes, self._present)

    def _settle_one(self, lane: Lane, reading: Reading, outcome: Outcome, told: _Settling) -> Keep:
        """What becomes of a reading that did not just end, and of its rows."""
        if reading.narrowing is not None:
            return self._settle_narrowed(lane, reading, reading.narrowing, outcome, told)
        keep = self._land(reading, outcome, told)
        if not reading.finished and (outcome.until != outcome.ask.end or outcome.error is not None):
            self._follow_up(lane, reading, outcome, told)
        return keep

    def _land(self, reading: Reading, outcome: Outcome, told: _Settling) -> Keep:
        """What becomes of the rows of a reading that goes on, goes back in time, or differs from what was expected."""
        ask = outcome.ask
        if outcome.until <= ask.start or (reading.backward and outcome.until < ask.end):
            return Keep.NOTHING
        told.holes += self._written_down(reading, outcome)
        if reading.repair:
            told.swaps.append(Swap(reading.tag, ask.start, outcome.until))
            told.moves += self._repaired(reading, outcome)
            return Keep.REPLACE
        if ask.overlap is None:
            told.moves.append(self._advance(reading, outcome, outcome.last_event, outcome.last_digest))
            return Keep.FRESH
        settle_overlap = self._mend if reading.mending else self._compare
        return settle_overlap(reading, outcome, ask.overlap, told.moves, told.swaps)

    def _written_down(self, reading: Reading, outcome: Outcome) -> Iterator[HoleNote]:
        """The holes that were passed over, once something behind them lands; and what was one, and was read by now."""
        if reading.trouble is not None:
            for hole in reading.trouble.holes:
                yield HoleNote(reading.tag, hole.start, hole.end, reading.trouble.error)
            reading.trouble.holes = ()
        if reading.fills_hole:
            yield HoleNote(reading.tag, outcome.ask.start, outcome.until)

    def fault(self, chunk: Chunk, error: ExtractError) -> Settled:
        """The whole request of a chunk (or part) failed; decide for its tags."""
        readings, told = chunk.readings, _Settling()
        decision = decide(
            error,
            tags=len(readings),
            attempts=max(r.attempts for r in readings),
            shortened=chunk.lane.shortened if self._can_be_shorter(chunk) else 1 << 30,
        )
        if len(readings) == 1:
            ask = chunk.asks[0]
            self._settle_one(chunk.lane, readings[0], Outcome(ask, 0, ask.start, error=error), told)
        elif decision is Decision.STOP:
            self.stop(error)
        elif decision is Decision.FEWER:
            chunk.lane.shortened += 1
            self._ask_for_fewer(max(a.max_count for a in chunk.asks))
        elif decision is Decision.SHORTEN:
            chunk.lane.shortened += 1
            for reading, ask in zip(readings, chunk.asks, strict=True):
                _ask_for_shorter(reading, ask.end - ask.start)
        elif decision is Decision.HALVE_TAGS:
            half = len(readings) // 2
            self._move_out(chunk.lane, readings[:half])
            self._move_out(chunk.lane, readings[half:])
        elif decision is Decision.AGAIN:
            for reading in readings:
                reading.attempts += 1
            # In a lane of their own, they do not hold up those they travelled with.
            told.apart += readings
        else:
            for reading in readings:
                self._give_up(chunk.lane, reading, error, told)
        if told.apart:
            self._move_out(chunk.lane, told.apart)
        return Settled(failures=tuple(told.failures), holes=tuple(told.holes))

    @staticmethod
    def _can_be_shorter(chunk: Chunk) -> bool:
        return any(a.end - a.start > SECOND for a in chunk.asks) and all(r.narrowing is None for r in chunk.readings)

    def _advance(self, reading: Reading, outcome: Outcome, last_event: Micros | None, last_digest: int | None) -> Move:
        """What is done once the fresh rows are committed."""
        done_from = reading.low
        self._shrink(reading, outcome)
        ahead_from = None
        if reading.backward:
            # It reaches up to what was done before, not further: what is older does not know the last event.
            high = done_from
        else:
            high = reading.high = max(reading.high, outcome.until)
            if reading.tag.future and self._present is not None:
                ahead_from = min(self._present, outcome.until)  # what was not compared yet counts as yet to come
        return Move(
            *(reading.tag.web_id, reading.low, high, last_event, outcome.fresh),
            last_event_digest=last_digest,
            ahead_from=ahead_from,
        )

    def _shrink(self, reading: Reading, outcome: Outcome) -> None:
        """Shrink the reading by what is complete, and learn how dense the tag is."""
        ask, until = outcome.ask, outcome.until
        span = until - ask.start
        self.span_done += span
        if reading.backward:
            reading.end = reading.low = ask.start
        else:
            reading.start = until
        if reading.start >= reading.end:
            self._finish(reading)
            return
        reading.attempts = reading.refused = reading.full = 0
        if until == ask.end:
            reading.mark = None
            reading.max_count = 0
        if reading.narrowing is not None:
            return  # instants say nothing of density
        if reading.trouble is not None:
            reading.trouble.answered += 1
        reading.rate = (reading.rate + outcome.rows / span) / 2
        if reading.backward:
            # As long as half a page would last, as dense as it was here. Longer ones would be read in vain.
            # One without events says nothing of density, however short it was.
            longest = 4 * reading.stride
            if outcome.rows:
                longest = max(reading.stride, min(longest, span * ask.max_count // (2 * outcome.rows)))
            if reading.trouble is not None and reading.trouble.too_long:
                longest = min(reading.trouble.longer(reading.stride), longest)
            reading.stride = longest
        elif reading.stride and span >= reading.stride:
            reading.lengthen()

    def _compare(
        self, reading: Reading, outcome: Outcome, overlap: Window, moves: list[Move], swaps: list[Swap]
    ) -> Keep:
        """Hold what the source shows of the overlap against what the table holds, and mend it where they differ.

        The watermark passes what differs only together with the rows that mend it: a run that dies in between
        must not leave behind what the next one takes for compared.
        """
        reading.found = (reading.found + outcome.overlap_digest) & MASK
        if outcome.until < overlap.end:
            self._shrink(reading, outcome)
            return Keep.NOTHING
        if reading.found != reading.expected:
            if outcome.ask.start > overlap.start:
                self._turn_back(reading, outcome, overlap)
                return Keep.NOTHING
            return self._mend(reading, outcome, overlap, moves, swaps)
        reading.check = None
        known = outcome.last_event is not None and outcome.last_event >= overlap.start
        last = (outcome.last_event, outcome.last_digest) if known else (None, None)
        moves.append(self._advance(reading, outcome, *last))
        return Keep.FRESH

    def _turn_back(self, reading: Reading, outcome: Outcome, overlap: Window) -> None:
        """Read an overlap of several pages from its beginning again, to mend it page by page."""
        self.span_done += outcome.until - outcome.ask.start
        self.span_total += outcome.until - overlap.start
        reading.start, reading.mark, reading.max_count = overlap.start, None, 0
        reading.attempts = reading.refused = reading.full = 0
        reading.mending = True

    def _mend(self, reading: Reading, outcome: Outcome, overlap: Window, moves: list[Move], swaps: list[Swap]) -> Keep:
        """Put the rows of an overlap in the place of what the table holds, as far as they are at hand."""
        swaps.append(Swap(reading.tag, max(outcome.ask.start, overlap.start), min(outcome.until, overlap.end)))
        if outcome.last_event is not None and outcome.last_event >= overlap.start:
            reading.last_event, reading.last_digest = outcome.last_event, outcome.last_digest
        elif reading.last_event is None:
            reading.last_event, reading.last_digest = overlap.start, 0
        if outcome.until >= overlap.end:
            reading.check, reading.mending = None, False
        moves.append(self._advance(reading, outcome, reading.last_event, reading.last_digest))
        return Keep.REPLACE

    def _repaired(self, reading: Reading, outcome: Outcome) -> tuple[Move, ...]:
        """A repair of the end of what is done has seen the last event there is."""
        start = outcome.ask.start
        if outcome.last_event is not None:
            reading.last_event, reading.last_digest = outcome.last_event, outcome.last_digest
        elif reading.last_event is None:
            reading.last_event, reading.last_digest = start, 0
        self._shrink(reading, outcome)
        if not reading.finished or not reading.knows_last:
            return ()
        high, digest = reading.high, reading.last_digest
        return (Move(reading.tag.web_id, high, high, reading.last_event, last_event_digest=digest),)

    def _follow_up(self, lane: Lane, reading: Reading, outcome: Outcome, told: _Settling) -> None:
        """What an outcome asks for next: nothing, another page, more at once, to be alone, a retry, less, giving up."""
        ask, error = outcome.ask, outcome.error
        if error is not None:
            decision = decide(error, tags=1, attempts=reading.attempts)
            if decision is Decision.STOP:
                self.stop(error)
            elif decision is Decision.FEWER and ask.max_count > 1:
                self._ask_for_less(reading, ask.max_count)
            elif decision is Decision.AGAIN:
                reading.attempts += 1
                told.apart.append(reading)
            elif decision is Decision.NARROW:
                self._narrow(lane, reading, ask.end, error, told)
            else:
                self._give_up(lane, reading, error, told)
        elif outcome.recheck:  # perhaps not cut at all: alone it will be told
            self._move_out(lane, (reading,))
        elif reading.backward and outcome.until > ask.start:
            # Pages go forward but `low` moves down, so a slice must fit one page: this one's rows are
            # dropped, and its newest part, as long as half a page lasted, is asked for instead.
            reading.stride = max(1, (outcome.until - ask.start) // 2)
            reading.mark = None
        elif outcome.until == ask.start:
            stuck = self._more_at_once(lane, reading, ask)
            if stuck is not None:
                self._narrow(lane, reading, ask.start + 1, stuck, told)

    # --- what cannot be read -------------------------------------------------

    def _narrow(self, lane: Lane, reading: Reading, failed_to: Micros, error: ExtractError, told: _Settling) -> None:
        """Begin to look for what of a reading cannot be read: something before `failed_to`, or behind where it begins
        if it goes back.
        """
        if reading.check is not None and not reading.mending:
            # What is compared is not whole any more: as far as it can be read, it is made equal to the source.
            self.span_total += max(0, reading.start - reading.check.start)
            reading.start, reading.mending = reading.check.start, True
        total = reading.end - reading.start
        reading.mark, reading.max_count = None, 0
        reading.refused = reading.full = 0
        if total == 1 and reading.fills_hole:  # it was asked for with patience, and cannot be any smaller
            self._give_up(lane, reading, error, told)
            return
        trouble = reading.in_trouble()
        trouble.length = trouble.length or total
        trouble.error, trouble.begun = error, reading.end if reading.backward else reading.start
        failed = total if reading.backward else min(total, max(1, failed_to - reading.start))
        if reading.backward and reading.stride:
            failed = min(total, reading.stride)
        trouble.narrowing = Narrowing(
            total,
            failed,
            known=self._shared_hole(reading),
            # Not so coarse that a hole takes all that is left: nothing would lie behind it to land with it.
            resolution=max(1, min(DAY, total // 8, _COARSER ** max(0, trouble.holes_met - _FINE_HOLES + 1))),
            retries=reading.hole_attempts or 0,
        )
        told.apart.append(reading)

    def _shared_hole(self, reading: Reading) -> tuple[int, int] | None:
        """The hole of another tag in what is left of this one, as distances in the direction of reading."""
        for hole in self._shared_holes:
            if hole.start < reading.end and reading.start < hole.end:
                if reading.backward:
                    return reading.end - hole.end, reading.end - hole.start
                return hole.start - reading.start, hole.end - reading.start
        return None

    def _settle_narrowed(
        self, lane: Lane, reading: Reading, narrowing: Narrowing, outcome: Outcome, told: _Settling
    ) -> Keep:
        """Take in what narrowing has asked for."""
        trouble = reading.in_trouble()
        trouble.searched += 1
        if outcome.recheck and narrowing.lands:  # several tags shared a count: alone it will be told
            self._move_out(lane, (reading,))
            return Keep.NOTHING
        if outcome.error is not None and trouble.costs_too_much:
            self._give_up(lane, reading, outcome.error, told)
            return Keep.NOTHING
        keep, error = self._take_narrowed(lane, reading, narrowing, outcome, told)
        if error is not None and narrowing.found is Found.NOTHING_YET:
            self._narrow_on(lane, reading, outcome.ask, error, told)
        if narrowing.found is Found.CLEAR:
            trouble.narrowing, reading.mark = None, None
            # No server minds the length of a second: what fails there fails for another reason.
            if narrowing.worked_length and narrowing.hole is None and narrowing.failed_length > SECOND:
                reading.shorten(narrowing.worked_length, narrowing.failed_length)
                self._learn_slice(narrowing.worked_length)
        elif narrowing.found is Found.HOPELESS:
            self._give_up(lane, reading, error or _why(reading), told)
        return keep

    def _take_narrowed(
        self, lane: Lane, reading: Reading, narrowing: Narrowing, outcome: Outcome, told: _Settling
    ) -> tuple[Keep, ExtractError | None]:
        """Take in what was answered, and give the error of what was not."""
        ask, error = outcome.ask, outcome.error
        if not narrowing.lands:
            if error is None:
                narrowing.worked(narrowing.end)
            return Keep.NOTHING, error
        if outcome.until == ask.start:
            return Keep.NOTHING, error or self._more_at_once(lane, reading, ask)
        if reading.backward and outcome.until < ask.end:
            if error is None:
                narrowing.shorten()
            return Keep.NOTHING, error
        if not self._pass_over(lane, reading, ask, told):
            return Keep.NOTHING, None
        keep = self._land(reading, outcome, told)
        begun = reading.in_trouble().begun
        narrowing.worked(begun - ask.start if reading.backward else outcome.until - begun)
        return keep, error

    def _narrow_on(self, lane: Lane, reading: Reading, ask: Ask, error: ExtractError, told: _Settling) -> None:
        """What narrowing has asked for failed."""
        decision = decide(error, tags=1, attempts=reading.attempts)
        if decision is Decision.NARROW and reading.narrowing is not None:
            reading.in_trouble().error = error
            reading.narrowing.failed()
        elif decision is Decision.STOP:
            self.stop(error)
        elif decision is Decision.AGAIN:
            reading.attempts += 1
        elif decision is Decision.FEWER and ask.max_count > 1:
            self._ask_for_less(reading, ask.max_count)
        else:
            self._give_up(lane, reading, error, told)

    def _pass_over(self, lane: Lane, reading: Reading, ask: Ask, told: _Settling) -> bool:
        """Leave out the hole before what an ask has brought, if there is one; False: it must not be left out."""
        hole = Window(ask.end, reading.end) if reading.backward else Window(reading.start, ask.start)
        if hole.start == hole.end:
            return True
        if not (self._keeps_holes or reading.repair):
            why = f"{_why(reading)} (it cannot be written down as a hole: {_COLUMNS_MISSING})"
            self._give_up(lane, reading, TagStuckError(why), told)
            return False
        trouble = reading.in_trouble()
        trouble.holes_met += 1
        self.span_done += hole.end - hole.start
        if hole.end - hole.start >= _SHARED_HOLE and hole not in self._shared_holes:
            self._shared_holes.appendleft(hole)
        if self._keeps_holes:
            trouble.holes = (*trouble.holes, hole)
        else:
            told.failures.append(Failure(reading.tag, _why(reading), reading.low, reading.high))
        if reading.backward:
            reading.end = hole.start
            return True
        reading.start = hole.end
        if reading.check is not None and reading.check.end <= hole.end:
            reading.check, reading.mending = None, False
        return True

    def _learn_slice(self, answered: Micros) -> None:
        """Windows of twice this length were not answered. If that is so of all tags, they need not find out one by one;
        if others were answered, it is a matter of how dense a tag is.
        """
        if self._longest_answered <= 2 * answered:
            known = self.limits.first_slice
            self.limits = replace(self.limits, first_slice=min(known, answered) if known else answered)

    def _note_answered(self, chunk: Chunk, outcomes: Outcomes) -> None:
        longest = max((a.end - a.start for n, a in enumerate(chunk.asks) if n not in outcomes.errors), default=0)
        self._longest_answered = max(self._longest_answered, longest)
        if self._longest_answered > 2 * self.limits.first_slice > 0:
            self.limits = replace(self.limits, first_slice=0)
        if chunk.lane.shortened and longest:
            self._learn_slice(longest)
            chunk.lane.shortened = 0

    def _ask_for_fewer(self, refused: int) -> None:
        """The server does not give so many at once, to any tag."""
        self.limits = replace(
            self.limits,
            max_count_per_tag=max(1, min(self.limits.max_count_per_tag, refused // 2)),
            server_max_count=max(1, min(self.limits.server_max_count, refused - 1)),
        )

    def _ask_for_less(self, reading: Reading, refused: int) -> None:
        """Half of what was refused, or half the way to it from a page that was too small."""
        if not reading.full and refused <= self.limits.max_count_per_tag:
            self._ask_for_fewer(refused)
            reading.max_count = 0
            return
        if reading.full >= refused:  # what was given once is refused now
            reading.full = 0
        reading.refused = refused
        reading.max_count = max(1, (reading.full + refused) // 2)

    def _more_at_once(self, lane: Lane, reading: Reading, ask: Ask) -> TagStuckError | None:
        """A page full of one microsecond cannot move: ask for more values, alone, up to the server's limit."""
        reading.full = ask.max_count
        if reading.refused:  # the server's limit lies between the two
            count = (ask.max_count + reading.refused) // 2
        else:
            count = min(self.limits.server_max_count, ask.max_count * 4)
        if count <= ask.max_count:
            return TagStuckError(
                f"{reading.tag.name}: at least {ask.max_count} events share the microsecond {instant(ask.start)}, "
                "more than the server returns at once",
                hint="Raise MaxReturnedItemsPerCall on the PI Web API, or remove the repeated events.",
            )
        reading.max_count = count
        self._move_out(lane, (reading,))
        return None

    def _give_up(self, lane: Lane, reading: Reading, error: ExtractError, told: _Settling) -> None:
        if reading in lane.readings:
            lane.readings.remove(reading)
        self.span_done += reading.end - reading.start
        self._finish(reading)
        if reading.trouble is not None:
            reading.trouble.narrowing = None
        if reading.fills_hole:
            told.holes.append(HoleNote(reading.tag, reading.start, reading.end, error))
        else:
            told.failures.append(Failure(reading.tag, error, reading.low, reading.high))

    def _count_in(self, reading: Reading) -> None:
        web_id = reading.tag.web_id
        self._unfinished[web_id] = self._unfinished.get(web_id, 0) + 1
        self.span_total += reading.end - reading.start

    def _finish(self, reading: Reading) -> None:
        web_id = reading.tag.web_id
        left = self._unfinished[web_id] - 1
        if left:
            self._unfinished[web_id] = left
        else:
            del self._unfinished[web_id]

    def _move_out(self, lane: Lane, readings: Sequence[Reading]) -> None:
        """Put readings into a lane of their own, which is ready at once."""
        gone = set(map(id, readings))
        lane.readings = [r for r in lane.readings if id(r) not in gone]
        self._add_lane(list(readings))

    def _add_lane(self, readings: list[Reading]) -> None:
        lane = Lane(self._lanes_made, readings)
        self._lanes_made += 1
        if not self._stopping:
            heapq.heappush(self._heap, (lane.priority, lane))


def _why(reading: Reading) -> ExtractError:
    """The last error that narrowing met."""
    error = reading.in_trouble().error
    assert error is not None  # noqa: S101 - narrowing begins with one
    return error


def _ask_for_shorter(reading: Reading, failed: Micros) -> None:
    """Half the window that was too long."""
    reading.shorten(max(1, failed // 2), failed)
    reading.mark = None
