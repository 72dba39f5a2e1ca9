"""Takes decoded answers off the channel and lands them, rows and watermarks together.

One at a time: a batch of rows is staged while it grows, and committed when it is large or old
enough. Blocking work runs on the one writer thread it is given. Invariant: a watermark moves only in
the commit that holds the rows it speaks of.
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
from ..plan.settled import Failure, Settled
from ..telemetry.events import Committed, Emit
from .channel import Channel

__all__ = ["Committer", "Delivery", "Lands"]

R = TypeVar("R")
# Rows that replace others wait in memory until their commit, and what they replace is read beside them.
MOST_REPLACING = 250_000


class Lands(Protocol):
    """Where commits are begun: a landing, or a repair beside one."""

    def begin(self) -> LandingBatch: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """Rows that go to the table, and what becomes true once they are there."""

    rows: pa.RecordBatch
    settled: Settled
    replacing: pa.RecordBatch | None = None  # the rows of the swaps

    @property
    def empty(self) -> bool:
        """An answer that only said to ask differently: there is nothing to commit."""
        told = self.settled
        return not (self.rows.num_rows or told.moves or told.failures or told.swaps or told.holes)


@dataclass(slots=True)
class _Pending:
    """A commit in the making."""

    batch: LandingBatch
    since: float
    rows: int = 0
    replacing: int = 0
    stage_secs: float = 0.0
    failures: list[Failure] = field(default_factory=list)


class Committer:
    """The sink of a run."""

    def __init__(
        self,
        landing: Lands,
        channel: Channel[Delivery],
        *,
        commit_rows: int,
        commit_secs: float,
        writer: Executor,
        emit: Emit,
    ) -> None:
        self._landing = landing
        self._channel = channel
        self._commit_rows = commit_rows
        self._commit_secs = commit_secs
        self._writer = writer
        self._emit = emit
        self._pending: _Pending | None = None
        self.stale: set[str] = set()  # tags that a repair has to read once more

    async def run(self) -> None:
        """Land everything until the channel is closed and empty.

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
        finally:
            if self._pending is not None:
                await self._thread(self._pending.batch.abort)

    def _remaining(self) -> float | None:
        """Seconds until the batch in the making is old enough; None while there is none."""
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
        pending.failures += delivery.settled.failures
        pending.stage_secs += monotonic() - began
        full = pending.rows + pending.replacing >= self._commit_rows or pending.replacing >= MOST_REPLACING
        if full or self._remaining() == 0.0:
            await self._commit()

    async def _commit(self) -> None:
        """Commit what is pending. Once begun it is seen through, even when the run is cancelled; and whatever
        comes of it, the files are the landing's from then on: they may be in the log.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        began = monotonic()
        # Last, so that a tag that failed in one gap stays failed when another of its gaps advances.
        failed = [_failed(failure) for failure in pending.failures]
        landing = asyncio.ensure_future(self._thread(partial(pending.batch.commit, failed)))
        try:
            receipt = await asyncio.shield(landing)
        except asyncio.CancelledError:
            await asyncio.wait([landing])
            raise
        self.stale |= receipt.stale
        if receipt.data is None and receipt.watermarks is None:
            return  # what was looked at again had not changed
        data = receipt.data
        self._emit(
            Committed(
                rows=receipt.rows,
                tags=pending.batch.tags,
                files=data.files if data else 0,
                size_bytes=data.size_bytes if data else 0,
                stage_secs=pending.stage_secs,
                commit_secs=monotonic() - began,
                partitions=receipt.partitions,
                corrections=receipt.corrections,
            )
        )

    async def _thread(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)


def _hand_over(delivery: Delivery, batch: LandingBatch) -> None:
    """Add a delivery to a commit."""
    told = delivery.settled
    if delivery.rows.num_rows:
        batch.write(delivery.rows)
    if told.swaps and delivery.replacing is not None:
        batch.replace([Replacement(swap.tag.web_id, swap.start, swap.end) for swap in told.swaps], delivery.replacing)
    for moves in told.moves:
        batch.move_all(moves)
    if told.holes:
        batch.note_holes([note.change for note in told.holes])


def _failed(failure: Failure) -> Move:
    """What a failure leaves in the checkpoint table: nothing moves."""
    return Move(failure.tag.web_id, failure.high, failure.high, status="failed", last_error=str(failure.error)[:500])
