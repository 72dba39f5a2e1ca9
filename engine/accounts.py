"""The rows that a run leaves in the monitoring tables: in that of metrics one at its end, or, when following, also now
and then; in that of the quarantine one for each piece of an answer that could not be read.

Knows when the run began and what earlier rows told, and sees to it that a run is not worse for a row that is missing: trouble is a
warning. What a row says is `telemetry.metrics`' business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from config import Config
from config.errors import ExtractError, StorageError
from writers import PI_QUARANTINE, Lakehouse, add_rows, add_run

from .clock import monotonic, wall_micros
from .net.settings import ClientStats
from .plan.shards import Shard
from .telemetry.events import Quarantined
from .telemetry.freshness import Freshness
from .telemetry.metrics import row_of_failure, row_of_report, since
from .telemetry.report import RunReport, Tally

__all__ = ["Accounts"]

LOG = logging.getLogger("osipi.run")
# A source that sends nothing but rubbish is not kept whole.
_MOST_QUARANTINED = 10_000


class Accounts:
    """Of one run."""

    def __init__(self, config: Config, shard: Shard, run_id: str) -> None:
        self._wanted = config.monitoring.metrics
        self._run = (run_id, config.pipeline, str(shard))
        self._began = monotonic()
        self._started_at = wall_micros()
        self._told: Mapping[str, Any] | None = None
        self._quarantined: dict[tuple[str, int, str], dict[str, Any]] = {}

    def note(self, piece: Quarantined) -> None:
        """Keep a piece that could not be read until the next row is left. Told several times, it is one row."""
        if len(self._quarantined) < _MOST_QUARANTINED:
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
            self._quarantined.setdefault((piece.web_id, piece.start, piece.reason), row)

    async def add(self, lakehouse: Lakehouse | None, report: RunReport, fresh: Freshness | None) -> None:
        """Leave the row of a run that has a report, final or not: what came since the last row."""
        await self._add(lakehouse, row_of_report(report, started_at=self._started_at, fresh=fresh))

    async def add_failure(
        self,
        lakehouse: Lakehouse | None,
        error: BaseException,
        tally: Tally,
        stats: ClientStats | None,
        *,
        tags_extracted: int,
        fresh: Freshness | None,
    ) -> None:
        """Leave the row of a run that ended by an error, unless it was the destination that failed.

        `tags_extracted`: tags that it had brought to their end before.
        """
        if isinstance(error, StorageError):
            return
        row = row_of_failure(
            error,
            tally,
            run=self._run,
            started_at=self._started_at,
            duration_seconds=monotonic() - self._began,
            asked=(stats.requests, stats.retries, stats.throttled, stats.bytes_received) if stats else (0, 0, 0, 0),
            tags_extracted=tags_extracted,
            fresh=fresh,
        )
        await self._add(lakehouse, row)

    async def _add(self, lakehouse: Lakehouse | None, row: dict[str, Any]) -> None:
        if lakehouse is None or not self._wanted:
            return
        await self._add_quarantined(lakehouse)
        try:
            await asyncio.to_thread(add_run, lakehouse, since(self._told, row))
        except ExtractError as error:
            LOG.warning("no row was added to the metrics table: %s", error)
            return
        self._told = row

    async def _add_quarantined(self, lakehouse: Lakehouse) -> None:
        rows, self._quarantined = list(self._quarantined.values()), {}
        if not rows:
            return
        try:
            await asyncio.to_thread(add_rows, lakehouse, PI_QUARANTINE, rows)
        except ExtractError as error:
            LOG.warning("%d pieces that could not be read were not kept in the quarantine: %s", len(rows), error)
