"""The report of a run: folded from its events, so counts reported are counts committed. Pure."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from config.errors import ExtractError
from writers import CorrectionCounts, Hole

from ..plan.timeline import instant
from . import report_text
from .events import (
    Answered,
    Cleared,
    Committed,
    Event,
    Planned,
    RequestFailed,
    Started,
    StatesSynced,
    Stopping,
    TagFailed,
    TagsFound,
)

__all__ = ["EXIT_INTERRUPTED", "RunFailedError", "RunReport", "Tally", "peak_rss_bytes"]

EXIT_INTERRUPTED = 130
# A report names this many failed tags; all of them are in the checkpoint table.
MAX_FAILED_LISTED = 1000


def peak_rss_bytes() -> int:
    """Most memory this program ever had resident.

    What getrusage says on Linux holds for the process: it counts what the program had that started us, too.
    """
    with suppress(OSError):
        own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        if own is not None:
            return int(own[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(slots=True)
class Tally:
    """Adds events up. `seconds` are work, not wall time: stages overlap; `failed` are the tags that fail now."""

    started: Started | None = None
    planned: Planned | None = None
    tags_requested: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    states: StatesSynced = field(default_factory=StatesSynced)
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
    partitions: set[str] = field(default_factory=set)
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

    def __call__(self, event: Event) -> None:
        match event:
            case Started():
                self.started = event
            case TagsFound():
                self.tags_requested = event.tags + event.unresolved
                self.seconds["discover"] += event.seconds
            case StatesSynced():
                self.states = self.states.then(event)
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
            case TagFailed():
                self.failed[event.tag] = event.reason
            case Cleared():
                self.failed.pop(event.tag, None)
            case Stopping():
                self.stop_reason = event.reason
            case Committed():
                self.commits += 1
                self.records_written += event.rows
                self.corrections += event.corrections
                self.watermarks_moved += event.tags
                self.partitions |= event.partitions
                self.files += event.files
                self.bytes_written += event.size_bytes
                self.seconds["stage"] += event.stage_secs
                self.seconds["commit"] += event.commit_secs
            case _:
                pass

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong and keeps no tag from being read."""
        return (f"pi_digital_states is not up to date: {self.states.problem}",) if self.states.problem else ()


class OpenHole(NamedTuple):
    """A window of a tag that is done but for what the source could not give."""

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
    """A run has left something undone."""


@dataclass(frozen=True, slots=True, repr=False)
class RunReport:
    """What a run did, and what it left undone.

    status: `succeeded`, `incomplete` (some tags failed or have holes, or the source gave out), `interrupted`
    (asked to stop), `failed` (the run could not go on). Undone tags have neither failed nor finished.
    A run that follows is never done, so that being asked to stop makes it neither interrupted nor
    incomplete; its failed tags are those that failed at the end. `records_read` are events that answers
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
    digital_states: StatesSynced = field(default_factory=StatesSynced)
    holes: tuple[OpenHole, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 all done, 1 something is left undone, 130 interrupted, else the code of the error."""
        if self.error is not None:
            return self.error.exit_code
        return {"succeeded": 0, "interrupted": EXIT_INTERRUPTED}.get(self.status, 1)

    def failure(self) -> str | None:
        """One sentence on what is left undone and why; None where all is done."""
        return None if self.exit_code == 0 else report_text.failure(self)

    def raise_for_status(self) -> None:
        """Raise `RunFailedError` unless everything was done: for notebooks that run as jobs."""
        said = self.failure()
        if said is not None:
            raise RunFailedError(said)

    def __repr__(self) -> str:
        return report_text.line(self)

    def _repr_html_(self) -> str:
        return report_text.html(self)

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
                "added": self.digital_states.added,
                "changed": self.digital_states.changed,
                "missing": self.digital_states.missing,
                "sets_unread": [{"set": one, "reason": why} for one, why in self.digital_states.unread],
            },
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
            "peak_rss_bytes": self.peak_rss_bytes,
            "until": self.until,
            "tables": self.tables,
            "warnings": list(self.warnings),
            "error": None if self.error is None else {"message": self.error.message, "hint": self.error.hint},
        }
