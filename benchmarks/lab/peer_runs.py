"""The engine and its peers as programs that are started in the same way: a window and a folder, in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from benchmarks.lab import ROOT
from benchmarks.lab.engine import configuration
from benchmarks.lab.processes import ChildResult, SimulatorProcess, run_child
from benchmarks.lab.windows import TimeSpan

Settings = Mapping[str, Any]
_POLL_SECS = 0.002


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that fills a table. One that `remembers` goes on from what it has; the others read the window they are given."""

    name: str
    script: str
    table: str
    remembers: bool

    def arguments(self, url: str, folder: Path, span: TimeSpan, settings: Settings) -> list[str]:
        """What Python is started with, to read the window into the folder."""
        own = settings.get(self.name, {})
        if not self.script:
            file = folder / "config.yaml"
            file.write_text(yaml.safe_dump(configuration(url, folder, span, own)), encoding="utf-8")
            return ["-m", "engine", "run", "-c", str(file), "--json"]
        start, end = span.texts
        where = {"folder": str(folder)} if self.remembers else {"table": str(folder / self.table)}
        return [f"benchmarks/{self.script}", json.dumps({"url": url, **where, "start": start, "end": end, **own})]

    def later(self, first: TimeSpan, second: TimeSpan) -> TimeSpan:
        """What it is asked to read after the window `first`, so that it has `second`, too."""
        return TimeSpan(first.start, second.end) if self.remembers else second

    def table_in(self, folder: Path) -> Path:
        return folder / self.table


PEERS = (
    Peer("engine", "", "main/bronze/pi_timeseries", remembers=True),
    Peer("naive", "naive.py", "naive", remembers=False),
    Peer("sequential", "sequential.py", "sequential", remembers=False),
    Peer("dlt_append", "dlt_reader.py", "bronze/pi_timeseries", remembers=True),
    Peer("dlt_merge", "dlt_reader.py", "bronze/pi_timeseries", remembers=True),
)


def peers_here() -> list[Peer]:
    """The peers that can be measured: those of dlt only where dlt is installed."""
    return [peer for peer in PEERS if peer.script != "dlt_reader.py" or find_spec("dlt") is not None]


def run_peer(
    peer: Peer,
    site: SimulatorProcess,
    folder: Path,
    span: TimeSpan,
    settings: Settings,
    *,
    allowed_codes: Sequence[int] = (0,),
) -> ChildResult:
    """Run to the end. Raises `ChildError` for an exit code that is not allowed."""
    return run_child(peer.arguments(site.url, folder, span, settings), allowed_codes=allowed_codes)


def is_killed_when(
    is_time: Callable[[], bool], peer: Peer, site: SimulatorProcess, folder: Path, span: TimeSpan, settings: Settings
) -> bool:
    """Kill it as soon as it is time. Returns whether it was still at work then."""
    with subprocess.Popen(
        [sys.executable, *peer.arguments(site.url, folder, span, settings)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        while child.poll() is None and not is_time():
            time.sleep(_POLL_SECS)
        child.kill()
    return child.returncode == -signal.SIGKILL


def has_rows(table: Path) -> bool:
    """Whether a commit of the table has added a file."""
    return any(b'"add"' in entry.read_bytes() for entry in (table / "_delta_log").glob("*.json"))
