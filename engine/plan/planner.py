"""The plan of a run: which request comes next, and what an answer or its failure means for it. Pure.

The plan holds every cursor and no data. The flow takes a chunk, asks for it, and records the answer. The result says
how far each watermark may move once the rows are committed.

Invariant: a tag is in at most one chunk at a time. A move never covers an event that was not handed over with it or
before it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import numpy.typing as npt

from config.errors import ExtractError, TagStuckError
from writers import Move, Moves

from ..model import Ask, AskOutcome, AskOutcomes, Micros, Window
from .chunk_result import (
    ChunkResult,
    HoleNote,
    ReplacedWindow,
    RowDisposition,
    TagFailure,
    as_expected,
    finished,
)
from .decisions import Decision, decide
from .narrowing import Narrowing, NarrowingState
from .overlap import DIGEST_MASK
from .tag_cursor import (
    Comparison,
    CountBounds,
    GapKind,
    LastEvent,
    Priority,
    RequestGroup,
    RequestLimits,
    TagCursor,
    pack,
)
from .timeline import DAY, SECOND, instant

# So many holes of a cursor are narrowed down to an instant; those after them less and less, so that a tag that is full
# of them costs a bounded number of requests. What they take too much is found when they are asked for again.
_FINE_HOLES = 8
_COARSER = 64
# Holes of other tags are tried first where many tags are likely to have the same: a damaged archive.
_SHARED_HOLE: Micros = SECOND
_HOLES_REMEMBERED = 4
_COLUMNS_MISSING = "the checkpoint table lacks the columns for it, see docs/upgrade.md"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of work: asks of one group, in order with their cursors. `patient`: worth the client's retries."""

    group: RequestGroup
    cursors: tuple[TagCursor, ...]
    asks: tuple[Ask, ...]
    patient: bool = True

    def slice(self, start: int, stop: int) -> Chunk:
        return Chunk(self.group, self.cursors[start:stop], self.asks[start:stop], self.patient)


@dataclass(slots=True)
class _Results:
    """The results of a chunk, collected outcome by outcome."""

    moves: list[Move] = field(default_factory=list)
    replaced: list[ReplacedWindow] = field(default_factory=list)
    holes: list[HoleNote] = field(default_factory=list)
    failures: list[TagFailure] = field(default_factory=list)
    apart: list[TagCursor] = field(default_factory=list)  # move into a group of their own


class Plan:
    """The request groups of a run, by priority. Not thread-safe: one event loop owns it."""

    def __init__(
        self,
        cursors: Iterable[TagCursor],
        limits: RequestLimits,
        *,
        present: Micros | None = None,
        keeps_holes: bool = True,
    ) -> None:
        """`present`: what lies beyond is yet to come, of tags that store future data. Without `keeps_holes` holes
        cannot be written down, and no watermark moves over one.
        """
        self.limits = limits
        self._keeps_holes = keeps_holes
        self._longest_answered: Micros = 0
        self._shared_holes: deque[Window] = deque(maxlen=_HOLES_REMEMBERED)
        self._present = present
        self._heap: list[tuple[Priority, RequestGroup]] = []
        self._groups_made = 0
        self._away = 0
        self._groups_away: dict[int, RequestGroup] = {}
        self._stopped: ExtractError | None = None
        self._stopping = False
        self.span_total = 0
        self.span_done = 0
        self.expected_values = 0.0
        self._unfinished: dict[str, int] = {}  # cursors left, by WebID
        kept = [r for r in cursors if not r.finished]
        for cursor in kept:
            self._count_in(cursor)
            new_from = cursor.start if cursor.comparison is None else cursor.high
            self.expected_values += cursor.rate * (cursor.end - new_from)
        self.earliest = min((r.start if r.comparison is None else r.high for r in kept), default=None)
        for pile in pack(kept, limits):
            self._add_group(pile)

    def __repr__(self) -> str:
        return f"Plan({len(self._heap)} groups ready, {self._away} away, {self.fraction_done:.1%} done)"

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
        """Whether nothing is ready and nothing is in flight."""
        return not self._heap and not self._away

    @property
    def stopped(self) -> ExtractError | None:
        """Why the plan was stopped early, if an error stopped it."""
        return self._stopped

    def stop(self, error: ExtractError | None = None) -> None:
        """Hand out nothing more. Chunks in flight may still be recorded."""
        self._stopping = True
        self._heap.clear()
        self._stopped = self._stopped or error

    def groups(self) -> Iterator[RequestGroup]:
        """All groups with something left to read, ready or in flight."""
        yield from (group for _, group in self._heap)
        yield from self._groups_away.values()

    def take(self) -> Chunk | None:
        """The most urgent chunk, or None when nothing is ready now (more may come back)."""
        if not self._heap:
            return None
        _, group = heapq.heappop(self._heap)
        self._away += 1
        self._groups_away[group.number] = group
        for cursor in group.cursors if self._shared_holes else ():
            if (narrowing := cursor.narrowing) is not None and not narrowing.begun:
                cursor.start_recovery().narrowing = narrowing.knowing(self._shared_hole(cursor))
        cursors, asks = group.asks(self.limits)
        return Chunk(group, cursors, asks, group.patient)

    def give_back(self, chunk: Chunk) -> None:
        """Every part of the chunk is recorded. Its group is ready again, if anything is left of it."""
        self._away -= 1
        group = chunk.group
        self._groups_away.pop(group.number, None)
        group.cursors = [r for r in group.cursors if r.start < r.end]
        narrowing = [r for r in group.cursors if r.recovery is not None and r.narrowing is not None]
        if narrowing and len(narrowing) < len(group.cursors):
            self._move_out(group, narrowing)  # the others do not wait for the search
        if group.cursors and not self._stopping:
            heapq.heappush(self._heap, (group.priority, group))

    def record_answer(self, chunk: Chunk, outcomes: AskOutcomes) -> ChunkResult:
        """Take in the outcomes of a chunk (or part), in the order of its asks.

        Most cursors end as expected and are handled together. The others are handled one by one.
        """
        plain = as_expected(chunk.cursors, outcomes)
        keep = np.where(plain, np.int8(RowDisposition.FRESH), np.int8(RowDisposition.NOTHING))
        results = _Results()
        self._note_answered_length(chunk, outcomes)
        for n in np.flatnonzero(~plain).tolist():
            keep[n] = self._record_one(chunk.group, chunk.cursors[n], outcomes[n], results)
        if results.apart:
            self._move_out(chunk.group, results.apart)
        moves = (*self._end(chunk, outcomes, plain), *([Moves.of(results.moves)] if results.moves else ()))
        return ChunkResult(moves, tuple(results.failures), keep, tuple(results.replaced), tuple(results.holes))

    def _end(self, chunk: Chunk, outcomes: AskOutcomes, plain: npt.NDArray[np.bool_]) -> Iterator[Moves]:
        """Finish the cursors that ended as expected."""
        cursors: Sequence[TagCursor] = chunk.cursors
        if not plain.all():
            indices = np.flatnonzero(plain)
            if not len(indices):
                return
            cursors, outcomes = [cursors[n] for n in indices.tolist()], outcomes.take(indices)
        for cursor, ask in zip(cursors, outcomes.asks, strict=True):
            cursor.start = cursor.end
            self.span_done += ask.end - ask.start
            self._finish(cursor)
        yield finished(cursors, outcomes, self._present)

    def _record_one(
        self, group: RequestGroup, cursor: TagCursor, outcome: AskOutcome, results: _Results
    ) -> RowDisposition:
        """Move a cursor that did not just end. Say where its rows go."""
        if cursor.narrowing is not None:
            return self._record_narrowed(group, cursor, cursor.narrowing, outcome, results)
        keep = self._land(cursor, outcome, results)
        if not cursor.finished and (outcome.until != outcome.ask.end or outcome.error is not None):
            self._follow_up(group, cursor, outcome, results)
        return keep

    def _land(self, cursor: TagCursor, outcome: AskOutcome, results: _Results) -> RowDisposition:
        """Where the rows go of a cursor that goes on, goes back in time, or differs from what was expected."""
        ask = outcome.ask
        if outcome.until <= ask.start or (cursor.backward and outcome.until < ask.end):
            return RowDisposition.NOTHING
        results.holes += self._written_down(cursor, outcome)
        if cursor.is_repair:
            results.replaced.append(ReplacedWindow(cursor.tag, ask.start, outcome.until))
            results.moves += self._repaired(cursor, outcome)
            return RowDisposition.REPLACE
        if ask.overlap is None:
            results.moves.append(self._advance(cursor, outcome, outcome.last_event, outcome.last_digest))
            return RowDisposition.FRESH
        comparison = cursor.comparison
        assert comparison is not None  # noqa: S101 - the overlap of an ask is its window
        if comparison.replacing:
            return self._replace(cursor, outcome, comparison, results)
        return self._compare(cursor, outcome, comparison, results)

    def _written_down(self, cursor: TagCursor, outcome: AskOutcome) -> Iterator[HoleNote]:
        """The holes that were passed over, once rows behind them land, and holes that were read by now."""
        if cursor.recovery is not None:
            for hole in cursor.recovery.holes:
                yield HoleNote(cursor.tag, hole.start, hole.end, cursor.recovery.error)
            cursor.recovery.holes = ()
        if cursor.kind is GapKind.HOLE:
            yield HoleNote(cursor.tag, outcome.ask.start, outcome.until)

    def record_failure(self, chunk: Chunk, error: ExtractError) -> ChunkResult:
        """The whole request of a chunk (or part) failed; decide for its tags."""
        cursors, results = chunk.cursors, _Results()
        decision = decide(
            error,
            tags=len(cursors),
            attempts=max(r.attempts for r in cursors),
            shortened=chunk.group.shortened if self._can_be_shorter(chunk) else 1 << 30,
        )
        if len(cursors) == 1:
            ask = chunk.asks[0]
            self._record_one(chunk.group, cursors[0], AskOutcome(ask, 0, ask.start, error=error), results)
        elif decision is Decision.STOP:
            self.stop(error)
        elif decision is Decision.FEWER:
            chunk.group.shortened += 1
            self._ask_for_fewer(max(a.max_count for a in chunk.asks))
        elif decision is Decision.SHORTEN:
            chunk.group.shortened += 1
            for cursor, ask in zip(cursors, chunk.asks, strict=True):
                _ask_for_shorter(cursor, ask.end - ask.start)
        elif decision is Decision.HALVE_TAGS:
            half = len(cursors) // 2
            self._move_out(chunk.group, cursors[:half])
            self._move_out(chunk.group, cursors[half:])
        elif decision is Decision.AGAIN:
            for cursor in cursors:
                cursor.attempts += 1
            # In a group of their own they do not hold up the others.
            results.apart += cursors
        else:
            for cursor in cursors:
                self._give_up(chunk.group, cursor, error, results)
        if results.apart:
            self._move_out(chunk.group, results.apart)
        return ChunkResult(failures=tuple(results.failures), holes=tuple(results.holes))

    @staticmethod
    def _can_be_shorter(chunk: Chunk) -> bool:
        return any(a.end - a.start > SECOND for a in chunk.asks) and all(r.narrowing is None for r in chunk.cursors)

    def _advance(
        self, cursor: TagCursor, outcome: AskOutcome, last_event: Micros | None, last_digest: int | None
    ) -> Move:
        """What is done once the fresh rows are committed."""
        done_from = cursor.low
        self._shrink(cursor, outcome)
        ahead_from = None
        if cursor.backward:
            # It reaches up to what was done before, not further: what is older does not know the last event.
            high = done_from
        else:
            high = cursor.high = max(cursor.high, outcome.until)
            if cursor.tag.future and self._present is not None:
                ahead_from = min(self._present, outcome.until)  # what was not compared yet counts as yet to come
        return Move(
            *(cursor.tag.web_id, cursor.low, high, last_event, outcome.fresh),
            last_event_digest=last_digest,
            ahead_from=ahead_from,
        )

    def _shrink(self, cursor: TagCursor, outcome: AskOutcome) -> None:
        """Shrink the cursor by what is complete, and learn how dense the tag is."""
        ask, until = outcome.ask, outcome.until
        span = until - ask.start
        self.span_done += span
        if cursor.backward:
            cursor.end = cursor.low = ask.start
        else:
            cursor.start = until
        if cursor.start >= cursor.end:
            self._finish(cursor)
            return
        cursor.attempts, cursor.bounds = 0, None
        if until == ask.end:
            cursor.slice_stop = None
            cursor.forget_count()
        if cursor.narrowing is not None:
            return  # instants say nothing of density
        if cursor.recovery is not None:
            cursor.recovery.answered += 1
        cursor.rate = (cursor.rate + outcome.rows / span) / 2
        if (stride := cursor.stride) is None:
            return
        if cursor.backward:
            # As long as half a page would last, as dense as it was here. Longer ones would be read in vain.
            # One without events says nothing of density, however short it was.
            longest = 4 * stride
            if outcome.rows:
                longest = max(stride, min(longest, span * ask.max_count // (2 * outcome.rows)))
            if cursor.recovery is not None and cursor.recovery.too_long is not None:
                longest = min(cursor.recovery.longer(stride), longest)
            cursor.stride = longest
        elif span >= stride:
            cursor.lengthen(stride)

    def _compare(
        self, cursor: TagCursor, outcome: AskOutcome, comparison: Comparison, results: _Results
    ) -> RowDisposition:
        """Compare what the source shows of the overlap with what the table holds, and replace it where they differ.

        The watermark passes a difference only together with the rows that replace it. Otherwise a run that dies in
        between would leave the difference behind, and the next run would take it for compared.
        """
        overlap = comparison.window
        found = (comparison.found + outcome.overlap_digest) & DIGEST_MASK
        if outcome.until < overlap.end:
            cursor.comparison = msgspec.structs.replace(comparison, found=found)
            self._shrink(cursor, outcome)
            return RowDisposition.NOTHING
        if found != comparison.expected:
            if outcome.ask.start > overlap.start:
                self._turn_back(cursor, outcome, comparison)
                return RowDisposition.NOTHING
            return self._replace(cursor, outcome, comparison, results)
        cursor.comparison = None
        known = outcome.last_event is not None and outcome.last_event >= overlap.start
        last = (outcome.last_event, outcome.last_digest) if known else (None, None)
        results.moves.append(self._advance(cursor, outcome, *last))
        return RowDisposition.FRESH

    def _turn_back(self, cursor: TagCursor, outcome: AskOutcome, comparison: Comparison) -> None:
        """Read an overlap of several pages from its beginning again, to replace it page by page."""
        overlap = comparison.window
        self.span_done += outcome.until - outcome.ask.start
        self.span_total += outcome.until - overlap.start
        cursor.start, cursor.slice_stop, cursor.attempts = overlap.start, None, 0
        cursor.forget_count()
        cursor.comparison = msgspec.structs.replace(comparison, replacing=True)

    def _replace(
        self, cursor: TagCursor, outcome: AskOutcome, comparison: Comparison, results: _Results
    ) -> RowDisposition:
        """Put the rows of an overlap in the place of what the table holds, as far as they are at hand."""
        overlap = comparison.window
        results.replaced.append(
            ReplacedWindow(cursor.tag, max(outcome.ask.start, overlap.start), min(outcome.until, overlap.end))
        )
        last = cursor.last_event = _last_event(cursor, outcome, overlap.start)
        if outcome.until >= overlap.end:
            cursor.comparison = None
        results.moves.append(self._advance(cursor, outcome, last.at, last.digest))
        return RowDisposition.REPLACE

    def _repaired(self, cursor: TagCursor, outcome: AskOutcome) -> tuple[Move, ...]:
        """A repair of the end of what is done has seen the last event there is."""
        last = cursor.last_event = _last_event(cursor, outcome, outcome.ask.start)
        self._shrink(cursor, outcome)
        if not cursor.finished or cursor.kind is not GapKind.END_REPAIR:
            return ()
        return (Move(cursor.tag.web_id, cursor.high, cursor.high, last.at, last_event_digest=last.digest),)

    def _follow_up(self, group: RequestGroup, cursor: TagCursor, outcome: AskOutcome, results: _Results) -> None:
        """What an outcome asks for next: nothing, another page, more at once, to be alone, a retry, less, giving up."""
        ask, error = outcome.ask, outcome.error
        if error is not None:
            decision = decide(error, tags=1, attempts=cursor.attempts)
            if decision is Decision.STOP:
                self.stop(error)
            elif decision is Decision.FEWER and ask.max_count > 1:
                self._ask_for_less(cursor, ask.max_count)
            elif decision is Decision.AGAIN:
                cursor.attempts += 1
                results.apart.append(cursor)
            elif decision is Decision.NARROW:
                self._narrow(group, cursor, ask.end, error, results)
            else:
                self._give_up(group, cursor, error, results)
        elif outcome.recheck:  # perhaps it was not cut: asked alone, the answer is clear
            self._move_out(group, (cursor,))
        elif cursor.backward and outcome.until > ask.start:
            # Pages go forward but `low` moves down, so a slice must fit one page: this one's rows are
            # dropped, and its newest part, as long as half a page lasted, is asked for instead.
            cursor.stride = max(1, (outcome.until - ask.start) // 2)
            cursor.slice_stop = None
        elif outcome.until == ask.start:
            stuck = self._more_at_once(group, cursor, ask)
            if stuck is not None:
                self._narrow(group, cursor, ask.start + 1, stuck, results)

    # --- what cannot be read -------------------------------------------------

    def _narrow(
        self, group: RequestGroup, cursor: TagCursor, failed_to: Micros, error: ExtractError, results: _Results
    ) -> None:
        """Begin to look for what of a cursor cannot be read: something before `failed_to`, or behind where it begins
        if it goes back.
        """
        if (comparison := cursor.comparison) is not None and not comparison.replacing:
            # What is compared is not whole any more: as far as it can be read, it is made equal to the source.
            self.span_total += max(0, cursor.start - comparison.window.start)
            cursor.start = comparison.window.start
            cursor.comparison = msgspec.structs.replace(comparison, replacing=True)
        total = cursor.end - cursor.start
        cursor.slice_stop = None
        cursor.forget_count()
        if total == 1 and cursor.kind is GapKind.HOLE:  # it was asked for with patience, and cannot be any smaller
            self._give_up(group, cursor, error, results)
            return
        recovery = cursor.start_recovery()
        recovery.length = recovery.length or total
        recovery.error, recovery.begun = error, cursor.end if cursor.backward else cursor.start
        failed = total if cursor.backward else min(total, max(1, failed_to - cursor.start))
        if cursor.backward and cursor.stride is not None:
            failed = min(total, cursor.stride)
        recovery.narrowing = Narrowing(
            total,
            failed,
            known=self._shared_hole(cursor),
            # Not so coarse that a hole takes all that is left: nothing would lie behind it to land with it.
            resolution=max(1, min(DAY, total // 8, _COARSER ** max(0, recovery.holes_met - _FINE_HOLES + 1))),
            retries=cursor.hole_attempts,
        )
        results.apart.append(cursor)

    def _shared_hole(self, cursor: TagCursor) -> tuple[int, int] | None:
        """The hole of another tag in what is left of this one, as distances in the direction of reading."""
        for hole in self._shared_holes:
            if hole.start < cursor.end and cursor.start < hole.end:
                if cursor.backward:
                    return cursor.end - hole.end, cursor.end - hole.start
                return hole.start - cursor.start, hole.end - cursor.start
        return None

    def _record_narrowed(
        self, group: RequestGroup, cursor: TagCursor, narrowing: Narrowing, outcome: AskOutcome, results: _Results
    ) -> RowDisposition:
        """Take in what narrowing has asked for."""
        recovery = cursor.start_recovery()
        recovery.searched += 1
        if outcome.recheck and narrowing.lands:  # several tags shared a count: asked alone, the answer is clear
            self._move_out(group, (cursor,))
            return RowDisposition.NOTHING
        if outcome.error is not None and recovery.costs_too_much:
            self._give_up(group, cursor, outcome.error, results)
            return RowDisposition.NOTHING
        keep, error = self._take_narrowed(group, cursor, narrowing, outcome, results)
        if error is not None and narrowing.state is NarrowingState.SEARCHING:
            self._narrow_on(group, cursor, outcome.ask, error, results)
        if narrowing.state is NarrowingState.DONE:
            recovery.narrowing, cursor.slice_stop = None, None
            # No server minds the length of a second: what fails there fails for another reason.
            if narrowing.worked_length and narrowing.hole is None and narrowing.failed_length > SECOND:
                cursor.shorten(narrowing.worked_length, narrowing.failed_length)
                self._learn_slice(narrowing.worked_length)
        elif narrowing.state is NarrowingState.HOPELESS:
            self._give_up(group, cursor, error or _why(cursor), results)
        return keep

    def _take_narrowed(
        self, group: RequestGroup, cursor: TagCursor, narrowing: Narrowing, outcome: AskOutcome, results: _Results
    ) -> tuple[RowDisposition, ExtractError | None]:
        """Take in what was answered, and give the error of what was not."""
        ask, error = outcome.ask, outcome.error
        if not narrowing.lands:
            if error is None:
                narrowing.worked(narrowing.end)
            return RowDisposition.NOTHING, error
        if outcome.until == ask.start:
            return RowDisposition.NOTHING, error or self._more_at_once(group, cursor, ask)
        if cursor.backward and outcome.until < ask.end:
            if error is None:
                narrowing.shorten()
            return RowDisposition.NOTHING, error
        if not self._pass_over(group, cursor, ask, results):
            return RowDisposition.NOTHING, None
        keep = self._land(cursor, outcome, results)
        begun = cursor.start_recovery().begun
        narrowing.worked(begun - ask.start if cursor.backward else outcome.until - begun)
        return keep, error

    def _narrow_on(
        self, group: RequestGroup, cursor: TagCursor, ask: Ask, error: ExtractError, results: _Results
    ) -> None:
        """What narrowing has asked for failed."""
        decision = decide(error, tags=1, attempts=cursor.attempts)
        if decision is Decision.NARROW and cursor.narrowing is not None:
            cursor.start_recovery().error = error
            cursor.narrowing.failed()
        elif decision is Decision.STOP:
            self.stop(error)
        elif decision is Decision.AGAIN:
            cursor.attempts += 1
        elif decision is Decision.FEWER and ask.max_count > 1:
            self._ask_for_less(cursor, ask.max_count)
        else:
            self._give_up(group, cursor, error, results)

    def _pass_over(self, group: RequestGroup, cursor: TagCursor, ask: Ask, results: _Results) -> bool:
        """Leave out the hole before what an ask has brought, if there is one; False: it must not be left out."""
        hole = Window(ask.end, cursor.end) if cursor.backward else Window(cursor.start, ask.start)
        if hole.start == hole.end:
            return True
        if not (self._keeps_holes or cursor.is_repair):
            why = f"{_why(cursor)} (it cannot be written down as a hole: {_COLUMNS_MISSING})"
            self._give_up(group, cursor, TagStuckError(why), results)
            return False
        recovery = cursor.start_recovery()
        recovery.holes_met += 1
        self.span_done += hole.end - hole.start
        if hole.end - hole.start >= _SHARED_HOLE and hole not in self._shared_holes:
            self._shared_holes.appendleft(hole)
        if self._keeps_holes:
            recovery.holes = (*recovery.holes, hole)
        else:
            results.failures.append(TagFailure(cursor.tag, _why(cursor), cursor.low, cursor.high))
        if cursor.backward:
            cursor.end = hole.start
            return True
        cursor.start = hole.end
        if cursor.comparison is not None and cursor.comparison.window.end <= hole.end:
            cursor.comparison = None
        return True

    def _learn_slice(self, answered: Micros) -> None:
        """Windows of twice this length were not answered. If that is so of all tags, they need not find out one by one;
        if others were answered, it is a matter of how dense a tag is.
        """
        if self._longest_answered <= 2 * answered:
            known = self.limits.first_slice
            self.limits = replace(self.limits, first_slice=answered if known is None else min(known, answered))

    def _note_answered_length(self, chunk: Chunk, outcomes: AskOutcomes) -> None:
        longest = max((a.end - a.start for n, a in enumerate(chunk.asks) if n not in outcomes.errors), default=0)
        self._longest_answered = max(self._longest_answered, longest)
        first_slice = self.limits.first_slice
        if first_slice is not None and self._longest_answered > 2 * first_slice:
            self.limits = replace(self.limits, first_slice=None)
        if chunk.group.shortened and longest:
            self._learn_slice(longest)
            chunk.group.shortened = 0

    def _ask_for_fewer(self, refused: int) -> None:
        """The server does not give so many events at once, to any tag."""
        self.limits = replace(
            self.limits,
            max_count_per_tag=max(1, min(self.limits.max_count_per_tag, refused // 2)),
            server_max_count=max(1, min(self.limits.server_max_count, refused - 1)),
        )

    def _ask_for_less(self, cursor: TagCursor, refused: int) -> None:
        """Half of what was refused, or half the way to it from a page that was too small."""
        too_small = None if cursor.bounds is None else cursor.bounds.too_small
        if too_small is None and refused <= self.limits.max_count_per_tag:
            self._ask_for_fewer(refused)
            cursor.max_count = None
            return
        if too_small is not None and too_small >= refused:  # what was given once is refused now
            too_small = None
        cursor.bounds = CountBounds(too_small, refused)
        cursor.max_count = max(1, ((too_small or 0) + refused) // 2)

    def _more_at_once(self, group: RequestGroup, cursor: TagCursor, ask: Ask) -> TagStuckError | None:
        """A page full of one microsecond cannot move: ask for more values, alone, up to the server's limit."""
        refused = None if cursor.bounds is None else cursor.bounds.refused
        cursor.bounds = CountBounds(ask.max_count, refused)
        if refused is not None:  # the server's limit lies between the two
            count = (ask.max_count + refused) // 2
        else:
            count = min(self.limits.server_max_count, ask.max_count * 4)
        if count <= ask.max_count:
            return TagStuckError(
                f"{cursor.tag.name}: at least {ask.max_count} events share the microsecond {instant(ask.start)}, "
                "more than the server returns at once",
                hint="Raise MaxReturnedItemsPerCall on the PI Web API, or remove the repeated events.",
            )
        cursor.max_count = count
        self._move_out(group, (cursor,))
        return None

    def _give_up(self, group: RequestGroup, cursor: TagCursor, error: ExtractError, results: _Results) -> None:
        if cursor in group.cursors:
            group.cursors.remove(cursor)
        self.span_done += cursor.end - cursor.start
        self._finish(cursor)
        if cursor.recovery is not None:
            cursor.recovery.narrowing = None
        if cursor.kind is GapKind.HOLE:
            results.holes.append(HoleNote(cursor.tag, cursor.start, cursor.end, error))
        else:
            results.failures.append(TagFailure(cursor.tag, error, cursor.low, cursor.high))

    def _count_in(self, cursor: TagCursor) -> None:
        web_id = cursor.tag.web_id
        self._unfinished[web_id] = self._unfinished.get(web_id, 0) + 1
        self.span_total += cursor.end - cursor.start

    def _finish(self, cursor: TagCursor) -> None:
        web_id = cursor.tag.web_id
        left = self._unfinished[web_id] - 1
        if left:
            self._unfinished[web_id] = left
        else:
            del self._unfinished[web_id]

    def _move_out(self, group: RequestGroup, cursors: Sequence[TagCursor]) -> None:
        """Put cursors into a group of their own, which is ready at once."""
        gone = set(map(id, cursors))
        group.cursors = [r for r in group.cursors if id(r) not in gone]
        self._add_group(list(cursors))

    def _add_group(self, cursors: list[TagCursor]) -> None:
        group = RequestGroup(self._groups_made, cursors)
        self._groups_made += 1
        if not self._stopping:
            heapq.heappush(self._heap, (group.priority, group))


def _why(cursor: TagCursor) -> ExtractError:
    """The last error of narrowing."""
    error = cursor.start_recovery().error
    assert error is not None  # noqa: S101 - narrowing begins with one
    return error


def _ask_for_shorter(cursor: TagCursor, failed: Micros) -> None:
    """Half the window that was too long."""
    cursor.shorten(max(1, failed // 2), failed)
    cursor.slice_stop = None


def _last_event(cursor: TagCursor, outcome: AskOutcome, since: Micros) -> LastEvent:
    """The last event read so far of what replaces rows of the table; where there is none, the window's beginning."""
    if outcome.last_event is not None and outcome.last_event >= since:
        return LastEvent(outcome.last_event, outcome.last_digest)
    return cursor.last_event or LastEvent(since, 0)
