"""From what a run has counted to its report. Pure.

Invariant: a tag is extracted, failed or undone, and never two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .follow import Cycle
from .net.settings import ClientStats
from .piweb.times import iso_text
from .telemetry.report import OpenHole, RunReport, Tally, peak_rss_bytes

__all__ = ["report_of"]


def report_of(
    tally: Tally,
    last: Cycle,
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
    """The report of a run whose last cycle is over. `run` is its id, pipeline and shard; `unresolved`: what it was
    to read and is no tag; `holes`: what of the tags cannot be read.
    """
    run_id, pipeline, shard = run
    failed = {**dict(unresolved), **tally.failed}
    # Who follows is never done, and was to stop when asked to.
    left = last.undone and not follows
    if interrupted and not follows:
        status = "interrupted"
    else:
        status = "incomplete" if failed or left or last.stopped or holes else "succeeded"
    return RunReport(
        run_id=run_id,
        pipeline=pipeline,
        shard=shard,
        status=status,
        tags_requested=tally.tags_requested,
        tags_extracted=tally.tags_requested - len(failed) - last.undone,
        tags_failed=tuple(failed.items()),
        tags_undone=last.undone,
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
        seconds=dict(tally.seconds),
        peak_rss_bytes=peak_rss_bytes(),
        until=iso_text(last.until),
        tables=dict(tables),
        warnings=(*warnings, *tally.warnings),
        error=last.stopped,
        corrections=tally.corrections,
        digital_states=tally.states,
    )
