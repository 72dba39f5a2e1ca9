"""Results as files, one JSON file a scenario, and their summary. Invariant: numbers are never
typed by hand; every figure in the documents comes from one of these files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.lab.machine import revision, versions
from benchmarks.lab.scenarios import BarResult, Scenario, judge

__all__ = ["FOLDER", "read_all", "result_of", "rounded", "summary", "write"]

FOLDER = Path(__file__).resolve().parent.parent / "results"


def result_of(scenario: Scenario, scale: str, measured: Mapping[str, Any], where: Mapping[str, Any]) -> dict[str, Any]:
    """The whole result of a scenario: what, where, with what, figures, bars, raw runs."""
    verdicts = judge(scenario.bars, measured["figures"])
    return {
        "scenario": scenario.name,
        "order": scenario.order,
        "title": scenario.title,
        "about": scenario.about,
        "shows": scenario.shows.format(**measured["figures"]),
        "scale": scale,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": dict(where),
        "versions": versions(),
        "settings": dict(scenario.settings),
        "figures": {name: rounded(value) for name, value in measured["figures"].items()},
        "bars": [_bar(verdict) for verdict in verdicts],
        "tables": measured.get("tables", []),
        "runs": measured["runs"],
    }


def rounded(value: float) -> float:
    """Four significant digits; the measurements are not more precise."""
    return value if isinstance(value, int) else float(f"{value:.4g}")


def summary(result: Mapping[str, Any]) -> list[str]:
    """The result in a few lines for the terminal. Of a small scale it says only that it ran: its figures mean nothing."""
    if result["scale"] != "full":
        return ["ran; at this scale nothing is judged"]
    lines = [result["shows"]]
    for bar in result["bars"]:
        mark = "met   " if bar["met"] else "MISSED"
        lines.append(f"  {mark} {bar['measured']:g} {bar['says']} (bar: {bar['relation']} {bar['bar']:g})")
    return lines


def write(result: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['scenario']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def read_all(folder: Path) -> Sequence[dict[str, Any]]:
    """All results in a folder, in the order of the scenarios."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted((result for result in found if "scenario" in result), key=lambda result: int(result["order"]))


def _bar(verdict: BarResult) -> dict[str, Any]:
    bar = verdict.bar
    least = bar.at_least is not None
    return {
        "figure": bar.figure,
        "says": bar.says,
        "relation": "at least" if least else "at most",
        "bar": bar.at_least if least else bar.at_most,
        "measured": rounded(verdict.measured),
        "met": verdict.met,
    }
