"""Work under a lease that is kept alive. asyncio; the lease's own calls block, on threads.

Invariant: whoever has lost the lease does not go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from config.errors import ExpiredError, ExtractError, RetryError, StorageError
from writers import Lease

__all__ = ["under"]

LOG = logging.getLogger("osipi.run")
R = TypeVar("R")


async def under(lease: Lease, work: Coroutine[Any, Any, R]) -> R:
    """Work while the lease is kept alive; losing it ends the work."""
    task: asyncio.Task[R] | None = None
    try:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(_keep(lease), name="lease")
            task = group.create_task(work, name="work")
            await asyncio.wait([task])
            keeper.cancel()
    except BaseExceptionGroup as failures:
        raise _first(failures) from failures
    return task.result()


async def _keep(lease: Lease) -> None:
    """Renew the lease until cancelled. Raises `FencedError` when another run has taken it.

    A store that does not take the renewal now may take it in a second. Should a rival start meanwhile,
    the next commit is fenced: the lease is a courtesy, not the guard.
    """
    while True:
        await asyncio.sleep(lease.renew_secs)
        try:
            await asyncio.to_thread(lease.renew)
        except (StorageError, RetryError, ExpiredError) as error:
            LOG.warning("the lease was not renewed: %s", error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that matters of a group: one of ours before a bug, a bug before a cancellation."""
    leaves = [_first(e) if isinstance(e, BaseExceptionGroup) else e for e in group.exceptions]
    return next((e for e in leaves if isinstance(e, ExtractError)), leaves[0])
