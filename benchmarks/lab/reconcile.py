"""Comparing the past with the source again: its cost relative to reading, and that only differences are written.

The simulator runs in another process; its history is changed through its control route. Which files hold
a changed event is found out here by reading them, not asked of the product.
"""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from benchmarks.lab.engine import EngineRun, NotExactError, check_exact, configuration, run_engine
from benchmarks.lab.processes import SimulatorProcess, plant
from benchmarks.lab.windows import TimeSpan, expected_events, options_of
from engine.simulator import point
from engine.simulator.archive.signals import signal
from engine.simulator.times import iso

__all__ = ["measure"]

Settings = Mapping[str, Any]


def measure(settings: Settings, _scale: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Read, compare, change, compare, in turns; returns the figures and the single runs."""
    turns = []
    for turn in range(settings["repeats"]):
        with plant(settings["plant"]) as site, tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as name:
            turns.append(_turn(site, settings, Path(name)))
        found = turns[-1]
        say(f"turn {turn + 1}: " + ", ".join(f"{way} {_cost(run):.2f} s" for way, run in found["runs"].items()))
    best = {way: min(_cost(turn["runs"][way]) for turn in turns) for way in ("read", "unchanged", "changed")}
    last = turns[-1]
    figures = {
        "reading_seconds": best["read"],
        "unchanged_seconds": best["unchanged"],
        "changed_seconds": best["changed"],
        "ratio_unchanged": best["unchanged"] / best["read"],
        "ratio_changed": best["changed"] / best["read"],
        **last["figures"],
    }
    runs = {way: [turn["runs"][way].as_dict() for turn in turns] for way in ("read", "unchanged", "changed")}
    return {"figures": figures, "runs": runs}


def _turn(site: SimulatorProcess, settings: Settings, folder: Path) -> dict[str, Any]:
    span = TimeSpan.of(settings["start"], settings["length"])
    over = settings["config"]
    again = {**over, "extraction": {**over["extraction"], "lookback": settings["length"]}}
    expected = expected_events(settings["plant"], span)
    read = run_engine(configuration(site.url, folder, span, over), folder)
    table = read.report["tables"]["pi_timeseries"]
    check_exact(table, expected)
    before = _files(table)
    unchanged = run_engine(configuration(site.url, folder, span, again), folder)
    written = unchanged.report["records_written"] + unchanged.report["commits"] + len(_files(table) ^ before)
    edits = _edits(settings, span)
    _send(site, edits)
    touched = {uri for uri in before if _holds(uri, edits)}
    changed = run_engine(configuration(site.url, folder, span, again), folder)
    deleted = sum(edit["action"] == "delete" for edit in edits)
    _check_corrections(changed, len(edits) - deleted, deleted)
    for edit in edits:
        expected[edit["tag"]] -= edit["action"] == "delete"
    check_exact(table, expected)
    gone = before - _files(table)
    return {
        "runs": {"read": read, "unchanged": unchanged, "changed": changed},
        "figures": {
            "events": read.report["records_written"],
            "changed_events": len(edits),
            "written_unchanged": written,
            "files_before": len(before),
            "files_rewritten": len(gone),
            "rewritten_in_vain": len(gone - touched),
            "peak_mib": max(run.peak_rss_bytes for run in (read, unchanged, changed)) / 2**20,
        },
    }


def _cost(run: EngineRun) -> float:
    """The time of a run without finding the tags, which does not depend on how much is read."""
    return float(run.report["duration_seconds"] - run.report["seconds"]["discover"])


def _edits(settings: Settings, span: TimeSpan) -> list[dict[str, Any]]:
    """Every event of a few neighbouring tags: each second one another value, the others deleted."""
    options = options_of(settings["plant"])
    edits: list[dict[str, Any]] = []
    for index in range(settings["changed_tags"]):
        found, name = signal(options, index), point(options, index).name
        times = {found.event(n).ticks for n in range(found.before(span.start * 10), found.before(span.end * 10))}
        for n, ticks in enumerate(sorted(times)):
            edit = {"tag": name, "at": iso(ticks)}
            edits.append({**edit, "action": "delete"} if n % 2 else {**edit, "action": "replace", "value": 4711.5})
    return edits


def _send(site: SimulatorProcess, edits: list[dict[str, Any]]) -> None:
    url = site.url.removesuffix("/piwebapi") + "/simulator/changes"
    request = urllib.request.Request(url, json.dumps(edits).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        applied = len(json.load(answer)["Applied"])
    if applied != len(edits):
        raise RuntimeError(f"the simulator made {applied} of {len(edits)} changes")


def _check_corrections(run: EngineRun, changed: int, deleted: int) -> None:
    found = run.report["corrections"]
    if (found["changed"], found["deleted"], found["inserted"]) != (changed, deleted, 0):
        raise NotExactError(f"corrected {found}, where {changed} events were changed and {deleted} deleted")


def _files(table: str) -> set[str]:
    return {uri.removeprefix("file://") for uri in DeltaTable(table).file_uris()}


def _holds(path: str, edits: list[dict[str, Any]]) -> bool:
    names = pa.array(sorted({edit["tag"] for edit in edits}), pa.string())
    with pq.ParquetFile(path) as file:
        return any(
            pc.any(pc.is_in(batch.column(0), value_set=names)).as_py()
            for batch in file.iter_batches(columns=["tag_name"])
        )
