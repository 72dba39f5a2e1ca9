"""Runs a plan: fetchers take chunks of the plan, read them, and pass rows through the channel to the committer.

The plan decides what is read, the channel limits memory, the landing makes commits exact. This module only starts and
stops the tasks. Invariant: however a run ends, what was completely read is committed, unless the destination failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from config.errors import ExtractError, RetryError, UnavailableError, UndecodableError

from ..clock import monotonic
from ..model import Ask, DecodedAnswer, Micros, Tag
from ..plan.chunk_result import ChunkResult, RowDisposition, RowDispositions
from ..plan.plan_progress import PlanProgress
from ..plan.planner import Chunk, Plan
from ..plan.tag_cursor import RequestLimits
from ..telemetry.events import Answered, Emit, HoleNoted, Quarantined, RequestFailed, Stopping, TagFailed
from .channel import Channel, Room
from .committer import CommitTotals, Delivery
from .stop import Stop

GRACE_SECS = 8.0
# A 500 may be the error of one tag. After so many in a row the server is taken to be broken.
MAX_BROKEN_IN_A_ROW = 100
# An answer that holds only errors counts as so many.
_ALL_FAILED = 10
# A source that answers small requests is given up only after so many times the usual number of failures.
_MOST_SILENT = 10
_NO_ROWS = pa.RecordBatch.from_pylist([], schema=pa.schema([]))


class Source(Protocol):
    """Asks for a windowed series and decodes it."""

    def split(self, chunk: Chunk) -> list[Chunk]:
        """Split a chunk into requests."""

    def expected_bytes(self, asks: Sequence[Ask]) -> int:
        """The largest likely size of the answer in memory, for the reservation."""

    async def read(self, asks: Sequence[Ask], *, patient: bool = True) -> SourceReply:
        """Ask and decode. If not `patient`, do not retry. Raises `ExtractError` if the whole request failed."""

    async def is_alive(self) -> bool:
        """Whether the source answers a small request."""


class SourceReply(Protocol):
    """A decoded answer and how long it took."""

    @property
    def answer(self) -> DecodedAnswer: ...
    @property
    def fetch_secs(self) -> float: ...
    @property
    def decode_secs(self) -> float: ...


class Destination(Protocol):
    """Takes everything out of the channel, until it is closed and empty: a committer, or who hands rows on."""

    async def run(self) -> CommitTotals: ...


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What became of a plan.

    `failed` are tags that were given up, name by WebID; `unfinished` WebIDs of tags with something left to read;
    `stopped` the error that ended the plan early; `limits` what may be asked of this server, as far as it was learnt.
    """

    committed: CommitTotals
    failed: Mapping[str, str]
    unfinished: frozenset[str]
    stopped: ExtractError | None
    limits: RequestLimits


class Pipeline:
    """Reads what one plan asks for."""

    def __init__(
        self,
        plan: Plan,
        source: Source,
        channel: Channel[Delivery],
        committer: Destination,
        *,
        dataset: str,
        fetchers: int,
        emit: Emit,
        stop: Stop,
        waited_secs: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`waited_secs`: how long the requests of the source have waited at the gate so far, in total."""
        self._plan = plan
        self._given_back = asyncio.Event()
        self._dataset = dataset
        self._source = source
        self._channel = channel
        self._committer = committer
        self._fetchers = fetchers
        self._emit = emit
        self._stop = stop
        self._silent_in_a_row = 0
        self._broken_in_a_row = 0
        self._failed: dict[str, str] = {}
        self._remaining = PlanProgress(plan, monotonic, waited_secs)

    async def run(self) -> PipelineResult:
        """Read everything planned, or as much as the stop allows. Raises the destination's `StopError`s."""
        async with asyncio.TaskGroup() as group:
            fetchers = [group.create_task(self._fetch(), name=f"fetcher-{n}") for n in range(self._fetchers)]
            watch = group.create_task(self._watch_stop(fetchers), name="watch-stop")
            committer = group.create_task(self._committer.run(), name="committer")
            await asyncio.wait(fetchers)
            watch.cancel()
            self._channel.close()
            await asyncio.wait([committer])
        return PipelineResult(
            committer.result(), self._failed, frozenset(self._plan.unfinished), self._plan.stopped, self._plan.limits
        )

    async def _watch_stop(self, fetchers: list[asyncio.Task[None]]) -> None:
        """When asked to stop: send no new request, and give those in flight a short time to finish."""
        await self._stop.wait()
        self._emit(Stopping(self._stop.reason))
        self._plan.stop()
        await self._stop.wait_insisted(GRACE_SECS)
        for fetcher in fetchers:
            fetcher.cancel()

    async def _fetch(self) -> None:
        while (chunk := await self._next_chunk()) is not None:
            try:
                portions = self._source.split(chunk)
                self._remaining.took(chunk, len(portions))
                for portion in portions:
                    await self._read(portion)
                    if self._plan.stopped or self._stop.asked:
                        break
            finally:
                self._give_back(chunk)

    async def _next_chunk(self) -> Chunk | None:
        """The most urgent chunk; None when the plan is done or stopped. Waits while others may still be given back."""
        while (chunk := self._plan.take()) is None:
            if self._plan.done:
                return None
            await self._given_back.wait()
        return chunk

    def _give_back(self, chunk: Chunk) -> None:
        self._plan.give_back(chunk)
        self._given_back.set()
        self._given_back = asyncio.Event()

    async def _read(self, chunk: Chunk) -> None:
        room = await self._channel.reserve(self._source.expected_bytes(chunk.asks))
        try:
            reply = await self._source.read(chunk.asks, patient=chunk.patient)
        except ExtractError as error:
            room.free()
            await self._fault(chunk, error)
            return
        answer = reply.answer
        if answer.body_bytes:  # else nothing was asked: that says nothing about the source
            self._silent_in_a_row = 0
            self._note_broken(chunk, answer)
        result = self._plan.record_answer(chunk, answer.outcomes)
        self._remaining.answered(chunk, answer.outcomes, reply.fetch_secs + reply.decode_secs)
        rows, replacing = split_rows(answer, result.dispositions)
        self._emit(
            Answered(
                self._dataset,
                tags=len(chunk.asks),
                read=answer.rows.num_rows,
                body_bytes=answer.body_bytes,
                fetch_secs=reply.fetch_secs,
                decode_secs=reply.decode_secs,
                fraction_done=self._remaining.fraction_done(),
                left_secs=self._remaining.left_secs(),
            )
        )
        self._report(result)
        # Also where that is more than was reserved: the next ones wait.
        room.resize(_held_bytes(rows) + _held_bytes(replacing))
        self._channel.put(Delivery(rows, result, replacing), room)

    def _note_broken(self, chunk: Chunk, answer: DecodedAnswer) -> None:
        """Count answers to several tags that hold only errors, unless errors are being narrowed down."""
        if any(cursor.narrowing for cursor in chunk.cursors):
            return
        errors = answer.outcomes.errors.values()
        if len(chunk.asks) < 2 or len(errors) < len(chunk.asks) or not all(isinstance(e, RetryError) for e in errors):
            self._broken_in_a_row = 0
            return
        self._broken_in_a_row += _ALL_FAILED
        if self._broken_in_a_row >= MAX_BROKEN_IN_A_ROW:
            self._stop_asking(self._broken_in_a_row // _ALL_FAILED, next(iter(errors)))

    async def _fault(self, chunk: Chunk, error: ExtractError) -> None:
        """A whole request failed. If that happens again and again, it is not the error of a tag: stop."""
        repeated = _is_repeated(chunk)
        self._emit(RequestFailed(self._dataset, len(chunk.asks), str(error)))
        result = self._plan.record_failure(chunk, error)
        self._report(result)
        if result.failures or result.holes:
            # They are committed with the next watermarks, and take no room.
            self._channel.put(Delivery(_NO_ROWS, result), Room(self._channel, 0))
        if in_a_row := await self._too_many_in_a_row(error, repeated=repeated):
            self._stop_asking(in_a_row, error)

    def _stop_asking(self, in_a_row: int, error: ExtractError) -> None:
        self._plan.stop(
            UnavailableError(
                f"gave up after {in_a_row} failed requests in a row, the last: {error}",
                hint=error.hint or "Nothing is lost: run again when the source answers.",
            )
        )

    async def _too_many_in_a_row(self, error: ExtractError, *, repeated: bool) -> int:
        """The number of requests that failed in a row, if they are so many that the source must be down; else 0.

        - refused (tag not readable, request too large): the source is up
        - 500: an error of the tag or of the server; many bad tags may come in a row
        - no answer, or an error of the server: the source is down, unless it still answers a small request
        """
        if not isinstance(error, RetryError):
            self._silent_in_a_row = self._broken_in_a_row = 0
            return 0
        if error.status == 500:
            self._broken_in_a_row += not repeated
            return self._broken_in_a_row if self._broken_in_a_row >= MAX_BROKEN_IN_A_ROW else 0
        self._silent_in_a_row += 1
        most = max(12, 3 * self._fetchers)
        if self._silent_in_a_row % most:
            return 0
        if self._silent_in_a_row < _MOST_SILENT * most and await self._source.is_alive():
            return 0
        return self._silent_in_a_row

    def _report(self, result: ChunkResult) -> None:
        for failure in result.failures:
            self._failed[failure.tag.web_id] = failure.tag.name
            self._emit(TagFailed(self._dataset, failure.tag.name, str(failure.error), failure.tag.web_id))
            self._quarantine(failure.tag, failure.high, failure.high, failure.error)
        for note in result.holes:
            self._emit(HoleNoted(self._dataset, note.tag.name, note.change))
            if note.error is not None:
                self._quarantine(note.tag, note.start, note.end, note.error)

    def _quarantine(self, tag: Tag, start: Micros, end: Micros, error: ExtractError) -> None:
        if isinstance(error, UndecodableError):
            self._emit(Quarantined(self._dataset, tag.name, tag.web_id, start, end, error.message, error.excerpt))


def _is_repeated(chunk: Chunk) -> bool:
    """Whether the chunk asks again for something that has failed, or for a part of it."""
    return any(cursor.attempts or cursor.narrowing for cursor in chunk.cursors)


def _held_bytes(rows: pa.RecordBatch) -> int:
    """What rows hold in memory: `nbytes` counts only what they use of it, and takes forty times as long."""
    return rows.get_total_buffer_size() if rows.num_rows else 0


def split_rows(answer: DecodedAnswer, dispositions: RowDispositions) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Split an answer's rows into rows to append and rows that replace existing ones. No row is in both.

    `dispositions` says for each outcome where its rows go.
    """
    rows, outcomes = answer.rows, answer.outcomes
    # The rows of an outcome are in order of time, so rows of the overlap come first.
    stale = np.where(dispositions == RowDisposition.NOTHING, outcomes.rows, outcomes.overlap_rows)
    firsts = np.cumsum(outcomes.rows) - outcomes.rows
    replacing = rows.slice(0, 0)
    differing = np.flatnonzero(dispositions == RowDisposition.REPLACE).tolist()
    if differing:
        chosen = np.zeros(rows.num_rows, np.bool_)
        micros = rows.column("timestamp").view(pa.int64()).to_numpy()
        for n in differing:
            overlap, first = outcomes.asks[n].overlap, firsts[n]
            if overlap is None:
                stale[n] = outcomes.rows[n]
            end = first + stale[n]
            chosen[first:end] = overlap is None or micros[first:end] >= overlap.start
        replacing = rows.filter(pa.array(chosen))
    if stale.any():
        rows = rows.filter(pa.array(np.arange(rows.num_rows) >= np.repeat(firsts + stale, outcomes.rows)))
    return rows, replacing
