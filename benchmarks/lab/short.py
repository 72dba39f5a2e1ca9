"""Short runs, as whole processes: from the start of Python to its end, beside peers that promise less.

The peers take turns with the engine in one run. The best of the turns counts, for each of them. Of a short run most is
starting, so the time of the process counts here, and not that of the report.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.lab.engine import check_exact, configuration
from benchmarks.lab.processes import ChildResult, SimulatorProcess, json_of, plant, run_child
from benchmarks.lab.windows import TimeSpan, expected_events

__all__ = ["measure"]

Say = Callable[[str], None]
Settings = Mapping[str, Any]
PEERS = ("naive", "sequential")


def measure(settings: Settings, _scale: str, say: Say) -> dict[str, Any]:
    """Run each size with its peers. A figure with the name of a peer is the share of the engine in what the peer takes."""
    figures: dict[str, float] = {}
    runs: dict[str, Any] = {}
    for name, size in settings["sizes"].items():
        found = _measured({**settings, **size}, say)
        best = {who: {key: min(run[key] for run in each) for key in each[0]} for who, each in found.items()}
        runs[name] = found
        figures |= {f"{name}_{key}": best["engine"][key] for key in ("wall_seconds", "cpu_seconds")}
        for peer in PEERS:
            for key in ("wall", "cpu"):
                figures[f"{name}_{key}_to_{peer}"] = best["engine"][f"{key}_seconds"] / best[peer][f"{key}_seconds"]
    for key in ("wall", "cpu"):
        figures[f"highest_{key}"] = max(value for name, value in figures.items() if f"_{key}_to_" in name)
    return {"figures": figures, "runs": runs}


def _measured(settings: Settings, say: Say) -> dict[str, list[dict[str, float]]]:
    site_of = {**settings["plant"], "tags": settings["tags"]}
    span = TimeSpan.of(settings["start"], settings["length"])
    expected = expected_events(site_of, span)
    found: dict[str, list[dict[str, float]]] = {who: [] for who in ("engine", *PEERS)}
    with plant(site_of) as site:
        for turn in range(settings["repeats"]):
            for who, runs in found.items():
                run = _once(who, site, settings, span, expected)
                runs.append(run)
                took = f"{run['wall_seconds']:.2f} s, {run['cpu_seconds']:.2f} s of processor"
                say(f"{settings['tags']:,} tags x {settings['length']}, turn {turn + 1}: {who} {took}")
    return found


def _once(
    who: str, site: SimulatorProcess, settings: Settings, span: TimeSpan, expected: Mapping[str, int]
) -> dict[str, float]:
    """One process over empty tables. Raises if it did not bring in every event."""
    with tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as name:
        folder = Path(name)
        if who == "engine":
            file = folder / "config.yaml"
            document = configuration(site.url, folder, span, settings.get("config", {}))
            file.write_text(yaml.safe_dump(document), encoding="utf-8")
            arguments = ["-m", "engine", "run", "-c", str(file), "--json"]
        else:
            start, end = span.texts
            asked = {"url": site.url, "table": str(folder / who), "start": start, "end": end, **settings[who]}
            arguments = [f"benchmarks/{who}.py", json.dumps(asked)]
        began = time.perf_counter()
        done = run_child(arguments)
        took = time.perf_counter() - began
        _check(who, done, expected)
    return {"wall_seconds": round(took, 3), "cpu_seconds": round(done.cpu_seconds, 3)}


def _check(who: str, done: ChildResult, expected: Mapping[str, int]) -> None:
    report = json_of(done)
    if who == "engine":
        check_exact(report["tables"]["pi_timeseries"], expected)
    elif report["records_written"] != sum(expected.values()):
        raise RuntimeError(f"{who} wrote {report['records_written']} of {sum(expected.values())} events: no fair peer")
