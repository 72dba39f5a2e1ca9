"""Runs in processes of their own, that can be killed, stopped and interrupted at any step.

The processes are forked from one that has imported the product, so that a run begins within
milliseconds of its start, and a kill meets the run instead of Python's imports.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.exactness.plant import Plant, settings
from tests.patience import HANGS_AFTER_SECS

__all__ = ["Ended", "Process", "at_once", "command", "forked", "redirect", "run_of", "served", "until"]

_FORKS = multiprocessing.get_context("forkserver")
_REPOSITORY = Path(__file__).parent.parent.parent


def at_once() -> None:
    """Start the process that all runs are forked from, with everything imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(_REPOSITORY))
        _FORKS.set_forkserver_preload(
            [*("engine.run.once", "engine.run.job", "engine.cli", "tests.crash.process"), "hypothesis", "writers.unity"]
        )
        with _hangups_heard():
            multiprocessing.forkserver.ensure_running()


@contextmanager
def _hangups_heard() -> Iterator[None]:
    """Under nohup SIGHUP is ignored, and what a process ignores its children ignore, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def forked(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that has begun with this call, forked from the one that has imported the product."""
    at_once()
    process = _FORKS.Process(target=target, args=arguments)
    process.start()
    return process


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process left behind. A killed one has a negative code and no report."""

    code: int
    report: dict[str, Any] | None
    error: str
    output: str


class Process:
    """One run on its way."""

    def __init__(self, target: Callable[..., None], folder: Path, *arguments: Any) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._process = _FORKS.Process(target=target, args=(str(folder), *arguments))
        self._process.start()

    def __repr__(self) -> str:
        return f"Process({self._process.pid}, {self._process.exitcode})"

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def is_stopped(self) -> bool:
        """Whether the process stands still, as after a SIGSTOP."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] == "T"

    def reached(self) -> list[str]:
        """The steps it has come to so far."""
        try:
            return (self._folder / "steps").read_text().split()
        except FileNotFoundError:
            return []

    async def wait(self, secs: float) -> None:
        """Let it work for so long, or until it ends."""
        await asyncio.to_thread(self._process.join, secs)

    async def end(self, timeout_secs: float = HANGS_AFTER_SECS) -> Ended:
        """Wait for its end. One that does not come to an end is killed, and fails the test."""
        await self.wait(timeout_secs)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise AssertionError(f"the run did not end: {self.output()}")
        report = self._folder / "report.json"
        error = self._folder / "error"
        return Ended(
            code,
            json.loads(report.read_text() or "null") if report.exists() else None,
            error.read_text() if error.exists() else "",
            self.output(),
        )

    def output(self) -> str:
        try:
            return (self._folder / "output").read_text()
        except FileNotFoundError:
            return ""


def run_of(folder: Path, document: Mapping[str, Any], **options: Any) -> Process:
    """A run of `engine.run` of this configuration.

    `shard` is (index, count); `at` names a step and which time it is reached; `send` is the signal the
    process then sends to itself, or with `full` no file can be written from then on. With `repair` it is
    what `verify --deep --repair` does with all that is done. `take_over` and `retry_holes` are as the command has them.
    """
    return Process(_run, folder, dict(document), options)


def command(folder: Path, *arguments: str) -> Process:
    """`python -m engine ARGUMENTS`."""
    return Process(_command, folder, list(arguments))


def redirect(folder: str) -> None:
    """Let what this process says go to a file."""
    output = os.open(f"{folder}/output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _run(folder: str, document: dict[str, Any], options: dict[str, Any]) -> None:
    from config import from_mapping
    from config.errors import ExtractError
    from engine.commands.verify.compute import Scope, all_suspects
    from engine.plan.shards import Shard
    from engine.run import run

    redirect(folder)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if "max_file_bytes" in options:
        _limit_files(options["max_file_bytes"])
    wanted, times = options.get("at", ("", 0))
    count = 0

    def on_step(step: str) -> None:
        nonlocal count
        if not (options.get("full") and count >= times):
            with Path(folder, "steps").open("a") as steps:
                steps.write(f"{step}\n")
        count += step == wanted
        if step == wanted and count == times:
            _limit_files(0) if options.get("full") else os.kill(os.getpid(), options.get("send", signal.SIGKILL))

    shard = Shard(*options.get("shard", (0, 1)))
    config = from_mapping(document).config
    suspects = asyncio.run(all_suspects(config, Scope())) if options.get("repair") else None
    try:
        report = asyncio.run(
            run(
                config,
                shard=shard,
                on_step=on_step,
                run_id=options.get("run_id"),
                suspects=suspects,
                take_over=options.get("take_over"),
                retry_holes=options.get("retry_holes", False),
            )
        )
    except ExtractError as error:
        _limit_files(resource.RLIM_INFINITY)
        Path(folder, "error").write_text(f"{type(error).__name__}: {error.message}\n{error.hint}")
        sys.exit(error.exit_code)
    Path(folder, "report.json").write_text(json.dumps(report.as_dict()))
    sys.exit(report.exit_code)


def _limit_files(most_bytes: int) -> None:
    """Let no file grow beyond: writing fails as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))


def _command(folder: str, arguments: list[str]) -> None:
    from engine.cli import main

    redirect(folder)
    if "--json" in arguments:
        sys.stdout = Path(folder, "report.json").open("w")  # noqa: SIM115 - until the process ends
    code = main(arguments)
    sys.stdout.flush()
    sys.exit(code)


@asynccontextmanager
async def served(plant: Plant, now: int | Callable[[], float], faults: Any = None) -> AsyncIterator[Callable[..., Any]]:
    """The plant's server, for runs in other processes; gives what makes configurations for it."""
    simulator = plant.simulator(0 if callable(now) else now, faults, clock=now if callable(now) else None)
    async with simulator.serve() as url:

        def document(**sections: Any) -> dict[str, Any]:
            shared = settings(plant.root, url, **plant.sections)
            for section, values in sections.items():
                shared[section] = {**shared.get(section, {}), **values} if isinstance(values, Mapping) else values
            return shared

        yield document


async def until(reached: Callable[[], bool], secs: float = HANGS_AFTER_SECS) -> None:
    """Wait for something another process does."""
    async with asyncio.timeout(secs):
        while not reached():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.02)
