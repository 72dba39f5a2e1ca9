"""The row that a verification adds to the metrics table, whether it succeeded or not.

If the row cannot be added, the verification does not fail: there is a warning.
"""

from __future__ import annotations

import logging

from config import Config
from config.errors import ExtractError, StorageError
from writers import add_run

from ...clock import monotonic, wall_micros
from ...datasets.recorded_values import RECORDED
from ...plan.shards import Shard
from ...run.connect import lakehouse_of
from ...telemetry.metrics import corrected, empty_row, ended_by, shortened
from .render import failure
from .repair import VerifyOutcome

LOG = logging.getLogger("osipi.verify")


class VerifyMetricsWriter:
    """Writes the row of one verification. Its time starts now."""

    def __init__(self, config: Config, run_id: str) -> None:
        self._config = config
        self._began = monotonic()
        run = (run_id, config.pipeline, str(Shard()))
        self._row = empty_row(run, started_at=wall_micros(), command="verify", datasets=(RECORDED.name,))

    def add(self, outcome: VerifyOutcome) -> None:
        """Add the row of a finished verification; none if it had no tags."""
        if not outcome.tags:
            return
        wrong, cost = len(outcome.wrong), outcome.cost
        self._row |= {
            "status": {0: "succeeded", 130: "interrupted"}.get(outcome.exit_code, "incomplete"),
            "tags_requested": outcome.tags,
            "tags_extracted": outcome.tags - wrong,
            "tags_failed": wrong,
            "requests": cost.requests,
            "retries": cost.retries,
            "throttled": cost.throttled,
            "bytes_fetched": cost.bytes_received,
            "error": shortened(failure(outcome)),
        }
        if outcome.repair is not None:
            self._row |= {"commits": outcome.repair.report.commits, **corrected(outcome.repair.report.corrections)}
        self._write()

    def add_failure(self, error: BaseException) -> None:
        """Add the row of a verification that raised an error, unless the destination failed."""
        if not isinstance(error, StorageError):
            self._row |= ended_by(error)
            self._write()

    def _write(self) -> None:
        if not self._config.monitoring.metrics:
            return
        row = {**self._row, "duration_seconds": monotonic() - self._began}
        try:
            add_run(lakehouse_of(self._config), row)
        except ExtractError as trouble:
            LOG.warning("no row was added to the metrics table: %s", trouble)
