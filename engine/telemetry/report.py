"""The report of a run: what its events add up to, as JSON, as a sentence, and as a table for notebooks.

Invariant: counts reported are counts committed. What comes from a server is escaped and shortened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from typing import Any, NamedTuple

from config.errors import ExtractError
from writers import CorrectionCounts, Hole

from ..model import Micros
from ..plan.timeline import instant
from .events import (
    Answered,
    Cleared,
    Committed,
    DatasetSynced,
    Planned,
    RequestFailed,
    RunEvent,
    Started,
    Stopping,
    TagFailed,
    TagsFound,
)
from .formats import count, format_duration, one_line, size

EXIT_INTERRUPTED = 130
# A report names this many failed tags; all of them are in the checkpoint table.
MAX_FAILED_LISTED = 1000
_TAGS_NAMED = 3
_TAGS_LISTED = 20
_LONGEST_REASON = 200
_COLOURS = {"succeeded": "#1a7f37", "incomplete": "#9a6700", "interrupted": "#9a6700"}


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a run did to one dataset: rows written, rows changed, and rows that were missing at the source.

    `unread` names parts that could not be read, with the reason. `problem`: why nothing could be read or written.
    """

    table: str = ""
    rows_written: int = 0
    changed: int = 0
    missing: int = 0
    requests_failed: int = 0
    unread: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    failed: bool = False

    def with_event(self, event: DatasetSynced | Committed | RequestFailed) -> DatasetReport:
        """Add an event. Counts add up; `unread` and `problem` are those of the last event, and of those it goes on with."""
        match event:
            case DatasetSynced():
                before = self if event.goes_on else DatasetReport()
                return replace(
                    self,
                    table=event.table,
                    rows_written=self.rows_written + event.added,
                    changed=self.changed + event.changed,
                    missing=self.missing + event.missing,
                    unread=tuple(dict.fromkeys((*before.unread, *event.unread))),
                    problem=before.problem or event.problem,
                    failed=before.failed or event.failed,
                )
            case Committed():
                return replace(
                    self,
                    rows_written=self.rows_written + event.rows + event.corrections.inserted,
                    changed=self.changed + event.corrections.changed,
                    missing=self.missing + event.corrections.deleted,
                )
            case RequestFailed():
                return replace(self, requests_failed=self.requests_failed + 1)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "rows_written": self.rows_written,
            "changed": self.changed,
            "missing": self.missing,
            "requests_failed": self.requests_failed,
            "unread": [{"part": part, "reason": why} for part, why in self.unread],
            "problem": self.problem or None,
        }


@dataclass(slots=True)
class Tally:
    """Adds up events. `seconds` are work, not wall time, since stages overlap. `failed` are the tags that fail now."""

    started: Started | None = None
    planned: Planned | None = None
    tags_requested: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, DatasetReport] = field(default_factory=dict)
    decoder: str = "python"
    stop_reason: str = ""
    records_read: int = 0
    records_written: int = 0
    corrections: CorrectionCounts = field(default_factory=CorrectionCounts)
    commits: int = 0
    files: int = 0
    bytes_written: int = 0
    watermarks_moved: int = 0
    answers: int = 0
    body_bytes: int = 0
    requests_failed: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: {
            "discover": 0.0,
            "prepare": 0.0,
            "fetch": 0.0,
            "decode": 0.0,
            "stage": 0.0,
            "commit": 0.0,
        }
    )

    def __call__(self, event: RunEvent) -> None:
        match event:
            case Started():
                self.started = event
                self.decoder = event.decoder
                self.datasets = {name: DatasetReport() for name in event.datasets}
            case TagsFound():
                self.tags_requested = event.tags + event.unresolved
                self.seconds["discover"] += event.seconds
            case DatasetSynced():
                self._note(event)
            case Planned():
                self.planned = event
                self.seconds["prepare"] += event.seconds
            case Answered():
                self.answers += 1
                self.records_read += event.read
                self.body_bytes += event.body_bytes
                self.seconds["fetch"] += event.fetch_secs
                self.seconds["decode"] += event.decode_secs
            case RequestFailed():
                self.requests_failed += 1
                self._note(event)
            case TagFailed():
                self.failed[event.tag] = event.reason
            case Cleared():
                self.failed.pop(event.tag, None)
            case Stopping():
                self.stop_reason = event.reason
            case Committed():
                self._note(event)
                self.commits += 1
                self.records_written += event.rows
                self.corrections += event.corrections
                self.watermarks_moved += event.tags
                self.files += event.files
                self.bytes_written += event.size_bytes
                self.seconds["stage"] += event.stage_secs
                self.seconds["commit"] += event.commit_secs
            case _:
                pass

    def _note(self, event: DatasetSynced | Committed | RequestFailed) -> None:
        self.datasets[event.dataset] = self.datasets.get(event.dataset, DatasetReport()).with_event(event)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems that did not keep tags from being read."""
        return tuple(f"{one.table} is not up to date: {one.problem}" for one in self.datasets.values() if one.problem)


class OpenHole(NamedTuple):
    """A hole of a tag: a window that the source could not give."""

    tag: str
    hole: Hole

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        hole = self.hole
        return {
            "tag": self.tag,
            "tag_webid": hole.tag_webid,
            "start": instant(hole.start),
            "end": instant(hole.end),
            "since": instant(hole.since),
            "attempts": hole.attempts,
            "ask_at": instant(hole.ask_at),
            "reason": hole.error,
        }


class RunFailedError(ExtractError):
    """A run has left something undone. `report` says what it did; None of a command that is no run."""

    def __init__(self, message: str, *, hint: str = "", report: RunReport | None = None) -> None:
        super().__init__(message, hint=hint)
        self.report = report


@dataclass(frozen=True, slots=True, repr=False)
class RunReport:
    """What a run did, and what it left undone.

    status: `succeeded`, `incomplete` (some tags failed or have holes, or the source gave out), `interrupted`
    (asked to stop), `failed` (the run could not go on). Undone tags have neither failed nor finished.
    A run that follows is never done. So being asked to stop makes it neither interrupted nor incomplete. Its failed
    tags are those that failed at the end. `records_read` are events that answers
    held, `records_written` those of them that were new and appended: the others were compared with what the
    table holds. What was mended in the past is counted in `corrections`. `holes`: what could not be read of tags that
    were; it is asked for again.
    """

    run_id: str
    pipeline: str
    shard: str
    status: str
    tags_requested: int
    tags_extracted: int
    tags_failed: tuple[tuple[str, str], ...]
    tags_undone: int
    records_read: int
    records_written: int
    watermarks_moved: int
    commits: int
    files_written: int
    bytes_written: int
    requests: int
    retries: int
    throttled: int
    bytes_fetched: int
    duration_seconds: float
    seconds: dict[str, float]
    peak_rss_bytes: int
    until: str
    tables: dict[str, str]
    warnings: tuple[str, ...] = ()
    error: ExtractError | None = None
    corrections: CorrectionCounts = field(default_factory=CorrectionCounts)
    datasets: dict[str, DatasetReport] = field(default_factory=dict)
    holes: tuple[OpenHole, ...] = ()
    decoder: str = "python"

    @property
    def digital_states(self) -> DatasetReport:
        return self.datasets.get("digital_states", DatasetReport())

    @property
    def exit_code(self) -> int:
        """0 all done, 1 something is left undone, 130 interrupted, else the code of the error."""
        if self.error is not None:
            return self.error.exit_code
        return {"succeeded": 0, "interrupted": EXIT_INTERRUPTED}.get(self.status, 1)

    def failure(self) -> str | None:
        """One sentence: what is left undone, and why. None if all is done."""
        return None if self.exit_code == 0 else one_line(_failure(self))

    def raise_for_status(self) -> None:
        """Raise `RunFailedError` unless everything was done: for notebooks that run as jobs."""
        said = self.failure()
        if said is not None:
            raise RunFailedError(said, report=self)

    def __str__(self) -> str:
        title = f"{self.status}: run {self.run_id} of pipeline {self.pipeline}"
        lines = [*facts(self), ("time", _times(self)), *_details(self)]
        return "\n".join([one_line(title), *(f"  {one_line(name):<28}  {one_line(text)}" for name, text in lines)])

    def __repr__(self) -> str:
        return (
            f"RunReport({self.status}: run {self.run_id} of pipeline {self.pipeline}, "
            f"{self.tags_extracted:,} of {self.tags_requested:,} tags, {self.records_written:,} events "
            f"in {self.duration_seconds:.1f} s)"
        )

    def _repr_html_(self) -> str:
        return _html(self)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        listed = self.tags_failed[:MAX_FAILED_LISTED]
        return {
            "run_id": self.run_id,
            "pipeline": self.pipeline,
            "shard": self.shard,
            "status": self.status,
            "exit_code": self.exit_code,
            "tags_requested": self.tags_requested,
            "tags_extracted": self.tags_extracted,
            "tags_failed": [{"tag": tag, "reason": reason} for tag, reason in listed],
            "tags_failed_count": len(self.tags_failed),
            "tags_undone": self.tags_undone,
            "holes": [hole.as_dict() for hole in self.holes[:MAX_FAILED_LISTED]],
            "holes_count": len(self.holes),
            "records_read": self.records_read,
            "records_written": self.records_written,
            "corrections": asdict(self.corrections),
            "digital_states": {
                "added": self.digital_states.rows_written,
                "changed": self.digital_states.changed,
                "missing": self.digital_states.missing,
                "sets_unread": [{"set": one, "reason": why} for one, why in self.digital_states.unread],
            },
            "datasets": {name: one.as_dict() for name, one in self.datasets.items()},
            "watermarks_moved": self.watermarks_moved,
            "commits": self.commits,
            "files_written": self.files_written,
            "bytes_written": self.bytes_written,
            "requests": self.requests,
            "retries": self.retries,
            "throttled": self.throttled,
            "bytes_fetched": self.bytes_fetched,
            "duration_seconds": round(self.duration_seconds, 3),
            "seconds": {stage: round(secs, 3) for stage, secs in self.seconds.items()},
            "peak_rss_bytes": self.peak_rss_bytes or None,
            "decoder": self.decoder,
            "until": self.until,
            "tables": self.tables,
            "warnings": list(self.warnings),
            "error": None if self.error is None else {"message": self.error.message, "hint": self.error.hint},
        }


def _failure(report: RunReport) -> str:
    """Why a run that is not a success is none: the error that stopped it, the tags it failed, what is left."""
    parts = []
    if report.error is not None:
        parts.append(f"{report.error.message}{f' ({report.error.hint})' if report.error.hint else ''}")
    if report.tags_failed:
        named = "; ".join(f"{tag}: {_short(reason)}" for tag, reason in report.tags_failed[:_TAGS_NAMED])
        more = "; ..." if len(report.tags_failed) > _TAGS_NAMED else ""
        parts.append(f"{count(len(report.tags_failed), 'tag')} failed: {named}{more}")
    if report.holes:
        named_ones = "; ".join(f"{one.tag} {hole_text(one.hole)}" for one in report.holes[:_TAGS_NAMED])
        more = "; ..." if len(report.holes) > _TAGS_NAMED else ""
        parts.append(f"{count(len(report.holes), 'hole')} could not be read: {named_ones}{more}")
    parts += failed_datasets(report)
    if report.tags_undone:
        parts.append(f"{count(report.tags_undone, 'tag')} not finished")
    if report.status == "interrupted":
        parts.append("what was complete is in the tables, running again continues there")
    return f"run {report.run_id} of pipeline {report.pipeline} is {report.status}: {'. '.join(parts)}"


def failed_datasets(report: RunReport) -> Iterator[str]:
    """A sentence for each dataset that could not be read whole."""
    for name, one in report.datasets.items():
        if one.failed:
            why = [one.problem] if one.problem else [f"{part}: {reason}" for part, reason in one.unread]
            yield f"{name} could not be read whole: {'; '.join(map(_short, why[:_TAGS_NAMED]))}"


def _html(report: RunReport) -> str:
    """What a notebook shows."""
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(one_line(name))}</th>'
        f'<td style="text-align:left">{escape(one_line(text))}</td></tr>'
        for name, text in (*facts(report), ("time", _times(report)), *_details(report))
    )
    colour = _COLOURS.get(report.status, "#cf222e")
    title = (
        f'<b style="color:{colour}">{escape(report.status)}</b> '
        f"run {escape(report.run_id)} of pipeline {escape(report.pipeline)}"
    )
    return f"<div>{title}<table>{rows}</table></div>"


def facts(report: RunReport) -> Iterator[tuple[str, str]]:
    """What a run did, in numbers: names and texts."""
    undone = f", {count(report.tags_undone)} not finished" if report.tags_undone else ""
    failed = f", {count(len(report.tags_failed))} failed" if report.tags_failed else ""
    done = f"{count(report.tags_extracted)} of {count(report.tags_requested)} read up to {report.until[:19]}Z"
    yield "tags", f"{done}{undone}{failed}"
    secs = report.duration_seconds
    speed = f" ({count(report.records_written / secs)} per second)" if secs > 0 and report.records_written else ""
    yield "events", f"{count(report.records_written)} written in {format_duration(secs)}{speed}"
    if report.corrections:
        yield "corrected", corrected(report.corrections)
    for table, changes in synced(report):
        yield table, one_line(changes)
    retries = f", {count(report.retries)} repeated" if report.retries else ""
    throttled = f", {count(report.throttled)} throttled" if report.throttled else ""
    received = f"{count(report.records_read, 'event')} read, {size(report.bytes_fetched)} received"
    yield "requests", f"{count(report.requests)}{retries}{throttled}; {received}"
    files = f"{count(report.files_written, 'file')} of {size(report.bytes_written)}"
    yield "commits", f"{count(report.commits)} with {files}; {count(report.watermarks_moved, 'watermark')} moved"
    if report.peak_rss_bytes:  # not known on every system
        yield "memory", f"{size(report.peak_rss_bytes)} at most"
    yield "decoder", report.decoder


def _times(report: RunReport) -> str:
    """How long it took, and the work of each stage. Stages overlap."""
    stages = ", ".join(f"{stage} {format_duration(secs)}" for stage, secs in report.seconds.items() if secs >= 0.05)
    return f"{format_duration(report.duration_seconds)}{f'; {stages}' if stages else ''}"


def _details(report: RunReport) -> Iterator[tuple[str, str]]:
    """Tables, warnings and failures, for a notebook."""
    yield from report.tables.items()
    for warning in report.warnings:
        yield "warning", warning
    if report.error is not None:
        yield "stopped by", report.error.message
        if report.error.hint:
            yield "what to do", report.error.hint
    for tag, reason in report.tags_failed[:_TAGS_LISTED]:
        yield "failed", f"{tag}: {_short(reason)}"
    if len(report.tags_failed) > _TAGS_LISTED:
        yield "failed", f"and {len(report.tags_failed) - _TAGS_LISTED:,} more"
    for one in report.holes[:_TAGS_LISTED]:
        yield "hole", f"{one.tag} {hole_text(one.hole)}"
    if len(report.holes) > _TAGS_LISTED:
        yield "hole", f"and {len(report.holes) - _TAGS_LISTED:,} more"


def hole_text(hole: Hole) -> str:
    """Where a hole is, its reason, and when it is asked for again."""
    asked = "once" if hole.attempts <= 1 else f"{hole.attempts} times"
    reason = _short(hole.error).rstrip(".")
    return f"{window(hole.start, hole.end)}: {reason}; asked {asked}, again from {instant(hole.ask_at)[:19]}Z on"


def window(start: Micros, end: Micros) -> str:
    """A window for people; a single instant if it is that short."""
    if end - start <= 1:
        return f"at {instant(start)}"
    return f"from {instant(start)} to {instant(end)}"


def corrected(counts: CorrectionCounts) -> str:
    """Corrections in numbers."""
    done = f"{counts.inserted:,} inserted, {counts.changed:,} changed, {counts.deleted:,} deleted"
    return f"{done}; {counts.files_rewritten:,} file{'' if counts.files_rewritten == 1 else 's'} rewritten"


def synced(report: RunReport) -> Iterator[tuple[str, str]]:
    """For each table that follows the source and has changed: its name, and what has changed."""
    for one in report.datasets.values():
        parts = []
        if one.rows_written or one.changed or one.missing:
            parts.append(f"{one.rows_written:,} new, {one.changed:,} changed, {one.missing:,} gone")
        if one.unread:
            parts.append(f"not read: {named(one.unread)}")
        if one.table and parts:
            yield one.table, "; ".join(parts)


def named(failures: Sequence[tuple[str, str]]) -> str:
    """The first failures with their reasons, and the number of the others."""
    named_ones = "; ".join(f"{name}: {_short(reason)}" for name, reason in failures[:_TAGS_NAMED])
    more = len(failures) - _TAGS_NAMED
    return named_ones + (f"; and {more:,} more" if more > 0 else "")


def _short(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
