"""Both decoders in whole runs: the same scenarios with each of them, in turns, and what the faster one makes of the limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.lab.engine import EngineRun
from benchmarks.lab.extract import Say, engine_once, expected_of, limit_of, naive_once
from benchmarks.lab.processes import json_of, plant, run_child
from benchmarks.lab.scenarios import load
from engine.datasets.decoding import native_core

__all__ = ["NOT_HERE", "is_measurable", "measure"]

DECODERS = ("python", "native")
NOT_HERE = "the native decoder is not installed: `make native` builds it"


def is_measurable() -> bool:
    """Whether there is a native decoder to measure."""
    return native_core() is not None


def measure(settings: Mapping[str, Any], scale: str, say: Say) -> dict[str, Any]:
    """Decoding alone, then each scenario with each decoder. Raises `RuntimeError` where the native one is not installed."""
    if not is_measurable():
        raise RuntimeError(NOT_HERE)
    alone = json_of(run_child(["benchmarks/decode_only.py", "--json", "--seconds", str(settings["seconds"])]))
    figures = _alone(alone)
    say("decoding alone: " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()))
    runs: dict[str, list[dict[str, Any]]] = {"decode_only": [alone]}
    for name in settings["scenarios"]:
        found = _both(name, load(name, scale).settings, settings["repeats"], say)
        runs |= {f"{name}_{way}": ways for way, ways in found.pop("runs").items()}
        figures |= {f"{name}_{figure}": value for figure, value in found.items()}
    return {"figures": figures, "runs": runs}


def _alone(found: Mapping[str, Any]) -> dict[str, float]:
    ratios = {f"decode_{corpus}_ratio": found[corpus]["native_ratio_to_ours"] for corpus in ("full", "slim", "small")}
    memory = found["peak_memory_per_body_byte"]
    return {
        **ratios,
        "decode_ratio": min(ratios["decode_full_ratio"], ratios["decode_slim_ratio"]),
        "decode_peak_memory_ratio": max(value for way, value in memory.items() if way.startswith("native")),
    }


def _both(name: str, scenario: Mapping[str, Any], repeats: int, say: Say) -> dict[str, Any]:
    found: dict[str, list[EngineRun]] = {decoder: [] for decoder in DECODERS}
    naive: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    with plant(scenario["plant"]) as site:
        expected = expected_of(scenario)
        for turn in range(repeats):
            for decoder in DECODERS:
                run = engine_once(site, _with_decoder(scenario, decoder), expected)
                found[decoder].append(run)
                say(f"{name}, turn {turn + 1}: {decoder} {run.events_per_second:,.0f} events/s")
            if "naive" in scenario:
                naive.append(naive_once(site, scenario, sum(expected.values())))
                say(f"{name}, turn {turn + 1}: naive pipeline {naive[-1]['events_per_second']:,.0f} events/s")
        if "limit" in scenario:
            figures |= limit_of(site, scenario, "native")
    rates = {decoder: max(run.events_per_second for run in ways) for decoder, ways in found.items()}
    cpu = {decoder: min(run.cpu_seconds for run in ways) for decoder, ways in found.items()}
    memory = {decoder: max(run.peak_rss_bytes for run in ways) / 2**20 for decoder, ways in found.items()}
    figures |= {
        "ratio": rates["native"] / rates["python"],
        "cpu_ratio": cpu["python"] / cpu["native"],
        **{f"{decoder}_events_per_second": rate for decoder, rate in rates.items()},
        **{f"{decoder}_peak_mib": mib for decoder, mib in memory.items()},
    }
    if naive:
        figures["ratio_to_naive"] = rates["native"] / max(run["events_per_second"] for run in naive)
    if "limit" in scenario:
        figures["share_of_limit"] = rates["native"] / figures["limit_with_our_decoder"]
    runs = {decoder: [run.as_dict() for run in ways] for decoder, ways in found.items()}
    return {**figures, "runs": {**runs, **({"naive": naive} if naive else {})}}


def _with_decoder(scenario: Mapping[str, Any], decoder: str) -> dict[str, Any]:
    config = scenario.get("config", {})
    return {**scenario, "config": {**config, "performance": {**config.get("performance", {}), "decoder": decoder}}}
