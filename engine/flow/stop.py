"""Requests to stop a run, usually from signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

R = TypeVar("R")

# Windows has no SIGHUP; its SIGBREAK comes from Ctrl-Break and from programs that run services.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Stop:
    """Asked once: finish what is in flight and commit. Asked twice: abandon what is in flight."""

    def __init__(self) -> None:
        self.reason = ""
        self.heeded = False
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

    def heed(self) -> None:
        """Say that the run ends by itself from now on when it is asked to; before that, it is cancelled."""
        self.heeded = True

    async def wait(self) -> None:
        await self._asked.wait()

    async def unless_asked(self, work: Coroutine[Any, Any, R]) -> R | None:
        """The result of the work; None if a stop is asked for first, and the work is cancelled."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            stopping.cancel()

    async def wait_insisted(self, grace_secs: float) -> None:
        """Wait until a stop is asked for a second time, or the grace period is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_secs):
                await self._insisted.wait()


@contextlib.contextmanager
def on_signals(stop: Stop) -> Iterator[None]:
    """Turn SIGINT, SIGTERM, SIGBREAK and the end of the terminal (unless nohup has it ignored) into `stop.ask` for the
    duration; a no-op outside the main thread.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    signals = [number for number, handler in before.items() if handler is not signal.SIG_IGN or number.name != "SIGHUP"]
    for number in signals:
        _listen(loop, number, stop)
    try:
        yield
    finally:
        for number in signals:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def _listen(loop: asyncio.AbstractEventLoop, number: signal.Signals, stop: Stop) -> None:
    try:
        loop.add_signal_handler(number, stop.ask, number.name)
    except NotImplementedError:  # on Windows, where the loop wakes up for a plain handler
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(stop.ask, number.name))
