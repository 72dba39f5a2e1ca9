"""The rows that a run leaves in the metrics table, however it ended: one, or one for each hour of following. Pure.

Invariant: what the rows of a run count adds up to what its report counts; of an error that is not ours only its class is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from config.errors import ExtractError
from writers import CorrectionCounts

from ..model import Micros
from .freshness import Freshness
from .report import RunReport, Tally

_LONGEST_ERROR = 1000
_COUNTED = (
    "duration_seconds", "records_written", "requests", "retries", "throttled", "bytes_fetched", "commits",
    "corrections_inserted", "corrections_changed", "corrections_deleted",
)  # fmt: skip
_OF_REPORT = (
    "duration_seconds", "status", "tags_requested", "tags_extracted", "records_written", "requests", "retries",
    "throttled", "bytes_fetched", "commits",
)  # fmt: skip


def empty_row(
    run: tuple[str, str, str], *, started_at: Micros, command: str, datasets: Iterable[str], decoder: str | None = None
) -> dict[str, Any]:
    """A row that counts nothing so far. `run` is its id, pipeline and shard."""
    return {
        **dict(zip(("run_id", "pipeline", "shard"), run, strict=True)),
        "started_at": started_at,
        "command": command,
        "datasets": ",".join(datasets),
        "decoder": decoder,
        **dict.fromkeys(("tags_requested", "tags_extracted", "tags_failed", *_COUNTED), 0),
        **_freshness(None),
    }


def row_of_report(report: RunReport, *, started_at: Micros, fresh: Freshness | None) -> dict[str, Any]:
    """The row of a run that has a report."""
    run = (report.run_id, report.pipeline, report.shard)
    return {
        **empty_row(run, started_at=started_at, command="run", datasets=report.datasets, decoder=report.decoder),
        **{name: getattr(report, name) for name in _OF_REPORT},
        "tags_failed": len(report.tags_failed),
        "error": shortened(report.failure()),
        **_freshness(fresh),
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
    """The row of a run that ended by an error. `asked` counts requests, retries, refusals and bytes; `tags_extracted`:
    tags that it had brought to their end before.
    """
    return {
        **empty_row(run, started_at=started_at, command="run", datasets=tally.datasets, decoder=tally.decoder),
        **ended_by(error, before=" before anything was read"),
        "duration_seconds": duration_seconds,
        "tags_requested": tally.tags_requested,
        "tags_extracted": tags_extracted,
        "tags_failed": len(tally.failed),
        "records_written": tally.records_written,
        **dict(zip(("requests", "retries", "throttled", "bytes_fetched"), asked, strict=True)),
        "commits": tally.commits,
        **_freshness(fresh),
        **corrected(tally.corrections),
    }


def ended_by(error: BaseException, *, before: str = "") -> dict[str, str | None]:
    """Status and error of what an exception has ended; `before` follows "interrupted"."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return {"status": "interrupted", "error": f"interrupted{before}"}
    why = error.message if isinstance(error, ExtractError) else type(error).__name__
    return {"status": "failed", "error": shortened(why)}


def since(reported: Mapping[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """The row of what came after the row `reported`. Both count from the start of the run."""
    if reported is None:
        return row
    counted = {name: row[name] - reported[name] for name in _COUNTED}
    return {**row, **counted, "started_at": row["started_at"] + int(reported["duration_seconds"] * 1e6)}


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
