"""Blocking calls that a cancelled task need not wait for.

asyncio waits for its own threads when a loop ends, and Python for all threads that are no daemons when the process
ends. A workspace or a KDC may not answer for minutes, and a run that is asked to stop meanwhile has to stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

R = TypeVar("R")


async def in_daemon_thread(call: Callable[[], R]) -> R:
    """Give what `call` returns, or raise what it raises. It must change nothing: when cancelled, it still runs on."""
    done: Future[R] = Future()
    done.set_running_or_notify_cancel()  # from here on it cannot be cancelled

    def work() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            done.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), name="osipi-daemon-call", daemon=True).start()
    return await asyncio.wrap_future(done)
