"""What became of a cycle, and the report of a run. Pure.

Invariant: a tag is extracted, failed or undone, and never two of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from config.errors import ExtractError

from ..model import Micros
from ..net.settings import ClientStats
from ..piweb.times import iso_text
from ..telemetry.peak_memory import peak_rss_bytes
from ..telemetry.report import OpenHole, RunReport, Tally


@dataclass(frozen=True, slots=True)
class CycleResult:
    """The result of reading some tags once, up to `until`.

    `rows` were appended, and `partitions` written to. `failed`: names of tags by WebID. `unfinished`: WebIDs of tags that
    have neither failed nor finished. `stopped`: the error of the source that ended the cycle early. `stale`: WebIDs of
    tags that other writers changed while a repair read them; it has to read them once more.
    """

    until: Micros
    rows: int = 0
    partitions: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    unfinished: Collection[str] = frozenset()
    stopped: ExtractError | None = None
    stale: Collection[str] = frozenset()

    def then(self, later: CycleResult) -> CycleResult:
        """Both results as one. The later one says how it ended."""
        return replace(
            later,
            rows=self.rows + later.rows,
            partitions=self.partitions | later.partitions,
            failed={**self.failed, **later.failed},
            unfinished={*self.unfinished, *later.unfinished},
        )


def report_of(
    tally: Tally,
    last: CycleResult,
    stats: ClientStats,
    *,
    run: tuple[str, str, str],
    unresolved: Sequence[tuple[str, str]],
    holes: Sequence[OpenHole] = (),
    interrupted: bool,
    follows: bool,
    seconds: float,
    tables: Mapping[str, str],
    warnings: Sequence[str],
) -> RunReport:
    """The report of a run whose last cycle is over.

    `run`: its id, pipeline and shard. `unresolved`: what is configured and is no tag. `holes`: windows of tags that
    cannot be read.
    """
    run_id, pipeline, shard = run
    failed = {**dict(unresolved), **tally.failed}
    # A run that follows is never done: being asked to stop is its regular end.
    undone = len(last.unfinished)
    left = undone and not follows
    unread = any(one.failed for one in tally.datasets.values())
    if interrupted and not follows:
        status = "interrupted"
    else:
        status = "incomplete" if failed or left or last.stopped or holes or unread else "succeeded"
    return RunReport(
        run_id=run_id,
        pipeline=pipeline,
        shard=shard,
        status=status,
        tags_requested=tally.tags_requested,
        tags_extracted=tally.tags_requested - len(failed) - undone,
        tags_failed=tuple(failed.items()),
        tags_undone=undone,
        holes=tuple(holes),
        records_read=tally.records_read,
        records_written=tally.records_written,
        watermarks_moved=tally.watermarks_moved,
        commits=tally.commits,
        files_written=tally.files,
        bytes_written=tally.bytes_written,
        requests=stats.requests,
        retries=stats.retries,
        throttled=stats.throttled,
        bytes_fetched=stats.bytes_received,
        duration_seconds=seconds,
        decoder=tally.decoder,
        seconds=dict(tally.seconds),
        peak_rss_bytes=peak_rss_bytes(),
        until=iso_text(last.until),
        tables=dict(tables),
        warnings=(*warnings, *tally.warnings),
        error=last.stopped,
        corrections=tally.corrections,
        datasets=dict(tally.datasets),
    )
