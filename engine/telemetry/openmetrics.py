"""What a run counts, as text for Prometheus: of the text format (0.0.4) for files, or of OpenMetrics. Pure.

It is made of the row that the metrics table gets (`metrics.py`), so the two cannot disagree. Invariant: a `_total` counts
over all runs that wrote the same file. So it only grows, unless the file is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..model import Micros

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Name without `osipi_` and `_total`, column of the row, meaning.
COUNTERS: Final = (
    ("rows", "records_written", "Recorded values committed"),
    ("corrections_inserted", "corrections_inserted", "Recorded values that came late and were put in"),
    ("corrections_changed", "corrections_changed", "Recorded values that had another value than before"),
    ("corrections_deleted", "corrections_deleted", "Recorded values that had gone at the source"),
    ("requests", "requests", "Requests answered or failed, repetitions included"),
    ("requests_repeated", "retries", "Requests that were repetitions"),
    ("requests_throttled", "throttled", "Requests that the server refused as too many"),
    ("received_bytes", "bytes_fetched", "Bytes received from the source"),
    ("commits", "commits", "Commits made"),
)
GAUGES: Final = (
    ("tags", "tags_requested", "Tags that the configuration selects"),
    ("tags_complete", "tags_extracted", "Tags read to the end of their window"),
    ("tags_failed", "tags_failed", "Tags that could not be read"),
    ("run_duration_seconds", "duration_seconds", "How long the last run took, or the present one has taken so far"),
)
QUANTILES: Final = (
    ("0.5", "freshness_p50_seconds"),
    ("0.95", "freshness_p95_seconds"),
    ("1", "freshness_max_seconds"),
)
STATUSES: Final = ("succeeded", "incomplete", "interrupted", "failed")
_SAMPLE = re.compile(r"(osipi_\w+_total)\{([^}]*)\} (\d+)")

Totals = Mapping[str, int]
"""Counters, by name."""


def totals_of(row: Mapping[str, Any], before: Totals) -> dict[str, int]:
    """The counters once a run has counted this much. `before`: what they were when it began."""
    names = {f"osipi_{name}_total": int(row[column]) for name, column, _ in COUNTERS}
    return {name: value + before.get(name, 0) for name, value in names.items()}


def totals_in(text: str, labels: str) -> dict[str, int]:
    """The counters that a text of ours holds for these labels."""
    return {name: int(value) for name, of, value in _SAMPLE.findall(text) if of == labels}


def labels_of(pipeline: str, shard: str) -> str:
    """Both are names of plain letters: nothing in them needs an escape."""
    return f'pipeline="{pipeline}",shard="{shard}"'


def metrics_text(
    row: Mapping[str, Any], totals: Totals, *, holes: int | None, at: Micros, openmetrics: bool = False
) -> str:
    """The text. `at`: now. `holes`: how many there are; None if that is not known."""
    labels = labels_of(row["pipeline"], row["shard"])
    lines = [
        *_counters(totals, labels, openmetrics=openmetrics),
        *_gauges(row, labels, holes, at),
        *(["# EOF"] if openmetrics else []),
    ]
    return "\n".join(lines) + "\n"


def _counters(totals: Totals, labels: str, *, openmetrics: bool) -> Iterator[str]:
    for name, _, meaning in COUNTERS:
        # A counter of OpenMetrics is called without its `_total`, but for its samples.
        family = f"osipi_{name}" if openmetrics else f"osipi_{name}_total"
        yield from _head(family, "counter", meaning)
        yield f"osipi_{name}_total{{{labels}}} {totals.get(f'osipi_{name}_total', 0)}"


def _gauges(row: Mapping[str, Any], labels: str, holes: int | None, at: Micros) -> Iterator[str]:
    for name, column, meaning in GAUGES:
        yield from _gauge(name, meaning, [(labels, row[column])])
    if holes is not None:
        yield from _gauge("holes", "Windows of tags that the source could not give", [(labels, holes)])
    ages = [(f'{labels},quantile="{share}"', row[column]) for share, column in QUANTILES if row[column] is not None]
    if ages:
        yield from _gauge("freshness_seconds", "How far tags are behind: the median, 95 %, and the worst", ages)
    states = [(f'{labels},status="{status}"', int(row["status"] == status)) for status in STATUSES]
    yield from _gauge("run_status", "1 for how the last run ended, or how the present one stands", states)
    yield from _gauge("updated_timestamp_seconds", "When this was written", [(labels, at / 1e6)])


def _gauge(name: str, meaning: str, samples: Sequence[tuple[str, float]]) -> Iterator[str]:
    yield from _head(f"osipi_{name}", "gauge", meaning)
    for labels, value in samples:
        yield f"osipi_{name}{{{labels}}} {value}"


def _head(family: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {family} {meaning}"
    yield f"# TYPE {family} {kind}"


def file_of_shard(file: Path, shard: str) -> Path:
    """A file of its own for each of several shards: `osipi.prom`, `osipi.0-of-4.prom`."""
    return file if shard == "0-of-1" else file.with_name(f"{file.stem}.{shard}{file.suffix}")
