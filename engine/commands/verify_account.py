"""The row that a verification leaves in the metrics table, however it ended.

Invariant: a verification is not worse for a row that is missing: trouble is a warning.
"""

from __future__ import annotations

import logging
from typing import Any

from config import Config
from config.errors import ExtractError, StorageError
from writers import CorrectionCounts, add_run

from ..clock import monotonic, wall_micros
from ..plan.shards import Shard
from ..telemetry.metrics import corrected, shortened
from ..wiring import lakehouse_of
from .mending import Outcome

__all__ = ["VerifyAccount"]

LOG = logging.getLogger("osipi.verify")


class VerifyAccount:
    """Of one verification, which begins now."""

    def __init__(self, config: Config, run_id: str) -> None:
        self._config = config
        self._began = monotonic()
        self._row: dict[str, Any] = {
            "run_id": run_id,
            "pipeline": config.pipeline,
            "shard": str(Shard()),
            "started_at": wall_micros(),
            "command": "verify",
            **dict.fromkeys(("tags_requested", "tags_extracted", "tags_failed", "records_written", "commits"), 0),
            **dict.fromkeys(("requests", "retries", "throttled", "bytes_fetched"), 0),
            **dict.fromkeys(("freshness_p50_seconds", "freshness_p95_seconds", "freshness_max_seconds")),
            **corrected(CorrectionCounts()),
        }

    def add(self, done: Outcome) -> None:
        """Leave the row of one that came to an end; none of one that had nothing to look at."""
        if not done.tags:
            return
        wrong, cost = len(done.wrong), done.cost
        self._row |= {
            "status": {0: "succeeded", 130: "interrupted"}.get(done.exit_code, "incomplete"),
            "tags_requested": done.tags,
            "tags_extracted": done.tags - wrong,
            "tags_failed": wrong,
            "requests": cost.requests,
            "retries": cost.retries,
            "throttled": cost.throttled,
            "bytes_fetched": cost.bytes_received,
            "error": shortened(done.failure()),
        }
        if done.mended is not None:
            self._row |= {"commits": done.mended.report.commits, **corrected(done.mended.report.corrections)}
        self._leave()

    def add_failure(self, error: BaseException) -> None:
        """Leave the row of one that ended by an error, unless it was the destination that failed."""
        if isinstance(error, StorageError):
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        why = error.message if isinstance(error, ExtractError) else type(error).__name__
        self._row |= {
            "status": "interrupted" if interrupted else "failed",
            "error": "interrupted" if interrupted else shortened(why),
        }
        self._leave()

    def _leave(self) -> None:
        if not self._config.monitoring.metrics:
            return
        row = {**self._row, "duration_seconds": monotonic() - self._began}
        try:
            add_run(lakehouse_of(self._config), row)
        except ExtractError as trouble:
            LOG.warning("no row was added to the metrics table: %s", trouble)
