"""An event loop whose time leaps from one thing to wait for to the next: days pass in milliseconds.

A busy machine makes such a test slower, and changes nothing of what it sees.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

__all__ = ["in_leaping_time", "leaping"]

R = TypeVar("R")

# Bytes between two sockets of this process are there at once, or when the kernel comes to it. A leap that is
# long enough to fire a time-out waits for them so long first.
_SHORT_LEAP_SECS = 0.02
_KERNEL_SECS = 0.05


class _Leaping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and self._has_sockets() and (timeout is None or timeout > _SHORT_LEAP_SECS):
            ready = super().select(_KERNEL_SECS)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing is going to happen"
            self.now += timeout
        return ready

    def _has_sockets(self) -> bool:
        return len(self.get_map()) > 1  # the first is the loop's own


@contextmanager
def leaping() -> Iterator[tuple[asyncio.AbstractEventLoop, Callable[[], float]]]:
    """A loop, and its clock."""
    selector = _Leaping()
    loop = asyncio.SelectorEventLoop(selector)
    with patch.object(loop, "time", lambda: selector.now):
        try:
            yield loop, lambda: selector.now
        finally:
            loop.close()


def in_leaping_time(work: Coroutine[Any, Any, R]) -> R:
    """Run `work`, its clients and servers, and the throttlers between them, by a clock that leaps."""
    with leaping() as (loop, clock), patch("asyncio_throttle.throttler.time", SimpleNamespace(monotonic=clock)):
        return loop.run_until_complete(asyncio.wait_for(work, 10**6))
