"""Takes decoded answers from the channel and commits them, rows and watermarks together.

Rows are staged as they come, and committed when they are many or old enough. Blocking calls run on the writer thread.
Invariant: a watermark moves only in the commit that holds its rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import pyarrow as pa

from writers import LandingBatch, Move, Replacement

from ..clock import monotonic
from ..plan.chunk_result import ChunkResult, TagFailure
from ..telemetry.events import Committed, Emit
from .channel import Channel

R = TypeVar("R")
# Rows that replace others stay in memory until the commit, together with the rows that they replace.
MOST_REPLACING = 250_000


class CommitStarter(Protocol):
    """Begins commits: a landing, or a repair."""

    def begin(self) -> LandingBatch: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """Rows for the table, and the watermarks, failures and holes that are committed with them."""

    rows: pa.RecordBatch
    result: ChunkResult
    replacing: pa.RecordBatch | None = None  # the rows of the swaps

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit: the answer only said how to ask again."""
        result = self.result
        return not (self.rows.num_rows or result.moves or result.failures or result.replaced or result.holes)


@dataclass(frozen=True, slots=True)
class CommitTotals:
    """What the commits of a committer come to: rows appended, partitions written to, and tags that a repair has to read
    once more.
    """

    rows: int = 0
    partitions: frozenset[str] = frozenset()
    stale: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Pending:
    """The commit that is being filled."""

    batch: LandingBatch
    since: float
    rows: int = 0
    replacing: int = 0
    stage_secs: float = 0.0
    failures: list[TagFailure] = field(default_factory=list)


class Committer:
    """Stages and commits what comes through the channel."""

    def __init__(
        self,
        landing: CommitStarter,
        channel: Channel[Delivery],
        *,
        dataset: str,
        commit_rows: int,
        commit_secs: float,
        writer: Executor,
        emit: Emit,
    ) -> None:
        self._landing = landing
        self._channel = channel
        self._dataset = dataset
        self._commit_rows = commit_rows
        self._commit_secs = commit_secs
        self._writer = writer
        self._emit = emit
        self._pending: _Pending | None = None
        self._totals = CommitTotals()

    async def run(self) -> CommitTotals:
        """Land everything until the channel is closed and empty, and say what that came to.

        Raises what the landing raises; then, or when cancelled, what is staged is removed again.
        """
        try:
            while True:
                try:
                    async with asyncio.timeout(self._remaining()):
                        taken = await self._channel.get()
                except TimeoutError:
                    await self._commit()
                    continue
                if taken is None:
                    break
                delivery, room = taken
                try:
                    await self._stage(delivery)
                finally:
                    room.free()
            await self._commit()
            return self._totals
        finally:
            if self._pending is not None:
                await self._thread(self._pending.batch.abort)

    def _remaining(self) -> float | None:
        """Seconds until the pending commit is due; None if there is none."""
        if self._pending is None:
            return None
        return max(0.0, self._pending.since + self._commit_secs - monotonic())

    async def _stage(self, delivery: Delivery) -> None:
        if delivery.empty:
            return
        if self._pending is None:
            self._pending = _Pending(await self._thread(self._landing.begin), monotonic())
        pending = self._pending
        began = monotonic()
        await self._thread(partial(_hand_over, delivery, pending.batch))
        pending.rows += delivery.rows.num_rows
        pending.replacing += delivery.replacing.num_rows if delivery.replacing is not None else 0
        pending.failures += delivery.result.failures
        pending.stage_secs += monotonic() - began
        full = pending.rows + pending.replacing >= self._commit_rows or pending.replacing >= MOST_REPLACING
        if full or self._remaining() == 0.0:
            await self._commit()

    async def _commit(self) -> None:
        """Commit what is pending. Once begun it goes on to its end, even when the run is cancelled. From then
        on the files belong to the landing, also if it fails: they may be in the log.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        began = monotonic()
        # Failures come last: a tag that failed in one gap stays failed when another of its gaps advances.
        failed = [_failed(failure) for failure in pending.failures]
        landing = asyncio.ensure_future(self._thread(partial(pending.batch.commit, failed)))
        try:
            receipt = await asyncio.shield(landing)
        except asyncio.CancelledError:
            await asyncio.wait([landing])
            raise
        totals = self._totals
        self._totals = CommitTotals(
            totals.rows + receipt.rows, totals.partitions | receipt.partitions, totals.stale | receipt.stale
        )
        if receipt.data is None and receipt.watermarks is None:
            return  # what was looked at again had not changed
        data = receipt.data
        self._emit(
            Committed(
                self._dataset,
                rows=receipt.rows,
                tags=pending.batch.tags,
                files=data.files if data else 0,
                size_bytes=data.size_bytes if data else 0,
                stage_secs=pending.stage_secs,
                commit_secs=monotonic() - began,
                corrections=receipt.corrections,
            )
        )

    async def _thread(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)


def _hand_over(delivery: Delivery, batch: LandingBatch) -> None:
    """Add a delivery to a commit."""
    result = delivery.result
    if delivery.rows.num_rows:
        batch.write(delivery.rows)
    if result.replaced and delivery.replacing is not None:
        batch.replace(
            [Replacement(swap.tag.web_id, swap.start, swap.end) for swap in result.replaced], delivery.replacing
        )
    for moves in result.moves:
        batch.move_all(moves)
    if result.holes:
        batch.note_holes([note.change for note in result.holes])


def _failed(failure: TagFailure) -> Move:
    """The watermark row of a failure: the watermark does not move."""
    return Move(failure.tag.web_id, failure.high, failure.high, status="failed", last_error=str(failure.error)[:500])
