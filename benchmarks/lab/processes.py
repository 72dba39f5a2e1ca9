"""Starts measured programs in processes of their own, so that their memory and processor time are separate.

Everything measured runs on the same cores (two, where there are more): a ratio between a run that had
two cores and a limit that had sixteen says nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml

from benchmarks.lab import ROOT

__all__ = ["CORES", "ChildError", "ChildResult", "SimulatorProcess", "claim_cores", "json_of", "plant", "run_child"]

CORES = 2


def claim_cores() -> int:
    """Keep this process and its children on two cores; how many there really are to use."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))[:CORES]
        os.sched_setaffinity(0, allowed)
        return len(allowed)
    return min(CORES, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class ChildResult:
    """A child process that has ended: its output, what it used, and what it said on standard error."""

    output: str
    cpu_seconds: float
    peak_rss_bytes: int
    exit_code: int
    errors: str


class ChildError(RuntimeError):
    """A measured process failed; the message ends with its last output."""


def run_child(arguments: Sequence[str], *, allowed_codes: Sequence[int] = (0,)) -> ChildResult:
    """Run `python <arguments>` to its end. Raises `ChildError` with the end of its output."""
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        with _collected(child.stderr) as said:
            output = child.stdout.read()
        # wait4 alone tells what this child used, and not what others did meanwhile.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in allowed_codes:
        tail = "".join(said)[-2000:].strip()
        raise ChildError(f"{' '.join(arguments[:3])} ended with {child.returncode}: {tail}")
    scale = 1 if sys.platform == "darwin" else 1024
    used = usage.ru_utime + usage.ru_stime
    return ChildResult(output, used, usage.ru_maxrss * scale, child.returncode, "".join(said))


@contextlib.contextmanager
def _collected(stream: Any) -> Iterator[list[str]]:
    """Read a pipe on a thread, so that the child never waits for us."""
    from threading import Thread

    said: list[str] = []
    reader = Thread(target=lambda: said.extend(stream), daemon=True)
    reader.start()
    try:
        yield said
    finally:
        reader.join()


def json_of(finished: ChildResult) -> dict[str, Any]:
    """The JSON object that a child printed."""
    found: dict[str, Any] = json.loads(finished.output)
    return found


@dataclass(frozen=True, slots=True)
class SimulatorProcess:
    """A running simulator."""

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def control(self, route: str, body: object = None) -> dict[str, Any]:
        """Ask a control route of the simulator, or post to it."""
        url = f"{self.url.removesuffix('/piwebapi')}/simulator/{route}"
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def requests(self) -> int:
        """How many requests the simulator has been asked so far."""
        return int(self.control("requests")["Requests"])


@contextlib.contextmanager
def plant(settings: Mapping[str, Any], *, faults: Mapping[str, Any] | None = None) -> Iterator[SimulatorProcess]:
    """Run the simulator in a process of its own while the context is open.

    `settings` are its command-line options (tags, interval, seed, now, begin, profile), `faults` a plan.
    """
    with (
        _plan_file(faults) as plan,
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "engine",
                "simulate",
                *(f"--{k.replace('_', '-')}={v}" for k, v in settings.items()),
                *plan,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as child,
    ):
        try:
            assert child.stdout is not None
            first = child.stdout.readline()
            if not first.startswith("listening on "):
                raise ChildError(f"the simulator did not start: {first.strip() or 'it said nothing'}")
            yield SimulatorProcess(first.removeprefix("listening on ").strip(), psutil.Process(child.pid))
        finally:
            _end(child)


@contextlib.contextmanager
def _plan_file(faults: Mapping[str, Any] | None) -> Iterator[list[str]]:
    if not faults:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(dict(faults), file)
        file.flush()
        yield [f"--faults={file.name}"]


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    until = time.monotonic() + 10
    while child.poll() is None and time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.5)
    if child.poll() is None:
        child.kill()
