"""`run --on spark` with more and more tasks, against a server that answers slowly: what tasks add, and what the ceiling allows.

Each run has a Spark of its own on this machine. How often the server was asked is read in the log of the simulator.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import urllib.request
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lab.engine import check_exact, configuration
from benchmarks.lab.processes import ChildError, SimulatorProcess, plant
from benchmarks.lab.windows import TimeSpan, expected_events
from tests.spark.on_spark import command
from tests.unity.jars import cached

Settings = Mapping[str, Any]
Say = Callable[[str], None]
NOT_HERE = "Spark is not here for this Python: `make spark` fetches it, and Java has to be installed"


def is_measurable() -> bool:
    """Whether there is a Spark, for this Python, and a Java."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    spark = cached("spark-4.0.1")
    return shutil.which("java") is not None and (spark / "complete").exists() and (spark / "lib" / python).exists()


def measure(settings: Settings, _scale: str, say: Say) -> dict[str, Any]:
    """Read with each number of tasks, each time as long. Raises `RuntimeError` where there is no Spark."""
    if not is_measurable():
        raise RuntimeError(NOT_HERE)
    runs = {}
    for name, chosen in settings["runs"].items():
        runs[name] = found = _run(settings, **chosen)
        say(
            f"{name}: {found['requests_per_second']:.1f} requests/s, {found['events_per_second']:,.0f} events/s, "
            f"at most {found['most_in_a_second']} requests in a second, {found['seconds']:.1f} s in all"
        )
    return {"figures": figures_of(runs, settings), "runs": {name: [found] for name, found in runs.items()}}


def figures_of(runs: Mapping[str, Mapping[str, Any]], settings: Settings) -> dict[str, float]:
    """Of each run its rates, and what its rate is of that of the first run times its tasks. How far the ceiling is used."""
    first, ceiling = next(iter(runs.values())), settings["ceiling"]
    of_a_task = first["requests_per_second"] / first["tasks"]
    figures: dict[str, float] = {"ceiling": ceiling}
    for name, run in runs.items():
        figures |= {f"{name}_{figure}": run[figure] for figure in _FIGURES}
        figures[f"{name}_of_linear"] = run["requests_per_second"] / (of_a_task * run["tasks"])
    figures["share_of_ceiling"] = max(run["requests_per_second"] for run in runs.values()) / ceiling
    figures["most_of_ceiling"] = max(run["most_in_a_second"] for run in runs.values()) / ceiling
    return figures


_FIGURES = ("tasks", "requests", "requests_per_second", "events_per_second", "most_in_a_second", "seconds")


def most_within(arrivals: Sequence[float], secs: float) -> int:
    """The most requests that came within so many seconds, wherever these begin."""
    return max((bisect_left(arrivals, begin + secs) - at for at, begin in enumerate(arrivals)), default=0)


def _run(settings: Settings, *, tasks: int, in_flight: int, length: str) -> dict[str, Any]:
    span = TimeSpan.of(settings["start"], length)
    delay = {"rules": [{"match": {"scope": "outer"}, "do": {"delay_secs": settings["latency_ms"] / 1000}}]}
    expected = expected_events(settings["plant"], span)
    polite = {"max_requests_per_second": settings["ceiling"], "max_in_flight": in_flight}
    with (
        plant(settings["plant"], faults=delay) as site,
        tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as name,
    ):
        folder = Path(name)
        document = configuration(site.url, folder / "lake", span, {**settings["config"], "pi_web_api": polite})
        report = asyncio.run(_report(folder / "run", document, tasks))
        check_exact(report["tables"]["pi_timeseries"], expected)
        logged = _arrivals(site)
    values = [secs for secs, what in logged if what == "batch"]
    rate = most_within(values, settings["rate_over_secs"]) / settings["rate_over_secs"]
    return {
        "tasks": tasks,
        "in_flight": in_flight,
        "events": sum(expected.values()),
        "requests": len(logged),
        "requests_for_values": len(values),
        "requests_per_second": rate,
        "events_per_second": rate * sum(expected.values()) / len(values),
        "most_in_a_second": most_within([secs for secs, _ in logged], 1.0),
        "reading_seconds": round(values[-1] - values[0], 3),
        "seconds": report["duration_seconds"],
    }


async def _report(folder: Path, document: Mapping[str, Any], tasks: int) -> Mapping[str, Any]:
    async with command(folder, document, "--shares", str(tasks), master=f"local[{tasks}]") as run:
        ended = await run.end()
    if ended.code:
        raise ChildError(f"the run on Spark ended with {ended.code}: {ended.log[-2000:].strip()}")
    return ended.report


def _arrivals(site: SimulatorProcess) -> list[tuple[float, str]]:
    url = site.url.removesuffix("/piwebapi") + "/simulator/requests"
    with urllib.request.urlopen(url) as answer:
        return [(secs, what) for secs, what in json.load(answer)["Arrivals"]]
