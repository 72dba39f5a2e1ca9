"""Blocking calls that nobody waits for once they are of no use any more. asyncio and threads; knows no caller.

asyncio waits for its threads at the end of a loop, and Python for all that are no daemons at the end of the
process. A workspace or a KDC may be silent for minutes, and whoever is told to stop meanwhile has to stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["abandonable"]

R = TypeVar("R")


async def abandonable(call: Callable[[], R]) -> R:
    """What `call` gives or raises. It must change nothing: cancelled, it is left to itself."""
    done: Future[R] = Future()
    done.set_running_or_notify_cancel()  # from here on it has an outcome, whoever still wants it

    def work() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is for who awaits it
            done.set_exception(error)

    threading.Thread(target=work, name="osipi-abandonable", daemon=True).start()
    return await asyncio.wrap_future(done)
