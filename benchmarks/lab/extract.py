"""End to end: from a simulator in another process into Delta tables, compared with peers.

Peers (the naive pipeline, the dense scenario) take turns with the engine, so that what else the
machine does meets them alike; the best of each counts. After every run the table is held against the
simulator's closed form, tag by tag.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.lab.engine import EngineRun, check_exact, configuration, run_engine
from benchmarks.lab.processes import CORES, SimulatorProcess, json_of, plant, run_child
from benchmarks.lab.scenarios import load
from benchmarks.lab.stages import limit
from benchmarks.lab.windows import TimeSpan, expected_events

__all__ = ["Say", "engine_once", "expected_of", "limit_of", "measure", "measure_memory", "naive_once"]

Say = Callable[[str], None]
Settings = Mapping[str, Any]


def measure(settings: Settings, scale: str, say: Say) -> dict[str, Any]:
    """Run a scenario with its peers; returns the figures and the single runs."""
    runs: dict[str, list[dict[str, Any]]] = {"engine": []}
    figures: dict[str, float] = {}
    with plant(settings["plant"]) as site:
        expected = expected_of(settings)
        for turn in range(settings.get("repeats", 1)):
            run = engine_once(site, settings, expected)
            runs["engine"].append(run.as_dict())
            say(f"turn {turn + 1}: {run.events_per_second:,.0f} events/s, {run.peak_rss_bytes / 2**20:,.0f} MiB")
            if "naive" in settings:
                naive = naive_once(site, settings, sum(expected.values()))
                runs.setdefault("naive", []).append(naive)
                say(f"turn {turn + 1}: naive pipeline {naive['events_per_second']:,.0f} events/s")
            if "peer" in settings:
                peer = _peer_once(settings["peer"], scale)
                runs.setdefault("peer", []).append(peer.as_dict())
                say(f"turn {turn + 1}: {settings['peer']} {peer.events_per_second:,.0f} events/s")
        if "limit" in settings:
            figures |= limit_of(site, settings, "python")
            say(f"limit of the stages: {figures['limit_events_per_second']:,.0f} events/s")
    return {"figures": _figures(runs, figures), "runs": runs}


def expected_of(settings: Settings) -> Mapping[str, int]:
    """How many events each tag has in the window of a scenario."""
    return expected_events(settings["plant"], _span(settings))


def engine_once(site: SimulatorProcess, settings: Settings, expected: Mapping[str, int] | None) -> EngineRun:
    """One run into empty tables; or, with `warmed_by`, into tables that already hold the time before."""
    span = _span(settings)
    with _folder() as folder:
        if "warmed_by" in settings:
            before = span.before(settings["warmed_by"])
            run_engine(configuration(site.url, folder, before, settings.get("config", {})), folder)
        run = run_engine(configuration(site.url, folder, span, settings.get("config", {})), folder)
        if expected is not None:
            if "warmed_by" in settings:
                earlier = expected_events(settings["plant"], before)
                expected = {name: count + earlier[name] for name, count in expected.items()}
            check_exact(run.report["tables"]["pi_timeseries"], expected)
    return run


def measure_memory(settings: Settings, _scale: str, say: Say) -> dict[str, Any]:
    """Peak memory of runs over ever longer windows of the same tags."""
    runs = []
    with plant(settings["plant"]) as site:
        for length in settings["lengths"]:
            run = engine_once(site, {**settings, "length": length}, None)
            runs.append({"length": length, **run.as_dict()})
            say(f"{length}: {run.report['records_written']:,} events, peak {run.peak_rss_bytes / 2**20:,.0f} MiB")
    peaks = [run["peak_rss_bytes"] / 2**20 for run in runs]
    figures = {
        "peak_mib_shortest": peaks[0],
        "peak_mib_longest": peaks[-1],
        "peak_growth": max(peaks) / peaks[0],
        "events_shortest": runs[0]["records_written"],
        "events_longest": runs[-1]["records_written"],
    }
    return {"figures": figures, "runs": {"engine": runs}}


def _peer_once(name: str, scale: str) -> EngineRun:
    settings = load(name, scale).settings
    with plant(settings["plant"]) as site:
        return engine_once(site, settings, None)


def naive_once(site: SimulatorProcess, settings: Settings, events: int) -> dict[str, Any]:
    """One run of the naive pipeline. Raises `RuntimeError` if it did not write all events."""
    start, end = _span(settings).texts
    with _folder() as folder:
        asked = {"url": site.url, "table": str(folder / "naive"), "start": start, "end": end, **settings["naive"]}
        done = run_child(["benchmarks/naive.py", json.dumps(asked)])
    found = json_of(done)
    if found["records_written"] != events:
        raise RuntimeError(f"the naive pipeline wrote {found['records_written']} of {events} events: no fair peer")
    rate = found["records_written"] / found["duration_seconds"]
    return {**found, "events_per_second": round(rate), "cpu_seconds": round(done.cpu_seconds, 3)}


def limit_of(site: SimulatorProcess, settings: Settings, decoder: str) -> dict[str, float]:
    """What the stages cost for each event, and what rate they allow: with this decoder, and if JSON were only skimmed."""
    chosen = settings["limit"]
    span = TimeSpan.of(settings["start"], chosen["length"])
    asked = {
        "url": site.url,
        "server_pid": site.process.pid,
        "plant": settings["plant"],
        "start": span.start,
        "end": span.end,
        "tags_per_answer": chosen["tags_per_answer"],
        "answers": chosen["answers"],
        "in_flight": 4,
        "decoder": decoder,
    }
    stages = json_of(run_child(["-m", "benchmarks.lab.stages", json.dumps(asked)]))
    found = limit(stages, CORES)
    names = ("server", "raw_read", "skim", "decode", "stage_and_commit")
    return {
        **{f"{name}_ns": stages[name] for name in names},
        "bytes_per_event": stages["bytes_per_event"],
        "limit_events_per_second": found.ideal,
        "limit_with_our_decoder": found.with_our_decoder,
    }


def _figures(runs: Mapping[str, list[dict[str, Any]]], figures: dict[str, float]) -> dict[str, float]:
    """The figures for the bars: the best runs and their ratios. Memory is that of the worst run."""
    mine = _best(runs["engine"])
    rate = mine["events_per_second"]
    folded = {
        "events": mine["records_written"],
        "events_per_second": rate,
        "seconds": mine["duration_seconds"],
        "finding_tags_seconds": mine["seconds"]["discover"],
        "cpu_ns_per_event": mine["cpu_seconds"] / mine["records_written"] * 1e9,
        "peak_mib": max(run["peak_rss_bytes"] for run in runs["engine"]) / 2**20,
        "bytes_on_disk_per_event": mine["bytes_written"] / mine["records_written"],
        **figures,
    }
    if "naive" in runs:
        naive = _best(runs["naive"])
        folded["naive_events_per_second"] = naive["events_per_second"]
        folded["naive_peak_mib"] = max(run["peak_rss_bytes"] for run in runs["naive"]) / 2**20
        folded["ratio_to_naive"] = rate / naive["events_per_second"]
    if "peer" in runs:
        # Finding tags and their watermarks costs by the tag, not by the event: rates of reading are compared.
        reading, peer = (max(run["reading_per_second"] for run in runs[of]) for of in ("engine", "peer"))
        folded["reading_events_per_second"] = reading
        folded["peer_events_per_second"] = peer
        folded["ratio_to_peer"] = reading / peer
        # Of what is read, the newest event of each tag that is known already is compared, and not written again.
        folded["ratio_of_new_events"] = folded["ratio_to_peer"] * mine["records_written"] / mine["records_read"]
    if "limit_events_per_second" in figures:
        folded["share_of_limit"] = rate / figures["limit_events_per_second"]
        folded["share_with_our_decoder"] = rate / figures["limit_with_our_decoder"]
    return folded


def _best(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return max(runs, key=lambda run: float(run["events_per_second"]))


def _span(settings: Settings) -> TimeSpan:
    return TimeSpan.of(settings["start"], settings["length"])


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as name:
        yield Path(name)
