"""One shard of very many tags: what `plan` says it asks, and what it then asks, commits, writes and needs of memory."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.lab.engine import EngineRun, check_exact, configuration
from benchmarks.lab.processes import json_of, plant, run_child
from benchmarks.lab.windows import TimeSpan, expected_events, options_of
from engine.plan.shards import Shard
from engine.simulator import Simulator, point

Settings = Mapping[str, Any]


def measure(settings: Settings, _scale: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Read the window before, plan the next one, read it, and count; gives figures of the shard."""
    shard = Shard(0, settings["shards"])
    span = TimeSpan.of(settings["start"], settings["length"])
    before = span.before(settings["length"])
    names, sizes = dealt(settings["plant"], shard)
    with plant(settings["plant"]) as site, tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as folder:
        lake, path = Path(folder), Path(folder) / "config.yaml"

        def called(command: str, window: TimeSpan) -> Any:
            document = configuration(site.url, lake, window, settings["config"])
            path.write_text(yaml.safe_dump(document), encoding="utf-8")
            where = f"{shard.index}/{shard.count}"
            return run_child(["-m", "engine", command, "-c", str(path), "--shard", where, "--json"])

        def run(window: TimeSpan) -> EngineRun:
            done = called("run", window)
            found = EngineRun(json_of(done), done.cpu_seconds, done.peak_rss_bytes)
            say(f"{found.report['requests']} requests, {found.report['duration_seconds']:.1f} s")
            return found

        first = run(before)
        forecast = json_of(called("plan", span))
        say(f"plan: {forecast['requests']} requests, {forecast['values']:,} values")
        following = run(span)
        counts = Counter(expected_events(settings["plant"], span)) + Counter(expected_events(settings["plant"], before))
        expected = {name: counts[name] for name in names}
        check_exact(following.report["tables"]["pi_timeseries"], expected)
    report = following.report
    figures = {
        "tags": settings["plant"]["tags"],
        "shards": shard.count,
        "tags_of_shard": len(names),
        "tags_of_largest_shard": max(sizes),
        "plan_requests": forecast["requests"],
        "plan_finding_requests": forecast["discovery_requests"],
        "plan_values": forecast["values"],
        "requests": report["requests"],
        "commits": report["commits"],
        "events": report["records_written"],
        "bytes_on_disk_per_event": report["bytes_written"] / report["records_written"],
        "seconds": report["duration_seconds"],
        "finding_tags_seconds": report["seconds"]["discover"],
        "cpu_seconds": following.cpu_seconds,
        "peak_mib": max(first.peak_rss_bytes, following.peak_rss_bytes) / 2**20,
        "requests_to_plan": report["requests"] / forecast["requests"],
    }
    return {"figures": figures, "runs": {"first": [first.as_dict()], "next": [following.as_dict()]}}


def dealt(settings: Settings, mine: Shard) -> tuple[list[str], list[int]]:
    """The names of the tags of a shard, and how many each of the shards has."""
    options = options_of(settings)
    site = Simulator(options)
    every = [Shard(index, mine.count) for index in range(mine.count)]
    sizes: Counter[int] = Counter()
    names = []
    for index in range(options.tags):
        web_id = site.web_id(index)
        owner = next(shard for shard in every if shard.owns(web_id))
        sizes[owner.index] += 1
        if owner == mine:
            names.append(point(options, index).name)
    return names, [sizes[shard.index] for shard in every]
