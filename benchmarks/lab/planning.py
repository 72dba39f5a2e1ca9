"""Planning alone: half a million tags in groups, and the first request of every group. No server is asked.

Each case runs as a child (`python -m benchmarks.lab.planning SETTINGS`), so that its memory is its own:
tags without watermarks, tags with them, and windows of different lengths.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.lab.processes import json_of, run_child
from config import parse_duration
from engine.model import Tag, Window
from engine.plan.planner import Plan
from engine.plan.tag_cursor import RequestLimits, cursors_for
from writers import Watermark

__all__ = ["measure", "plan_once"]

_NOW = 1_709_632_800_000_000


def measure(settings: Mapping[str, Any], _scale: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every case a few times; returns the figures and the single runs."""
    runs: dict[str, list[dict[str, Any]]] = {}
    cases = [("fresh", length, False) for length in settings["lengths"]]
    cases.append(("with watermarks", settings["lengths"][0], True))
    for _ in range(settings["repeats"]):
        for name, length, marked in cases:
            asked = {"tags": settings["tags"], "length": length, "marked": marked, "seed": settings["seed"]}
            done = run_child(["-m", "benchmarks.lab.planning", json.dumps(asked)])
            run = {**json_of(done), "length": length, "peak_rss_bytes": done.peak_rss_bytes}
            runs.setdefault(f"{name}, {length}", []).append(run)
            say(f"{name}, {length}: {run['seconds']:.2f} s, {run['peak_rss_bytes'] / 2**20:,.0f} MiB")
    best = [min(found, key=lambda run: float(run["seconds"])) for found in runs.values()]
    fresh = [run["peak_rss_bytes"] for run in best[: len(settings["lengths"])]]
    figures = {
        "tags": settings["tags"],
        "requests": best[0]["requests"],
        "seconds": best[0]["seconds"],
        "seconds_with_watermarks": best[-1]["seconds"],
        "slowest_seconds": max(run["seconds"] for run in best),
        "peak_mib": max(run["peak_rss_bytes"] for run in best) / 2**20,
        "growth_with_window": max(fresh) / fresh[0],
    }
    return {"figures": figures, "runs": runs}


def plan_once(tags: int, length: str, *, marked: bool, seed: int) -> dict[str, Any]:
    """Plan as a run does, tag by tag, and take every first request."""
    wanted = Window(_NOW - parse_duration(length) // parse_duration("1us"), _NOW)
    known = [Tag(f"I1DPcQo8XkQrbk-dEAx74aLzAQ{n:08d}", f"Unit{n // 50:05d}.Flow.{n:06d}") for n in range(tags)]
    marks = {tag.web_id: _mark(tag, n + seed, wanted.start) for n, tag in enumerate(known)} if marked else {}
    began = time.perf_counter()

    def cursors() -> Any:
        for tag in known:
            mark = marks.get(tag.web_id)
            done = Window(mark.low, mark.high) if mark else None
            window = Window(mark.high, wanted.end) if mark else wanted
            rows = mark.rows_total if mark else 0
            yield from cursors_for(tag, window, done, rows_done=rows, assumed_rate=1 / 60e6)

    plan = Plan(cursors(), RequestLimits())
    requests = asked = 0
    while (chunk := plan.take()) is not None:
        requests += 1
        asked += len(chunk.asks)
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": seconds, "requests": requests, "tags": asked, "peak_rss_bytes": peak}


def _mark(tag: Tag, number: int, high: int) -> Watermark:
    """A day is done up to the window, at rates from one an hour to one a second."""
    return Watermark(tag.web_id, high - 86_400_000_000, high, high, 24 * (1 + number * 2654435761 % 3600))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(plan_once(given["tags"], given["length"], marked=given["marked"], seed=given["seed"])))
