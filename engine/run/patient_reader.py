"""Reads tags for a run that follows: a destination that gives no answer for a while does not end the run.

After a failure the tables are opened anew, which looks into their logs first: what had landed is not landed again.
Invariant: no more attempts than `retry` allows, one after the other; then the error of the first one ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count

from config import RetryConfig
from config.errors import RetryError, UnknownCommitError

from ..datasets.sync import DatasetSync
from ..flow.run_with_lease import main_error
from ..flow.stop import Stop
from ..model import Micros, Tag, Window
from .report import CycleResult
from .tag_claims import TagClaims
from .tag_reader import SeriesReaders

LOG = logging.getLogger("osipi.run")
# What may pass by itself. Errors of the source are no errors here: a cycle gives them as its result.
_PASSING = (RetryError, UnknownCommitError)


class PatientReader:
    """The reader of a run that follows. `open_reader` opens the tables."""

    def __init__(
        self, reader: SeriesReaders, open_reader: Callable[[], Awaitable[SeriesReaders]], retry: RetryConfig, stop: Stop
    ) -> None:
        self._reader = reader
        self._open = open_reader
        self._retry = retry
        self._stop = stop
        self._failed = False

    @property
    def claims(self) -> Mapping[str, TagClaims]:
        return self._reader.claims

    @property
    def sync(self) -> DatasetSync:
        return self._reader.sync

    async def read(
        self, tags: Sequence[Tag], now: Micros, *, since: float, suspects: Sequence[tuple[Tag, Window]] = ()
    ) -> CycleResult:
        """Read as `SeriesReaders.read` does, again and again if need be. Raises what it raises."""
        first: BaseException | None = None
        for attempt in count(1):
            try:
                if self._failed:
                    self._reader = await self._open()
                    self._failed = False
                return await self._reader.read(tags, now, since=since, suspects=suspects)
            except (RetryError, UnknownCommitError, BaseExceptionGroup) as failure:
                error = main_error(failure)
                if not _passes(failure):
                    raise error from failure
                first = first or error
                self._failed = True
                if attempt >= self._retry.max_attempts or not await self._paused(attempt, error):
                    raise first from failure
        raise AssertionError("the loop has no end")

    async def _paused(self, attempt: int, error: BaseException) -> bool:
        """Wait before the next attempt; False if the run is asked to stop."""
        wait_secs = wait_before(self._retry, attempt)
        LOG.warning("the destination gave out: %s; it is tried again in %.0f s", error, wait_secs)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_secs):
                await self._stop.wait()
        return not self._stop.asked


def wait_before(retry: RetryConfig, attempt: int) -> float:
    """Seconds to wait after this attempt, counted from 1. Pure."""
    return min(retry.max_wait.total_seconds(), retry.initial_wait.total_seconds() * 2.0 ** min(attempt - 1, 60))


def _passes(failure: BaseException) -> bool:
    """Whether all that failed may pass by itself. What one failure cancelled has not failed."""
    if isinstance(failure, BaseExceptionGroup):
        return failure.split((*_PASSING, asyncio.CancelledError))[1] is None and failure.subgroup(_PASSING) is not None
    return isinstance(failure, _PASSING)
