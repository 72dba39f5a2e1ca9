"""The way of the data, wired: plan -> fetchers -> channel -> committer. asyncio; knows no dataset.

Backpressure is the channel's; decisions are the plan's; exactness is the landing's. Here is only who
runs when. Invariant: whatever ends the run, what was completely read is committed before it ends,
unless the destination itself failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa

from config.errors import ExtractError, RetryError, UnavailableError, UndecodableError

from ..clock import monotonic
from ..model import Answer, Ask, Micros, Tag
from ..plan.planner import Chunk, Plan
from ..plan.remaining import Remaining
from ..plan.settled import Settled
from ..telemetry.events import Answered, Emit, HoleNoted, Quarantined, RequestFailed, Stopping, TagFailed
from .channel import Channel, Room
from .committer import Committer, Delivery
from .feed import Feed
from .parting import part
from .stop import Stop

__all__ = ["Pipeline", "Source"]

GRACE_SECS = 8.0
# A 500 may be one tag's: so many in a row are as many tags in a row, or a server that is broken.
MAX_BROKEN_IN_A_ROW = 100
# An answer that holds nothing but errors counts as so many of them.
_ALL_FAILED = 10
# A source that answers small questions, and so many times as many requests in vain, does not answer ours.
_MOST_SILENT = 10
_NO_ROWS = pa.RecordBatch.from_pylist([], schema=pa.schema([]))


class Source(Protocol):
    """How a dataset is asked for and decoded."""

    def split(self, chunk: Chunk) -> list[Chunk]:
        """The requests a chunk becomes."""

    def expected_bytes(self, asks: Sequence[Ask]) -> int:
        """Most memory the answer is likely to take, for the reservation."""

    async def read(self, asks: Sequence[Ask], *, patient: bool = True) -> Reply:
        """Ask and decode; not `patient`: once. Raises `ExtractError` when the whole request failed."""

    async def is_alive(self) -> bool:
        """Whether the source answers at all, asked by the smallest question there is."""


class Reply(Protocol):
    """A decoded answer and how long it took."""

    @property
    def answer(self) -> Answer: ...
    @property
    def fetch_secs(self) -> float: ...
    @property
    def decode_secs(self) -> float: ...


class Pipeline:
    """One run's reading."""

    def __init__(
        self,
        plan: Plan,
        source: Source,
        channel: Channel[Delivery],
        committer: Committer,
        *,
        fetchers: int,
        emit: Emit,
        stop: Stop,
        waited_secs: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`waited_secs`: how long requests of the source have waited for their turn so far, all together."""
        self._feed = Feed(plan)
        self._plan = plan
        self._source = source
        self._channel = channel
        self._committer = committer
        self._fetchers = fetchers
        self._emit = emit
        self._stop = stop
        self._silent_in_a_row = 0
        self._broken_in_a_row = 0
        self._remaining = Remaining(plan, monotonic, waited_secs)

    async def run(self) -> None:
        """Read everything planned, or as much as the stop allows.

        Raises the destination's `StopError`s; what stopped the source is `plan.stopped`.
        """
        async with asyncio.TaskGroup() as group:
            fetchers = [group.create_task(self._fetch(), name=f"fetcher-{n}") for n in range(self._fetchers)]
            watch = group.create_task(self._watch_stop(fetchers), name="watch-stop")
            committer = group.create_task(self._committer.run(), name="committer")
            await asyncio.wait(fetchers)
            watch.cancel()
            self._channel.close()
            await asyncio.wait([committer])

    async def _watch_stop(self, fetchers: list[asyncio.Task[None]]) -> None:
        """When asked to stop: ask PI nothing new, let what is in flight finish, but not for long."""
        await self._stop.wait()
        self._emit(Stopping(self._stop.reason))
        self._feed.stop()
        await self._stop.wait_insisted(GRACE_SECS)
        for fetcher in fetchers:
            fetcher.cancel()

    async def _fetch(self) -> None:
        while (chunk := await self._feed.next()) is not None:
            try:
                portions = self._source.split(chunk)
                self._remaining.took(chunk, len(portions))
                for portion in portions:
                    await self._read(portion)
                    if self._plan.stopped or self._stop.asked:
                        break
            finally:
                self._feed.give_back(chunk)

    async def _read(self, chunk: Chunk) -> None:
        room = await self._channel.reserve(self._source.expected_bytes(chunk.asks))
        try:
            reply = await self._source.read(chunk.asks, patient=chunk.patient)
        except ExtractError as error:
            room.free()
            await self._fault(chunk, error)
            return
        answer = reply.answer
        self._silent_in_a_row = 0
        self._note_broken(chunk, answer)
        settled = self._plan.settle(chunk, answer.outcomes)
        self._remaining.answered(chunk, answer.outcomes, reply.fetch_secs + reply.decode_secs)
        rows, replacing = part(answer, settled.keep)
        self._emit(
            Answered(
                tags=len(chunk.asks),
                read=answer.rows.num_rows,
                body_bytes=answer.body_bytes,
                fetch_secs=reply.fetch_secs,
                decode_secs=reply.decode_secs,
                fraction_done=self._remaining.fraction_done(),
                left_secs=self._remaining.left_secs(),
            )
        )
        self._report(settled)
        room.resize(min(room.size_bytes, rows.nbytes + replacing.nbytes))
        self._channel.put(Delivery(rows, settled, replacing), room)

    def _note_broken(self, chunk: Chunk, answer: Answer) -> None:
        """An answer to several tags that holds errors alone is as good as none, unless errors are what is looked for."""
        if any(reading.narrowing for reading in chunk.readings):
            return
        errors = answer.outcomes.errors.values()
        if len(chunk.asks) < 2 or len(errors) < len(chunk.asks) or not all(isinstance(e, RetryError) for e in errors):
            self._broken_in_a_row = 0
            return
        self._broken_in_a_row += _ALL_FAILED
        if self._broken_in_a_row >= MAX_BROKEN_IN_A_ROW:
            self._stop_asking(self._broken_in_a_row // _ALL_FAILED, next(iter(errors)))

    async def _fault(self, chunk: Chunk, error: ExtractError) -> None:
        """A whole request failed. When that goes on and on it is not some tag's fault: stop asking."""
        repeated = _is_repeated(chunk)
        self._emit(RequestFailed(len(chunk.asks), str(error)))
        settled = self._plan.fault(chunk, error)
        self._report(settled)
        if settled.failures or settled.holes:
            # Their status goes to the checkpoint table with the next commit; it takes no room.
            self._channel.put(Delivery(_NO_ROWS, settled), Room(self._channel, 0))
        if in_a_row := await self._too_many_in_a_row(error, repeated=repeated):
            self._stop_asking(in_a_row, error)

    def _stop_asking(self, in_a_row: int, error: ExtractError) -> None:
        self._feed.stop(
            UnavailableError(
                f"gave up after {in_a_row} failed requests in a row, the last: {error}",
                hint=error.hint or "Nothing is lost: run again when the source answers.",
            )
        )

    async def _too_many_in_a_row(self, error: ExtractError, *, repeated: bool) -> int:
        """How many requests failed in a row, once they are so many that the source must be down.

        - refused (a tag that may not be read, too much at once): the source is there, and says so
        - 500: perhaps the tag's, perhaps the server's; many bad tags may stand in a row
        - no answer, or one that speaks of the server: nothing to do with tags, unless it was too much at once: then
          the source answers something small
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

    def _report(self, settled: Settled) -> None:
        for failure in settled.failures:
            self._emit(TagFailed(failure.tag.name, str(failure.error), failure.tag.web_id))
            self._quarantine(failure.tag, failure.high, failure.high, failure.error)
        for note in settled.holes:
            self._emit(HoleNoted(note.tag.name, note.change))
            if note.error is not None:
                self._quarantine(note.tag, note.start, note.end, note.error)

    def _quarantine(self, tag: Tag, start: Micros, end: Micros, error: ExtractError) -> None:
        if isinstance(error, UndecodableError):
            self._emit(Quarantined(tag.name, tag.web_id, start, end, error.message, error.excerpt))


def _is_repeated(chunk: Chunk) -> bool:
    """Whether it is asked for what has failed before, or for a part of it."""
    return any(reading.attempts or reading.narrowing for reading in chunk.readings)
