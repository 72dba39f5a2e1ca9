"""Runs work while its lease is renewed. A run that has lost its lease is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from config.errors import ExtractError, FencedError
from writers import Lease

LOG = logging.getLogger("osipi.run")
R = TypeVar("R")


async def run_with_lease(lease: Lease, work: Coroutine[Any, Any, R]) -> R:
    """Await the work and renew the lease meanwhile. Losing the lease cancels the work."""
    task: asyncio.Task[R] | None = None
    try:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(_keep(lease), name="lease")
            task = group.create_task(work, name="work")
            await asyncio.wait([task])
            keeper.cancel()
    except BaseExceptionGroup as failures:
        raise main_error(failures) from failures
    return task.result()


async def _keep(lease: Lease) -> None:
    """Renew the lease until cancelled. Raises `FencedError` when another run has taken it.

    Any renewal that fails is only logged, since the next one may succeed; where it never does, the
    work meets the same. If another run starts meanwhile, the next commit is fenced: the lease is not what guarantees
    exactly-once.
    """
    while True:
        await asyncio.sleep(lease.renew_secs)
        try:
            await asyncio.to_thread(lease.renew)
        except FencedError:
            raise
        except ExtractError as error:
            LOG.warning("the lease was not renewed: %s", error)


def main_error(failure: BaseException) -> BaseException:
    """The most important error of a group: first our own errors, then bugs, then cancellations. Any other is itself."""
    if not isinstance(failure, BaseExceptionGroup):
        return failure
    leaves = [main_error(each) for each in failure.exceptions]
    return next((e for e in leaves if isinstance(e, ExtractError)), leaves[0])
