"""Adds the rows of a run to the monitoring tables.

pi_connector_metrics gets a row when the run ends, and every hour when it follows. pi_quarantine gets a row for each
piece of an answer that could not be read. A row that cannot be added is a warning: it does not fail the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from config import Config
from config.errors import ExtractError, StorageError
from writers import PI_QUARANTINE, Lakehouse, add_rows, add_run

from ..clock import monotonic, wall_micros
from ..net.settings import ClientStats
from ..plan.shards import Shard
from ..telemetry.events import Quarantined
from ..telemetry.freshness import Freshness
from ..telemetry.metrics import row_of_failure, row_of_report, since
from ..telemetry.report import RunReport, Tally
from .metrics_output import MetricsOutput

LOG = logging.getLogger("osipi.run")
# Not everything is kept of a source that sends nothing that can be read.
_MAX_QUARANTINED = 10_000


class RunMetricsWriter:
    """Writes the rows of one run."""

    def __init__(self, config: Config, shard: Shard, run_id: str) -> None:
        self._enabled = config.monitoring.metrics
        self.run_id = run_id
        self.began = monotonic()
        self._run = (run_id, config.pipeline, str(shard))
        self.output = MetricsOutput(config, str(shard))
        self._started_at = wall_micros()
        self._last_row: Mapping[str, Any] | None = None
        self._quarantined: dict[tuple[str, int, str], dict[str, Any]] = {}
        self.has_kept_pieces = False

    def note(self, piece: Quarantined) -> None:
        """Keep a piece that could not be read until the next row is added. A piece that is met again is one row."""
        if len(self._quarantined) < _MAX_QUARANTINED:
            row = {
                "run_id": self._run[0],
                "pipeline": self._run[1],
                "found_at": wall_micros(),
                "tag_webid": piece.web_id,
                "tag_name": piece.tag,
                "window_start": piece.start,
                "window_end": piece.end,
                "reason": piece.reason,
                "excerpt": piece.excerpt,
            }
            self.has_kept_pieces = True
            self._quarantined.setdefault((piece.web_id, piece.start, piece.reason), row)

    async def add(self, lakehouse: Lakehouse, report: RunReport, fresh: Freshness | None) -> None:
        """Add the row of a run that has a report, final or not. It counts what came since the last row."""
        await self.show(report, fresh)
        await self._add(lakehouse, row_of_report(report, started_at=self._started_at, fresh=fresh))

    async def show(self, report: RunReport, fresh: Freshness | None) -> None:
        """Give what the report counts to Prometheus and OpenTelemetry alone."""
        if self.output.enabled:
            row = row_of_report(report, started_at=self._started_at, fresh=fresh)
            await self.output.put(row, len(report.holes))

    async def add_failure(
        self,
        lakehouse: Lakehouse,
        error: BaseException,
        tally: Tally,
        stats: ClientStats,
        *,
        tags_extracted: int,
        fresh: Freshness | None,
    ) -> None:
        """Add the row of a run that ended by an error, unless the destination failed.

        `tags_extracted`: tags that were complete before.
        """
        row = row_of_failure(
            error,
            tally,
            run=self._run,
            started_at=self._started_at,
            duration_seconds=monotonic() - self.began,
            asked=(stats.requests, stats.retries, stats.throttled, stats.bytes_received),
            tags_extracted=tags_extracted,
            fresh=fresh,
        )
        if self.output.enabled:
            await self.output.put(row, None, failed=True)
        if not isinstance(error, StorageError):
            await self._add(lakehouse, row)

    async def _add(self, lakehouse: Lakehouse, row: dict[str, Any]) -> None:
        if not self._enabled:
            return
        await self._add_quarantine_rows(lakehouse)
        try:
            await asyncio.to_thread(add_run, lakehouse, since(self._last_row, row))
        except ExtractError as error:
            LOG.warning("no row was added to the metrics table: %s", error)
            return
        self._last_row = row

    async def _add_quarantine_rows(self, lakehouse: Lakehouse) -> None:
        rows, self._quarantined = list(self._quarantined.values()), {}
        if not rows:
            return
        try:
            await asyncio.to_thread(add_rows, lakehouse, PI_QUARANTINE, rows)
        except ExtractError as error:
            LOG.warning("%d pieces that could not be read were not kept in the quarantine: %s", len(rows), error)
