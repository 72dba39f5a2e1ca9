"""How a pipeline stands: from its watermarks and its newest commits to what a person wants to know. Pure.

Invariant: every tag is among those whose freshness is told, or among those of which nothing is read yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from writers import Watermark
from writers.history import Commit

from ..model import Micros
from ..telemetry.freshness import Freshness, freshness

__all__ = ["LastRun", "Standing", "last_runs", "standing", "with_metrics"]

# A tag that is this much behind the freshest one is not just waiting for its turn.
_BEHIND: Micros = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """A pipeline at one instant. `low` and `high` are the earliest and latest watermark of each kind; where tags
    store future data, their present counts as `high`. `ahead`: how many are read beyond it, and how far at most.
    """

    tags: int
    unread: int
    rows: int
    low: tuple[Micros, Micros] | None
    high: tuple[Micros, Micros] | None
    ahead: tuple[int, Micros] | None
    freshness: Freshness | None
    troubled: tuple[Watermark, ...]
    behind: tuple[Watermark, ...]


@dataclass(frozen=True, slots=True)
class LastRun:
    """What is known of a run: its newest commit and its events; `or_more` where older commits were not looked at.

    What only the metrics table knows is left empty for a run that has no row there: one at work, or killed.
    """

    run_id: str
    shard: str
    ended_at: Micros
    events: int
    or_more: bool = False
    status: str = ""
    duration_seconds: float | None = None
    tags_failed: int = 0
    error: str | None = None
    command: str = "run"


def standing(marks: Mapping[str, Watermark], now: Micros) -> Standing:
    """Sum the watermarks up. Troubled tags and those behind come worst first."""
    every = list(marks.values())
    read = [mark for mark in every if mark.high > mark.low]
    lows, highs = [mark.low for mark in read], [mark.present for mark in read]
    ahead = [mark.high for mark in read if mark.high > mark.present]
    troubled = sorted((m for m in every if m.status != "ok"), key=lambda m: (m.present, m.tag_webid))
    newest = min(max(highs, default=0), now)
    behind = sorted((m for m in read if m.status == "ok" and newest - m.present > _BEHIND), key=lambda m: m.present)
    return Standing(
        tags=len(marks),
        unread=len(marks) - len(read),
        rows=sum(mark.rows_total for mark in every),
        low=(min(lows), max(lows)) if lows else None,
        high=(min(highs), max(highs)) if highs else None,
        ahead=(len(ahead), max(ahead)) if ahead else None,
        freshness=freshness(highs, now),
        troubled=tuple(troubled),
        behind=tuple(behind),
    )


def last_runs(
    pipeline: str, data: Sequence[Commit], watermarks: Sequence[Commit], *, limit: int
) -> tuple[LastRun, ...]:
    """The newest runs of a pipeline, by the newest commits to its two tables, which come newest first."""
    mine = f"osipi/{pipeline}/"
    cut = data[-1].run_id if data and data[-1].version > 1 else ""
    runs: dict[str, LastRun] = {}
    for commit, rows in (*((c, c.rows) for c in data), *((c, 0) for c in watermarks)):
        if not commit.app_id.startswith(mine) or not commit.run_id:
            continue
        shard = commit.app_id.rpartition("/")[2]
        known = runs.get(commit.run_id, LastRun(commit.run_id, shard, commit.at, 0, commit.run_id == cut))
        runs[commit.run_id] = replace(known, ended_at=max(known.ended_at, commit.at), events=known.events + rows)
    return tuple(sorted(runs.values(), key=lambda run: -run.ended_at)[:limit])


def with_metrics(logged: Sequence[LastRun], rows: Sequence[Mapping[str, Any]], *, limit: int) -> tuple[LastRun, ...]:
    """The newest runs, by what the metrics table says, and by the log where it says nothing."""
    told = [
        LastRun(
            row["run_id"],
            row["shard"],
            row["started_at"] + int(row["duration_seconds"] * 1e6),
            row["records_written"],
            status=row["status"],
            duration_seconds=row["duration_seconds"],
            tags_failed=row["tags_failed"],
            error=row["error"],
            command=row["command"] or "run",
        )
        for row in rows
    ]
    known = {(run.run_id, run.shard) for run in told}
    # One row tells of a verification, whatever parts its repair had.
    verified = {run.run_id for run in told if run.command == "verify"}
    others = (run for run in logged if (run.run_id, run.shard) not in known and run.run_id not in verified)
    return tuple(sorted((*told, *others), key=lambda run: -run.ended_at)[:limit])
