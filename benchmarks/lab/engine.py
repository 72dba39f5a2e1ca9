"""One run of the product, as a user starts it: `python -m engine run -c FILE --json`, in its own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

from benchmarks.lab.processes import json_of, run_child
from benchmarks.lab.windows import TimeSpan

__all__ = ["EngineRun", "NotExactError", "check_exact", "configuration", "run_engine", "tags_counted"]


class NotExactError(RuntimeError):
    """The table differs from the source, so the figures of the run are worthless."""


@dataclass(frozen=True, slots=True)
class EngineRun:
    """The report of a run, and what its process used."""

    report: Mapping[str, Any]
    cpu_seconds: float
    peak_rss_bytes: int

    @property
    def events_per_second(self) -> float:
        return float(self.report["records_written"] / self.report["duration_seconds"])

    @property
    def reading_per_second(self) -> float:
        """Events read, those that are only compared included, over the time from the first request for values to the
        last watermark.
        """
        stages = self.report["seconds"]
        secs = self.report["duration_seconds"] - stages["discover"] - stages["prepare"]
        return float(self.report["records_read"] / secs)

    def as_dict(self) -> dict[str, Any]:
        keys = (
            "records_read", "records_written", "duration_seconds", "requests", "commits", "bytes_fetched", "bytes_written", "seconds",
        )  # fmt: skip
        return {
            **{key: self.report[key] for key in keys},
            "events_per_second": round(self.events_per_second),
            "reading_per_second": round(self.reading_per_second),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "peak_rss_bytes": self.peak_rss_bytes,
        }


def configuration(url: str, root: Path, span: TimeSpan, over: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML of a run over all tags of the simulator, with the sections a scenario sets on top."""
    start, end = span.texts
    base: dict[str, Any] = {
        "pipeline": "benchmark",
        # The simulator on loopback is not the thing to be polite to.
        "pi_web_api": {"url": url, "auth_type": "anonymous", "max_requests_per_second": 10_000, "max_in_flight": 4},
        "extraction": {"tag_name_filter": "*", "start_date": start, "end_date": end, "lag": "0s"},
        "storage": {"root": str(root)},
        "monitoring": {"log_level": "warning"},
        # The native decoder, which not everybody has, is measured by a scenario of its own.
        "performance": {"decoder": "python"},
    }
    for section, settings in over.items():
        base[section] = {**base.get(section, {}), **settings}
    return base


def run_engine(config: Mapping[str, Any], folder: Path) -> EngineRun:
    """Run to the end. Raises `ChildError` for a run that did not succeed."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    done = run_child(["-m", "engine", "run", "-c", str(path), "--json"])
    return EngineRun(json_of(done), done.cpu_seconds, done.peak_rss_bytes)


def tags_counted(table: str) -> dict[str, int]:
    """Rows of each tag name in a Delta table, file by file, so that a large table costs no memory."""
    import pyarrow.parquet as pq

    counts: dict[str, int] = {}
    for uri in DeltaTable(table).file_uris():
        with pq.ParquetFile(uri.removeprefix("file://")) as file:
            for batch in file.iter_batches(columns=["tag_name"]):
                for entry in batch.column(0).value_counts():
                    name = entry["values"].as_py()
                    counts[name] = counts.get(name, 0) + entry["counts"].as_py()
    return counts


def check_exact(table: str, expected: Mapping[str, int]) -> None:
    """Check the number of events of every tag. Raises `NotExactError`, which names the first tag that differs."""
    found = tags_counted(table)
    wanted = {name: count for name, count in expected.items() if count}
    if found == wanted:
        return
    name = next(name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name))
    raise NotExactError(
        f"{table}: {sum(found.values())} rows where the source has {sum(wanted.values())} events; "
        f"tag {name} has {found.get(name, 0)} of {wanted.get(name, 0)}"
    )
