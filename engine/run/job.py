"""A run as a blocking call, with display, log, signals and an event loop of its own.

For the command line, notebooks and wheel tasks. Prints nothing to standard output. Invariant: an interruption is never
lost. Before values are read it ends the run at once; later the run commits what is complete, and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from rich.console import Console

from config import Config, check_followable, check_runnable

from ..flow.stop import Stop, on_signals
from ..model import Tag, Window
from ..plan.shards import Shard
from ..telemetry.console import PrintableConsole
from ..telemetry.events import RunEvent
from ..telemetry.log import EventLog
from ..telemetry.progress import Display, display_for
from ..telemetry.progress_following import display_of_following
from ..telemetry.report import RunReport
from . import run

R = TypeVar("R")


def run_job(
    config: Config,
    *,
    shard: Shard | None = None,
    run_id: str | None = None,
    console: Console | None = None,
    warnings: tuple[str, ...] = (),
    follow: bool = False,
    suspects: Sequence[tuple[Tag, Window]] | None = None,
    take_over: str | None = None,
    retry_holes: bool = False,
    display: Display | None = None,
) -> RunReport:
    """Run to the end and report. `engine.run.run` says what the arguments mean.

    `run_id`: the name of the run in logs, commits and metrics, if a scheduler has one for it.
    `warnings`: what the report says besides its own warnings. `display`: what shows the progress in place of the
    console.

    Raises `StopError` where there is nothing to report, and `KeyboardInterrupt` when interrupted before there was.
    """
    check_runnable(config)
    if follow:
        check_followable(config)
    if display is None:
        display = (display_of_following if follow else display_for)(console or PrintableConsole(stderr=True))
    log = EventLog(follow=follow)

    def emit(event: RunEvent) -> None:
        display(event)
        log(event)

    try:
        start = partial(
            run,
            config,
            emit=emit,
            shard=shard or Shard(),
            run_id=run_id,
            follow=follow,
            suspects=suspects,
            take_over=take_over,
            retry_holes=retry_holes,
        )
        report = wait_until_stopped(lambda stop: start(stop=stop))
    finally:
        display.close()
    return replace(report, warnings=(*warnings, *report.warnings))


def wait_for(work: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Wait for work that only reads, and may be cancelled. Raises `KeyboardInterrupt` when interrupted."""
    return wait_until_stopped(lambda _stop: work())


def wait_until_stopped(work: Callable[[Stop], Coroutine[Any, Any, R]]) -> R:
    """Wait for work that may heed a stop. Raises `KeyboardInterrupt` when interrupted before it does."""

    async def main(stop: Stop) -> tuple[R] | None:
        with on_signals(stop):
            return await unless_stopped(work(stop), stop)

    found = _in_loop(main)
    if not found:
        raise KeyboardInterrupt
    return found[0]


async def unless_stopped(work: Coroutine[Any, Any, R], stop: Stop) -> tuple[R] | None:
    """The result, or None if asked to stop first. Work that heeds a stop itself is not cancelled."""
    working, asked = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not stop.heeded:
        working.cancel()
    await asyncio.wait((working,))
    return None if working.cancelled() else (working.result(),)


def _in_loop(start: Callable[[Stop], Awaitable[R]]) -> R:
    """Wait for the result of `start`: in a thread of its own where a loop already runs, as in a notebook."""
    begun: Future[tuple[asyncio.AbstractEventLoop, Stop]] = Future()

    async def main() -> R:
        stop = Stop()
        begun.set_result((asyncio.get_running_loop(), stop))
        return await start(stop)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    with ThreadPoolExecutor(1, thread_name_prefix="osipi-run") as pool:
        done = pool.submit(asyncio.run, main())

        def ask(reason: str) -> None:
            loop, stop = begun.result()
            with contextlib.suppress(RuntimeError):  # the loop has just ended, and the run with it
                loop.call_soon_threadsafe(stop.ask, reason)

        with _on_terminate(lambda: ask("SIGTERM")):
            while True:
                try:
                    return done.result()
                except KeyboardInterrupt:
                    if done.done():
                        raise
                    ask("interrupted")


@contextlib.contextmanager
def _on_terminate(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` on SIGTERM; a no-op outside the main thread. SIGINT comes as KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: ask())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
