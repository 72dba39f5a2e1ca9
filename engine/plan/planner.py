"""The plan of a run: which request comes next, and what an answer, or its failure, means for it. Pure.

It holds every reading and nothing of what was read. The flow takes a chunk, asks, and settles it;
what comes back says how far each watermark may move once the rows are committed.

Invariant: a tag is in at most one chunk at a time, and a move never covers an event that was
not handed over with it or before it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from config.errors import ExtractError, TagStuckError
from writers import Move, Moves

from ..model import Ask, Micros, Outcome, Outcomes, Window
from .decisions import Decision, decide
from .lanes import Lane, Limits, Reading, pack
from .overlap import MASK
from .settled import Failure, Keep, Settled, Swap, as_expected, finished

__all__ = ["Chunk", "Plan"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of work: asks of one lane, in order with their readings."""

    lane: Lane
    readings: tuple[Reading, ...]
    asks: tuple[Ask, ...]

    def part(self, start: int, stop: int) -> Chunk:
        return Chunk(self.lane, self.readings[start:stop], self.asks[start:stop])


class Plan:
    """Lanes by priority. Not thread-safe: one event loop owns it."""

    def __init__(self, readings: Iterable[Reading], limits: Limits, *, present: Micros | None = None) -> None:
        """`present`: what lies beyond is yet to come, of tags that store future data."""
        self.limits = limits
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
        readings, asks = lane.asks(self.limits)
        return Chunk(lane, readings, asks)

    def give_back(self, chunk: Chunk) -> None:
        """Every part of the chunk is settled: its lane may travel again, if anything is left of it."""
        self._away -= 1
        lane = chunk.lane
        self._lanes_away.pop(lane.number, None)
        lane.readings = [r for r in lane.readings if r.start < r.end]
        if lane.readings and not self._stopping:
            heapq.heappush(self._heap, (lane.priority, lane))

    def settle(self, chunk: Chunk, outcomes: Outcomes) -> Settled:
        """Take in the outcomes of a chunk (or part), in the order of its asks.

        Most readings end as expected, and do so together; what is left is looked at one by one.
        """
        plain = as_expected(chunk.readings, outcomes)
        keep = np.where(plain, np.int8(Keep.FRESH), np.int8(Keep.NOTHING))
        moves: list[Move] = []
        failures: list[Failure] = []
        swaps: list[Swap] = []
        for n in np.flatnonzero(~plain).tolist():
            reading, outcome = chunk.readings[n], outcomes[n]
            keep[n] = self._settle_one(reading, outcome, moves, swaps)
            if outcome.until != outcome.ask.end or outcome.error is not None:
                failure = self._follow_up(chunk.lane, reading, outcome)
                if failure is not None:
                    failures.append(failure)
        told = (*self._end(chunk, outcomes, plain), *([Moves.of(moves)] if moves else ()))
        return Settled(told, tuple(failures), keep, tuple(swaps))

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

    def _settle_one(self, reading: Reading, outcome: Outcome, moves: list[Move], swaps: list[Swap]) -> Keep:
        """What becomes of the rows of a reading that goes on, goes back in time, or differs from what was expected."""
        ask = outcome.ask
        if outcome.until <= ask.start or (reading.backward and outcome.until < ask.end):
            return Keep.NOTHING
        if reading.repair:
            swaps.append(Swap(reading.tag, ask.start, outcome.until))
            moves += self._repaired(reading, outcome)
            return Keep.REPLACE
        if ask.overlap is None:
            moves.append(self._advance(reading, outcome, outcome.last_event, outcome.last_digest))
            return Keep.FRESH
        settle_overlap = self._mend if reading.mending else self._compare
        return settle_overlap(reading, outcome, ask.overlap, moves, swaps)

    def fault(self, chunk: Chunk, error: ExtractError) -> tuple[Failure, ...]:
        """The whole request of a chunk (or part) failed; decide for its tags."""
        attempts = max(r.attempts for r in chunk.readings)
        max_count = max(a.max_count for a in chunk.asks)
        decision = decide(error, tags=len(chunk.readings), max_count=max_count, attempts=attempts)
        if decision is Decision.STOP:
            self.stop(error)
        elif decision is Decision.HALVE_TAGS:
            half = len(chunk.readings) // 2
            self._move_out(chunk.lane, chunk.readings[:half])
            self._move_out(chunk.lane, chunk.readings[half:])
        elif decision is Decision.HALVE_COUNT:
            _ask_for_less(chunk.readings[0], max_count)
        elif decision is Decision.AGAIN:
            for reading in chunk.readings:
                reading.attempts += 1
            # In a lane of their own, they do not hold up those they travelled with.
            self._move_out(chunk.lane, chunk.readings)
        else:
            return tuple(self._give_up(chunk.lane, r, error) for r in chunk.readings)
        return ()

    def _advance(self, reading: Reading, outcome: Outcome, last_event: Micros | None, last_digest: int | None) -> Move:
        """What is done once the fresh rows are committed."""
        self._shrink(reading, outcome)
        ahead_from = None
        if reading.backward:
            # It reaches up to what was done before, not further: what is older does not know the last event.
            high = outcome.ask.end
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
            # As long as half a page would last, as dense as it was here. Longer ones would be read in vain.
            half_a_page = span * ask.max_count // (2 * max(1, outcome.rows))
            reading.stride = max(reading.stride, min(4 * reading.stride, half_a_page))
        else:
            reading.start = until
        if reading.start >= reading.end:
            self._finish(reading)
            return
        reading.rate = (reading.rate + outcome.rows / span) / 2
        reading.attempts = reading.refused = reading.full = 0
        if until == ask.end:
            reading.mark = None
            reading.max_count = 0

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

    def _follow_up(self, lane: Lane, reading: Reading, outcome: Outcome) -> Failure | None:
        """What an outcome asks for next: nothing, another page, more at once, to be alone, a retry, or giving up."""
        ask = outcome.ask
        if outcome.error is not None:
            decision = decide(outcome.error, tags=1, max_count=ask.max_count, attempts=reading.attempts)
            if decision is Decision.STOP:
                self.stop(outcome.error)
            elif decision is Decision.HALVE_COUNT:
                _ask_for_less(reading, ask.max_count)
            elif decision is Decision.AGAIN:
                reading.attempts += 1
                self._move_out(lane, (reading,))
            else:
                return self._give_up(lane, reading, outcome.error)
            return None
        if outcome.recheck:  # perhaps not cut at all: alone it will be told
            self._move_out(lane, (reading,))
            return None
        if reading.backward and outcome.until > ask.start:
            # Pages go forward but `low` moves down, so a slice must fit one page: this one's rows are
            # dropped, and its newest part, as long as half a page lasted, is asked for instead.
            reading.stride = max(1, (outcome.until - ask.start) // 2)
            reading.mark = None
            return None
        if outcome.until == ask.start:
            return self._more_at_once(lane, reading, ask)
        return None

    def _more_at_once(self, lane: Lane, reading: Reading, ask: Ask) -> Failure | None:
        """A page full of one microsecond cannot move: ask for more values, alone, up to the server's limit."""
        reading.full = ask.max_count
        if reading.refused:  # the server's limit lies between the two
            count = (ask.max_count + reading.refused) // 2
        else:
            count = min(self.limits.server_max_count, ask.max_count * 4)
        if count <= ask.max_count:
            error = TagStuckError(
                f"{reading.tag.name}: at least {ask.max_count} events share the microsecond {ask.start} "
                "(since 1970), more than the server returns at once",
                hint="Raise MaxReturnedItemsPerCall on the PI Web API, or remove the repeated events.",
            )
            return self._give_up(lane, reading, error)
        reading.max_count = count
        self._move_out(lane, (reading,))
        return None

    def _give_up(self, lane: Lane, reading: Reading, error: ExtractError) -> Failure:
        lane.readings.remove(reading)
        self.span_done += reading.end - reading.start
        self._finish(reading)
        return Failure(reading.tag, error, reading.low, reading.high)

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


def _ask_for_less(reading: Reading, refused: int) -> None:
    """Half of what was refused, or half the way to it from a page that was too small."""
    if reading.full >= refused:  # what was given once is refused now
        reading.full = 0
    reading.refused = refused
    reading.max_count = max(1, (reading.full + refused) // 2)
