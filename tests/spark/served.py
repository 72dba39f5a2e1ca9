"""A simulator that is served from a thread, for tests that wait for Spark meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from engine.simulator import Simulator

__all__ = ["served"]


@contextmanager
def served(simulator: Simulator) -> Iterator[str]:
    """Serve it; gives the base URL."""
    address: Future[str] = Future()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with simulator.serve() as url:
            address.set_result(url)
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        yield address.result(timeout=30)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
