"""The rows that a run leaves in the metrics table, however it ended: one, or one for each hour of following. Pure.

Invariant: what the rows of a run count adds up to what its report counts; of an error that is not ours only its class is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from config.errors import ExtractError
from writers import CorrectionCounts

from ..model import Micros
from .freshness import Freshness
from .report import RunReport, Tally

__all__ = ["corrected", "row_of_failure", "row_of_report", "shortened", "since"]

_LONGEST_ERROR = 1000
_COUNTED = (
    "duration_seconds", "records_written", "requests", "retries", "throttled", "bytes_fetched", "commits",
    "corrections_inserted", "corrections_changed", "corrections_deleted",
)  # fmt: skip


def row_of_report(report: RunReport, *, started_at: Micros, fresh: Freshness | None) -> dict[str, Any]:
    """The row of a run that has a report."""
    return {
        "run_id": report.run_id,
        "pipeline": report.pipeline,
        "shard": report.shard,
        "started_at": started_at,
        "duration_seconds": report.duration_seconds,
        "status": report.status,
        "tags_requested": report.tags_requested,
        "tags_extracted": report.tags_extracted,
        "tags_failed": len(report.tags_failed),
        "records_written": report.records_written,
        "requests": report.requests,
        "retries": report.retries,
        "throttled": report.throttled,
        "bytes_fetched": report.bytes_fetched,
        "commits": report.commits,
        **_freshness(fresh),
        "error": shortened(report.failure()),
        "command": "run",
        **corrected(report.corrections),
    }


def row_of_failure(
    error: BaseException,
    tally: Tally,
    *,
    run: tuple[str, str, str],
    started_at: Micros,
    duration_seconds: float,
    asked: tuple[int, int, int, int],
    tags_extracted: int,
    fresh: Freshness | None,
) -> dict[str, Any]:
    """The row of a run that ended by an error. `run` is its id, pipeline and shard; `asked` counts
    requests, retries, refusals and bytes; `tags_extracted`: tags that it had brought to their end before.
    """
    interrupted = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
    why = error.message if isinstance(error, ExtractError) else type(error).__name__
    return {
        **dict(zip(("run_id", "pipeline", "shard"), run, strict=True)),
        "started_at": started_at,
        "duration_seconds": duration_seconds,
        "status": "interrupted" if interrupted else "failed",
        "tags_requested": tally.tags_requested,
        "tags_extracted": tags_extracted,
        "tags_failed": len(tally.failed),
        "records_written": tally.records_written,
        **dict(zip(("requests", "retries", "throttled", "bytes_fetched"), asked, strict=True)),
        "commits": tally.commits,
        **_freshness(fresh),
        "error": shortened("interrupted before anything was read" if interrupted else why),
        "command": "run",
        **corrected(tally.corrections),
    }


def since(told: Mapping[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """The row of what came after `told`, where both count from the beginning of the run."""
    if told is None:
        return row
    counted = {name: row[name] - told[name] for name in _COUNTED}
    return {**row, **counted, "started_at": row["started_at"] + int(told["duration_seconds"] * 1e6)}


def _freshness(fresh: Freshness | None) -> dict[str, float | None]:
    return {
        "freshness_p50_seconds": fresh.p50 if fresh else None,
        "freshness_p95_seconds": fresh.p95 if fresh else None,
        "freshness_max_seconds": fresh.worst if fresh else None,
    }


def corrected(counts: CorrectionCounts) -> dict[str, int]:
    """The columns of corrections."""
    return {
        "corrections_inserted": counts.inserted,
        "corrections_changed": counts.changed,
        "corrections_deleted": counts.deleted,
    }


def shortened(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."
