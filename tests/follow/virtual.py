"""An event loop whose time leaps from one thing to wait for to the next: days pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

from engine import follow

__all__ = ["in_virtual_time"]

R = TypeVar("R")


class _Leaping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing is going to happen"
            self.now += timeout
        return ready


def in_virtual_time(work: Coroutine[Any, Any, R]) -> R:
    """Run `work`, and what it follows, by a clock that leaps."""
    selector = _Leaping()
    loop = asyncio.SelectorEventLoop(selector)
    with patch.object(loop, "time", lambda: selector.now), patch.object(follow, "monotonic", lambda: selector.now):
        try:
            return loop.run_until_complete(asyncio.wait_for(work, 10**9))
        finally:
            loop.close()
