"""One run as a call that blocks: with a display, a log, signals, and an event loop of its own.

For whoever has a configuration and no event loop to spare: the command line, a notebook, a wheel
task. Prints nothing to standard output. Invariant: an interruption is never lost; one that comes
before anything is read ends the run at once, a later one lets it commit what is complete.
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

from .app import run
from .flow.stop import Stop, on_signals
from .model import Tag, Window
from .plan.shards import Shard
from .telemetry.events import Emit, Event, Planned
from .telemetry.log import EventLog
from .telemetry.progress import display_for
from .telemetry.progress_following import display_of_following
from .telemetry.report import RunReport

__all__ = ["run_job", "wait_for"]

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
) -> RunReport:
    """Run to the end and report; `warnings` are passed on into the report. `run_id` names the run in
    logs, commits and metrics: whoever schedules runs has a name for them already. With `follow` the end
    comes when it is asked for; with `suspects` these windows are read again, instead of what is new. `take_over` names
    a pipeline whose tags, as far as they are selected here, belong to this one from then on. With `retry_holes` every
    hole is asked for now, not only those that are due.

    Raises `StopError` where there is nothing to report, and `KeyboardInterrupt` when interrupted
    before there was.
    """
    check_runnable(config)
    if follow:
        check_followable(config)
    display = (display_of_following if follow else display_for)(console or Console(stderr=True))
    log = EventLog(follow=follow)

    def emit(event: Event) -> None:
        display(event)
        log(event)

    try:
        start = partial(
            run,
            config,
            shard=shard or Shard(),
            run_id=run_id,
            follow=follow,
            suspects=suspects,
            take_over=take_over,
            retry_holes=retry_holes,
        )
        report = _in_loop(lambda stop: _interruptible(start, emit, stop))
    finally:
        display.close()
    if report is None:
        raise KeyboardInterrupt
    return replace(report, warnings=(*warnings, *report.warnings))


def wait_for(work: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Wait for work that reads only, and may be broken off. Raises `KeyboardInterrupt` when interrupted."""
    found = _in_loop(lambda stop: _unless_stopped(work, stop))
    if not found:
        raise KeyboardInterrupt
    return found[0]


async def _unless_stopped(work: Callable[[], Coroutine[Any, Any, R]], stop: Stop) -> tuple[R] | None:
    with on_signals(stop):
        working, asked = asyncio.ensure_future(work()), asyncio.ensure_future(stop.wait())
        await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
        for task in (working, asked):
            task.cancel()
        await asyncio.wait((working,))
        return None if working.cancelled() else (working.result(),)


async def _interruptible(
    start: Callable[..., Coroutine[Any, Any, RunReport]], emit: Emit, stop: Stop
) -> RunReport | None:
    """The run, or None if it was asked to stop before it had a plan; after that the run itself listens."""
    planned = False

    def noting(event: Event) -> None:
        nonlocal planned
        planned = planned or isinstance(event, Planned)
        emit(event)

    with on_signals(stop):
        work = asyncio.ensure_future(start(emit=noting, stop=stop))
        asked = asyncio.ensure_future(stop.wait())
        await asyncio.wait((work, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not planned:
            work.cancel()
        await asyncio.wait((work,))
        return None if work.cancelled() else work.result()


def _in_loop(start: Callable[[Stop], Awaitable[R]]) -> R:
    """Wait for what `start` gives, in a thread of its own where a loop already runs here, as in a notebook."""
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
