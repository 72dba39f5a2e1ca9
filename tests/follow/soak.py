"""Follow for some minutes with two classes, and judge it: drift, freshness, memory, the end. `make soak-follow`.

The server and the run are processes of their own; what is judged is seen from outside: tables, memory,
and the lines that the run writes of its cycles.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from config import from_mapping
from engine.flow.stop import Stop, on_signals
from engine.run import run
from engine.telemetry.events import Cycled, HoleNoted, RunEvent
from engine.telemetry.log import EventLog, set_up_logging
from tests.exactness.expected import web_id_of
from tests.exactness.reading import is_table, marks_in
from tests.follow.live import LivePlant, name_of

TAGS, CRITICAL = 1000, 50
INTERVALS = {"critical": 1, "default": 15}
LAG = 1.0
SAMPLE_SECS = 1.0
# A handle of a table takes most memory when it is read anew, after each 100 commits.
WARM_UP_SECS = 150.0

MAX_GROWTH = 0.10
MAX_STOP_SECS = 10.0
MAX_DRIFT_SECS = 0.25


def follow(document: Path, events: Path, die: str = "") -> int:
    """The run, as the process that is watched: its log goes to standard error, its report to standard output.

    `die`: `step:n`, where it kills itself when it comes to this step of a landing for the n-th time.
    """

    config = from_mapping(json.loads(document.read_text())).config
    set_up_logging(Console(stderr=True), level=config.monitoring.log_level, as_json=True)
    log = EventLog(follow=True)
    last_step, _, times = die.partition(":")
    seen = 0

    def on_step(step: str) -> None:
        nonlocal seen
        seen += step == last_step
        if step == last_step and seen == int(times):
            os.kill(os.getpid(), signal.SIGKILL)

    async def main() -> int:
        stop = Stop()
        with events.open("w") as lines, on_signals(stop):

            def take(event: RunEvent) -> None:
                log(event)
                if isinstance(event, Cycled | HoleNoted):
                    lines.write(json.dumps({"event": type(event).__name__, **asdict(event)}, default=repr) + "\n")
                    lines.flush()

            report = await run(config, emit=take, stop=stop, follow=True, on_step=on_step)
            print(json.dumps(report.as_dict(), default=str))
            return report.exit_code

    return asyncio.run(main())


def command(document: Path, events: Path, die: str = "") -> list[str]:
    """Starts `follow` as a process of its own."""
    return [sys.executable, "-m", "tests.follow.soak", "--run", str(document), str(events), "--die", die]


def told(events: Path, name: str) -> list[dict[str, Any]]:
    """The events of this name that the run has told of."""
    lines = map(json.loads, events.read_text().splitlines())
    return [line for line in lines if line["event"] == name]


def growth(memory: Sequence[tuple[float, int]], warm_up_secs: float = WARM_UP_SECS) -> float:
    """By which share memory has grown since the run was warm; prints it."""
    warm = [rss for at, rss in memory if at >= warm_up_secs] or [rss for _, rss in memory]
    first, last = statistics.median(warm[:10]), statistics.median(warm[-10:])
    print(f"memory {first / 2**20:.0f} MiB when warm, {last / 2**20:.0f} MiB at the end: {last / first - 1:+.1%}")
    return last / first - 1


@dataclass
class Seen:
    """What was seen from outside. Behind: seconds, by class; memory: (seconds since the start, bytes)."""

    behind: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in INTERVALS})
    memory: list[tuple[float, int]] = field(default_factory=list)
    cycles: list[dict[str, Any]] = field(default_factory=list)
    stop_secs: float = 0.0
    exit_code: int = 0


def watch(plant: LivePlant, folder: Path, secs: float) -> Seen:
    document, events = folder / "document.json", folder / "events.jsonl"
    classes = [{"name": "critical", "tags": [name_of(n) for n in range(CRITICAL)], "interval": INTERVALS["critical"]}]
    extraction = {"classes": classes, "interval": INTERVALS["default"], "lag": LAG, "discovery_interval": "30s"}
    document.write_text(json.dumps(plant.document(extraction={**plant.document()["extraction"], **extraction})))
    seen, began = Seen(), time.monotonic()
    child = subprocess.Popen(command(document, events), stdout=subprocess.DEVNULL)
    try:
        process = psutil.Process(child.pid)
        while time.monotonic() - began < secs:
            time.sleep(SAMPLE_SECS)
            assert child.poll() is None, f"the run ended by itself with {child.returncode}"
            seen.memory.append((time.monotonic() - began, process.memory_info().rss))
            look(plant, seen)
        asked = time.monotonic()
        child.send_signal(signal.SIGTERM)
        seen.exit_code = child.wait(60)
        seen.stop_secs = time.monotonic() - asked
    finally:
        child.kill()
        child.wait()
    seen.cycles = told(events, "Cycled")
    return seen


def look(plant: LivePlant, seen: Seen) -> None:
    """How far behind the clock each class is; its least fresh tag counts."""
    table, now = plant.table("pi_watermarks"), time.time()
    marks = marks_in(table) if is_table(table) else {}
    if len(marks) < TAGS:
        return
    for name, indexes in (("critical", range(CRITICAL)), ("default", range(CRITICAL, TAGS))):
        seen.behind[name].append(now - min(marks[web_id_of(n)].high for n in indexes) / 1e6)


def judged(seen: Seen) -> list[str]:
    """Print what was seen; give the bars that were missed."""
    missed = []
    longest = max(cycle["seconds"] for cycle in seen.cycles)
    skipped = sum(cycle["skipped"] for cycle in seen.cycles)
    print(f"{len(seen.cycles)} cycles, the longest {longest:.2f} s, {skipped} ticks skipped")
    for name, interval in INTERVALS.items():
        behind, bar = seen.behind[name], interval + LAG + longest
        half, most = statistics.median(behind), max(behind)
        print(
            f"{name}: every {interval} s; behind {half:.2f} s (p50), {most:.2f} s (worst of {len(behind)}), bar {bar:.2f}"
        )
        if most > bar:
            missed.append(f"{name} was {most:.2f} s behind")
    late = [cycle["late_secs"] for cycle in seen.cycles]
    quarter = max(1, len(late) // 4)
    drift = statistics.median(late[-quarter:]) - statistics.median(late[:quarter])
    print(
        f"late {statistics.median(late) * 1000:.1f} ms (p50), {max(late) * 1000:.1f} ms (worst); drift {drift * 1000:.1f} ms"
    )
    if abs(drift) > MAX_DRIFT_SECS:
        missed.append(f"cycles drifted by {drift:.3f} s")
    if (grown := growth(seen.memory)) > MAX_GROWTH:
        missed.append(f"memory grew by {grown:.1%}")
    print(f"told to stop, it took {seen.stop_secs:.2f} s and ended with {seen.exit_code}")
    if seen.stop_secs > MAX_STOP_SECS or seen.exit_code != 0:
        missed.append(f"it took {seen.stop_secs:.1f} s to stop, and ended with {seen.exit_code}")
    return missed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.follow.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to follow (10)")
    parser.add_argument("--run", nargs=2, type=Path, metavar=("DOCUMENT", "EVENTS"), help=argparse.SUPPRESS)
    parser.add_argument("--die", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.run:
        return follow(*given.run, given.die)
    with tempfile.TemporaryDirectory() as folder:
        plant = LivePlant(Path(folder), tags=TAGS, interval_secs=2.0)
        plant.server.start()
        try:
            seen = watch(plant, Path(folder), given.minutes * 60)
        finally:
            plant.server.stop()
        missed = judged(seen)
        plant.assert_exact()
        print("the table is exact")
    for bar in missed:
        print(f"MISSED: {bar}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
