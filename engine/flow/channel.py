"""A queue that is bounded in bytes. Room is reserved before the bytes exist.

A fetcher reserves room for an answer before it sends the request. The room is freed when the committer has staged the
rows. So one bound holds for requests in flight, decoding and waiting batches, and a slow destination slows the source.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Bytes and items now, and the peak of bytes."""

    used_bytes: int
    peak_bytes: int
    waiting: int
    items: int


class Room:
    """A reservation; `resize` to the true size when it is known, `free` when the bytes are gone."""

    def __init__(self, channel: Channel[T], size_bytes: int) -> None:
        self._channel = channel
        self.size_bytes = size_bytes

    def resize(self, size_bytes: int) -> None:
        self._channel._grow(size_bytes - self.size_bytes)  # noqa: SLF001 - two halves of one thing
        self.size_bytes = size_bytes

    def free(self) -> None:
        self.resize(0)


class Channel(Generic[T]):
    """First in, first out. One consumer; any number of producers, served in order."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._used = 0
        self._peak = 0
        self._items: deque[tuple[T, Room]] = deque()
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._ready = asyncio.Event()
        self._closed = False

    def __repr__(self) -> str:
        return f"Channel({self._used}/{self.max_bytes} bytes, {len(self._items)} items, {len(self._waiters)} waiting)"

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(self._used, self._peak, len(self._waiters), len(self._items))

    async def reserve(self, size_bytes: int) -> Room:
        """Wait for room. A size above the bound counts as the bound: it gets the whole channel.

        Cancelled while waiting, it leaves the channel unchanged.
        """
        size = min(size_bytes, self.max_bytes)
        if self._waiters or self._used + size > self.max_bytes:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (size, waiter)
            self._waiters.append(entry)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._grow(-size)  # granted in the same moment
                else:
                    self._waiters.remove(entry)
                    self._grant()
                raise
        else:
            self._grow(size)
        return Room(self, size)

    def put(self, item: T, room: Room) -> None:
        """Hand over an item with its room. Never waits: the room was reserved before."""
        if self._closed:
            raise RuntimeError("put on a closed channel")
        self._items.append((item, room))
        self._ready.set()

    async def get(self) -> tuple[T, Room] | None:
        """The next item, or None when the channel is closed and empty. Loses nothing when cancelled."""
        while not self._items:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()

    def close(self) -> None:
        """Nothing more will be put; what is there can still be taken."""
        self._closed = True
        self._ready.set()

    def _grow(self, size_bytes: int) -> None:
        self._used += size_bytes
        self._peak = max(self._peak, self._used)
        if size_bytes < 0:
            self._grant()

    def _grant(self) -> None:
        while self._waiters:
            size, waiter = self._waiters[0]
            if self._used + size > self.max_bytes:
                return
            self._waiters.popleft()
            if not waiter.cancelled():
                self._used += size
                self._peak = max(self._peak, self._used)
                waiter.set_result(None)
