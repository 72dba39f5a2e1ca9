"""Decoding alone: runs `benchmarks/decode_only.py`, and names its figures for the bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.lab.processes import json_of, run_child

__all__ = ["measure"]


def measure(settings: Mapping[str, Any], _scale: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it; returns the figures and the single runs."""
    seconds = str(settings["seconds"])
    found = json_of(run_child(["benchmarks/decode_only.py", "--json", "--seconds", seconds]))
    figures: dict[str, float] = {}
    for corpus in ("full", "slim", "small"):
        part = found[corpus]
        figures[f"{corpus}_events_per_second"] = part["kilo_events_per_second"]["ours"] * 1000
        figures[f"{corpus}_json_pandas_events_per_second"] = part["kilo_events_per_second"]["json_pandas"] * 1000
        figures[f"{corpus}_ratio"] = part["ratio_to_json_pandas"]
        figures[f"{corpus}_share_of_skim"] = (
            part["nanoseconds_per_event"]["skim"] / part["nanoseconds_per_event"]["ours"]
        )
        say(
            f"{corpus}: {figures[f'{corpus}_events_per_second']:,.0f} events/s, {figures[f'{corpus}_ratio']} x json + pandas"
        )
    memory = found["peak_memory_per_body_byte"]
    figures["peak_memory_ratio"] = max(value for way, value in memory.items() if way.startswith("ours"))
    figures["json_pandas_peak_memory_ratio"] = max(value for way, value in memory.items() if way.startswith("json"))
    figures["lowest_dense_ratio"] = min(figures["full_ratio"], figures["slim_ratio"])
    return {"figures": figures, "runs": {"decode_only": [found]}}
