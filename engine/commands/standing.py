"""How a pipeline stands: from its watermarks and its newest commits to what a person wants to know. Pure.

Invariant: every tag is among those whose freshness is told, or among those of which nothing is read yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from writers import Watermark
from writers.outcome import APP_ID, LogEntry

from ..model import Micros
from ..telemetry.freshness import Freshness, freshness

__all__ = ["LastRun", "Shards", "Standing", "last_runs", "shards_of", "standing", "with_metrics"]

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
class Shards:
    """Into how many shards the tags are divided, as the newest run has it, and which of them never ran."""

    count: int = 1
    never: tuple[str, ...] = ()


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


def standing(
    marks: Mapping[str, Watermark], now: Micros, interval_of: Callable[[str], Micros] = lambda _web_id: 0
) -> Standing:
    """Sum the watermarks up. Troubled tags and those behind come worst first.

    `interval_of`: how often a tag is read, by its WebID; one that is read twice a day is not behind an hour after.
    """
    every = list(marks.values())
    read = [mark for mark in every if mark.high > mark.low]
    lows, highs = [mark.low for mark in read], [mark.present for mark in read]
    ahead = [mark.high for mark in read if mark.high > mark.present]
    troubled = sorted((m for m in every if m.status != "ok"), key=lambda m: (m.present, m.tag_webid))
    newest = min(max(highs, default=0), now)
    behind = sorted(
        (m for m in read if m.status == "ok" and newest - m.present > max(_BEHIND, 2 * interval_of(m.tag_webid))),
        key=lambda m: m.present,
    )
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
    pipeline: str, data: Sequence[LogEntry], watermarks: Sequence[LogEntry], *, limit: int
) -> tuple[LastRun, ...]:
    """The newest runs of a pipeline, by the newest entries in the logs of its two tables, which come newest first."""
    mine = f"osipi/{pipeline}/"
    cut = data[-1].metadata.get("run_id", "") if data and data[-1].version > 1 else ""
    runs: dict[str, LastRun] = {}
    for entry, rows in (*((e, e.rows) for e in data), *((e, 0) for e in watermarks)):
        app_id, run_id = entry.metadata.get(APP_ID, ""), entry.metadata.get("run_id", "")
        if not app_id.startswith(mine) or not run_id:
            continue
        shard = app_id.rpartition("/")[2]
        known = runs.get(run_id, LastRun(run_id, shard, entry.at, 0, run_id == cut))
        runs[run_id] = replace(known, ended_at=max(known.ended_at, entry.at), events=known.events + rows)
    return tuple(sorted(runs.values(), key=lambda run: -run.ended_at)[:limit])


def shards_of(seen: Iterable[str], runs: Sequence[LastRun]) -> Shards:
    """Which division of the tags counts, and who of it never ran.

    `seen`: shards that hold, or ever held, a lease, or have committed; parts of them ("backfill.0-of-4") show the
    division, too, but read a part of the tags only. Of several divisions that of the newest run counts: the others
    are over.
    """
    every = {*seen, *(run.shard for run in runs if run.command == "run")}
    newest = next((run.shard for run in runs if run.command == "run"), None)
    counts = [_count(newest)] if newest is not None else [_count(shard) for shard in every]
    count = max(counts, default=1)
    never = (f"{index}-of-{count}" for index in range(count) if f"{index}-of-{count}" not in every)
    return Shards(count, tuple(never) if every else ())


def _count(shard: str) -> int:
    return int(shard.rpartition("-of-")[2])


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
