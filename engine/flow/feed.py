"""The plan, for tasks that wait for work. asyncio only; one event loop owns it."""

from __future__ import annotations

import asyncio

from config.errors import ExtractError

from ..plan.planner import Chunk, Plan

__all__ = ["Feed"]


class Feed:
    """Hands chunks to fetchers; a fetcher waits while all lanes are away and may come back."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._change = asyncio.Event()

    async def next(self) -> Chunk | None:
        """The most urgent chunk, or None when the plan is done or stopped."""
        while (chunk := self.plan.take()) is None:
            if self.plan.done:
                return None
            await self._change.wait()
        return chunk

    def give_back(self, chunk: Chunk) -> None:
        self.plan.give_back(chunk)
        self._change.set()
        self._change = asyncio.Event()

    def stop(self, error: ExtractError | None = None) -> None:
        """Those who wait do so for what is away; when that is given back, they see the end."""
        self.plan.stop(error)
