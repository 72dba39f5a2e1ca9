"""Following by a clock that leaps from one cycle to the next: days pass in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

from engine.run import follow
from tests.leaping import leaping

__all__ = ["in_virtual_time"]

R = TypeVar("R")


def in_virtual_time(work: Coroutine[Any, Any, R]) -> R:
    """Run `work`, and what it follows, by a clock that leaps."""
    with leaping() as (loop, clock), patch.object(follow, "monotonic", clock):
        return loop.run_until_complete(asyncio.wait_for(work, 10**9))
