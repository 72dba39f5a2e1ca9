"""Stopping well: a request to stop is a value, wherever it comes from. Signals are its usual source."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

__all__ = ["Stop", "on_signals"]

R = TypeVar("R")


class Stop:
    """Asked once: finish what is in flight and commit. Asked twice: abandon what is in flight."""

    def __init__(self) -> None:
        self.reason = ""
        self._asked = asyncio.Event()
        self._insisted = asyncio.Event()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self, reason: str) -> None:
        if self.asked:
            self._insisted.set()
            return
        self.reason = reason
        self._asked.set()

    async def wait(self) -> None:
        await self._asked.wait()

    async def unless_asked(self, work: Coroutine[Any, Any, R]) -> R | None:
        """What the work gives; None where we are asked to stop before it does, and it is abandoned."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            stopping.cancel()

    async def wait_insisted(self, grace_secs: float) -> None:
        """Until asked a second time, or the grace period is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_secs):
                await self._insisted.wait()


@contextlib.contextmanager
def on_signals(stop: Stop) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and the end of the terminal (unless nohup has it ignored) into `stop.ask` for the duration; a
    no-op outside the main thread.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signals = [number for number, handler in before.items() if handler is not signal.SIG_IGN or number != signal.SIGHUP]
    for number in signals:
        loop.add_signal_handler(number, stop.ask, signal.Signals(number).name)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
