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

from config.errors import ExtractError, RetryError, UnavailableError

from ..clock import monotonic
from ..model import Answer, Ask
from ..plan.planner import Chunk, Plan
from ..plan.remaining import Remaining
from ..plan.settled import Failure, Settled
from ..telemetry.events import Answered, Emit, RequestFailed, Stopping, TagFailed
from .channel import Channel, Room
from .committer import Committer, Delivery
from .feed import Feed
from .parting import part
from .stop import Stop

__all__ = ["Pipeline", "Source"]

GRACE_SECS = 8.0
# A 500 may be one tag's: so many in a row are as many tags in a row, or a server that is broken.
MAX_BROKEN_IN_A_ROW = 100
_NO_ROWS = pa.RecordBatch.from_pylist([], schema=pa.schema([]))


class Source(Protocol):
    """How a dataset is asked for and decoded."""

    def split(self, chunk: Chunk) -> list[Chunk]:
        """The requests a chunk becomes."""

    def expected_bytes(self, asks: Sequence[Ask]) -> int:
        """Most memory the answer is likely to take, for the reservation."""

    async def read(self, asks: Sequence[Ask]) -> Reply:
        """Ask and decode. Raises `ExtractError` when the whole request failed."""


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
            reply = await self._source.read(chunk.asks)
        except ExtractError as error:
            room.free()
            self._fault(chunk, error)
            return
        self._silent_in_a_row = self._broken_in_a_row = 0
        answer = reply.answer
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
        self._report(settled.failures)
        room.resize(min(room.size_bytes, rows.nbytes + replacing.nbytes))
        self._channel.put(Delivery(rows, settled, replacing), room)

    def _fault(self, chunk: Chunk, error: ExtractError) -> None:
        """A whole request failed. When that goes on and on it is not some tag's fault: stop asking."""
        repeated = any(reading.attempts for reading in chunk.readings)
        self._emit(RequestFailed(len(chunk.asks), str(error)))
        failures = self._plan.fault(chunk, error)
        self._report(failures)
        if failures:
            # Their status goes to the checkpoint table with the next commit; it takes no room.
            self._channel.put(Delivery(_NO_ROWS, Settled(failures=failures)), Room(self._channel, 0))
        if in_a_row := self._too_many_in_a_row(error, repeated=repeated):
            self._feed.stop(
                UnavailableError(
                    f"gave up after {in_a_row} failed requests in a row, the last: {error}",
                    hint=error.hint or "Nothing is lost: run again when the source answers.",
                )
            )

    def _too_many_in_a_row(self, error: ExtractError, *, repeated: bool) -> int:
        """How many requests failed in a row, once they are so many that the source must be down.

        - refused (a tag that may not be read, too much at once): the source is there, and says so
        - 500: perhaps the tag's, perhaps the server's; many bad tags may stand in a row
        - no answer, or one that speaks of the server: nothing to do with tags
        """
        if not isinstance(error, RetryError):
            self._silent_in_a_row = self._broken_in_a_row = 0
            return 0
        if error.status == 500:
            self._broken_in_a_row += not repeated
            return self._broken_in_a_row if self._broken_in_a_row >= MAX_BROKEN_IN_A_ROW else 0
        self._silent_in_a_row += 1
        return self._silent_in_a_row if self._silent_in_a_row >= max(12, 3 * self._fetchers) else 0

    def _report(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self._emit(TagFailed(failure.tag.name, str(failure.error), failure.tag.web_id))
