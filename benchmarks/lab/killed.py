"""Reads history in full mode with runs that are killed, until the last one finishes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

from benchmarks.lab import ROOT
from benchmarks.lab.engine import check_exact, configuration, run_engine
from benchmarks.lab.processes import plant
from benchmarks.lab.windows import TimeSpan, expected_events

__all__ = ["measure"]


def measure(settings: Mapping[str, Any], _scale: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Kill some runs, let the last one finish, and count; gives figures of the run that finished."""
    span = TimeSpan.of(settings["start"], settings["length"])
    with plant(settings["plant"]) as site, tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as name:
        folder = Path(name)
        config = configuration(site.url, folder, span, settings["config"])
        for secs in settings["kill_after_secs"]:
            _killed(config, folder, secs)
            say(f"killed after {secs} s")
        last = run_engine(config, folder)
        table = last.report["tables"]["pi_timeseries"]
        expected = expected_events(settings["plant"], span)
        check_exact(table, expected)
        files = len(DeltaTable(table).file_uris())
    days = span.seconds / 86_400
    figures = {
        "events": sum(expected.values()),
        "kills": len(settings["kill_after_secs"]),
        "events_of_last": last.report["records_written"],
        "events_per_second": last.events_per_second,
        "peak_mib": last.peak_rss_bytes / 2**20,
        "files": files,
        "days": days,
        "files_per_day": files / days,
    }
    return {"figures": figures, "runs": {"engine": [last.as_dict()]}}


def _killed(config: Mapping[str, Any], folder: Path, secs: float) -> None:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "engine", "run", "-c", str(path)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(secs)
        run.kill()
