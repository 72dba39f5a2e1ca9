"""What a task gives back as JSON, and one report of all of them. Pure.

Invariant: a tag that no share has reported on is undone. Nothing is counted twice, and where the counts of a task are
lost a warning says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import msgspec

from config import errors
from config.errors import ExtractError, FencedError
from writers import CorrectionCounts

from ..net.settings import ClientStats
from ..plan.shards import Shard
from ..telemetry.report import DatasetReport, RunReport


@dataclass(frozen=True, slots=True)
class ShareResult:
    """How a share ended: with a report, or with the error that left nothing to report.

    `lost_before`: so many tasks of this share began before this one, and left no report.
    """

    shard: str
    tags: int
    report: RunReport | None = None
    error: ExtractError | None = None
    lost_before: int = 0

    @property
    def fence(self) -> FencedError | None:
        """The error of a share that another run or task kept out."""
        error = self.error or (self.report and self.report.error)
        return error if isinstance(error, FencedError) else None


@dataclass(frozen=True, slots=True)
class _ErrorText:
    name: str
    message: str
    hint: str


def encode_result(result: ShareResult) -> bytes:
    """As JSON."""
    return msgspec.json.encode(result, enc_hook=_plain)


def decode_result(text: bytes | str) -> ShareResult:
    return msgspec.json.decode(text, type=ShareResult, dec_hook=_whole)


def merged(
    results: Iterable[ShareResult],
    *,
    run_id: str,
    pipeline: str,
    stats: ClientStats,
    seconds: float,
    warnings: Sequence[str] = (),
) -> RunReport:
    """One report of the shares of a run. `stats`: what was asked to find the tags; `seconds`: how long all took.

    Raises the error of the first share, if none has a report.
    """
    found = sorted(results, key=lambda one: int(one.shard.partition("-of-")[0]))
    failed = [one for one in found if one.report is None]
    reports = [one.report for one in found if one.report is not None]
    errors_found = [error for one in found if (error := one.error or (one.report and one.report.error))]
    if not reports:
        raise errors_found[0]  # `ShareResult` has one or the other
    said = dict.fromkeys(text for one in reports for text in one.warnings)
    return RunReport(
        run_id=run_id,
        pipeline=pipeline,
        shard=str(Shard()),
        status=_status(reports, failed),
        tags_requested=sum(one.tags_requested for one in reports) + sum(one.tags for one in failed),
        tags_extracted=sum(one.tags_extracted for one in reports),
        tags_failed=tuple(each for one in reports for each in one.tags_failed),
        tags_undone=sum(one.tags_undone for one in reports) + sum(one.tags for one in failed),
        records_read=sum(one.records_read for one in reports),
        records_written=sum(one.records_written for one in reports),
        watermarks_moved=sum(one.watermarks_moved for one in reports),
        commits=sum(one.commits for one in reports),
        files_written=sum(one.files_written for one in reports),
        bytes_written=sum(one.bytes_written for one in reports),
        requests=stats.requests + sum(one.requests for one in reports),
        retries=stats.retries + sum(one.retries for one in reports),
        throttled=stats.throttled + sum(one.throttled for one in reports),
        bytes_fetched=stats.bytes_received + sum(one.bytes_fetched for one in reports),
        duration_seconds=seconds,
        seconds=_added(one.seconds for one in reports),
        peak_rss_bytes=max(one.peak_rss_bytes for one in reports),
        until=min(one.until for one in reports),
        tables={name: uri for one in reports for name, uri in one.tables.items()},
        warnings=(*warnings, *said, *(text for one in found for text in _notes(one))),
        error=errors_found[0] if errors_found else None,
        corrections=reduce(add, (one.corrections for one in reports), CorrectionCounts()),
        datasets=_datasets(reports),
        holes=tuple(hole for one in reports for hole in one.holes),
        decoder="+".join(dict.fromkeys(one.decoder for one in reports)),
    )


def _status(reports: Sequence[RunReport], failed: Sequence[ShareResult]) -> str:
    """That of the worst share."""
    found = {"failed"} if failed else {one.status for one in reports}
    return next((each for each in ("failed", "interrupted", "incomplete") if each in found), "succeeded")


def _notes(one: ShareResult) -> Iterable[str]:
    if one.report is None and one.error is not None:
        yield f"share {one.shard} ended with nothing to report: {one.error.message}"
    if one.lost_before:
        yield (
            f"share {one.shard} was begun again, after a task of it was lost or fell silent: what that one committed is "
            "in the tables, and in no count here"
        )


def _added(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in several:
        for name, value in one.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _datasets(reports: Sequence[RunReport]) -> dict[str, DatasetReport]:
    found: dict[str, DatasetReport] = {}
    for report in reports:
        for name, one in report.datasets.items():
            found[name] = _both(found[name], one) if name in found else one
    return found


def _both(a: DatasetReport, b: DatasetReport) -> DatasetReport:
    return replace(
        a,
        table=a.table or b.table,
        rows_written=a.rows_written + b.rows_written,
        changed=a.changed + b.changed,
        missing=a.missing + b.missing,
        requests_failed=a.requests_failed + b.requests_failed,
        unread=tuple(dict.fromkeys((*a.unread, *b.unread))),
        problem=a.problem or b.problem,
        failed=a.failed or b.failed,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, ExtractError):
        return _ErrorText(type(value).__name__, value.message, value.hint)
    raise NotImplementedError(type(value).__name__)


def _whole(kind: type, value: Any) -> Any:
    """An error of its class, so that it has its exit code."""
    if kind is not ExtractError:
        raise NotImplementedError(kind.__name__)
    found = getattr(errors, str(value["name"]), ExtractError)
    known = isinstance(found, type) and issubclass(found, ExtractError)
    return (found if known else ExtractError)(value["message"], hint=value["hint"])
