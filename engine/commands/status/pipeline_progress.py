"""The progress of a pipeline and its last runs, from watermarks, log entries and rows of the metrics table. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from writers import Watermark
from writers.log.entries import APP_ID, LogEntry

from ...model import Micros
from ...telemetry.freshness import Freshness, freshness

# A tag is behind if it is this much older than the freshest one.
_BEHIND: Micros = 3_600_000_000


@dataclass(frozen=True, slots=True)
class PipelineProgress:
    """The watermarks of a pipeline, summed up. `low` and `high`: the earliest and the latest of each end; of a tag that
    stores future data, its present counts as `high`. `ahead`: how many tags are read beyond it, and how far at most.
    Each tag is in `freshness` or in `unread`.
    """

    tags: int
    unread: int
    rows: int
    low: tuple[Micros, Micros] | None
    high: tuple[Micros, Micros] | None
    ahead: tuple[int, Micros] | None
    freshness: Freshness | None
    failing: tuple[Watermark, ...]
    behind: tuple[Watermark, ...]


@dataclass(frozen=True, slots=True)
class Shards:
    """How many shards the newest run divides the tags into, and which of them never ran."""

    count: int = 1
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LastRun:
    """A run, by its commits and its row in the metrics table. `or_more`: it may have older commits that were not read.

    A run without a row, because it still runs or was killed, has no status, duration, failed tags and error.
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
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run as a person sees it: all its shards, repeated attempts, and hourly rows together. `shards`: which took part."""

    run: LastRun
    shards: tuple[str, ...]


# The worst first. A run that is at work or was killed has no status.
_WORST_FIRST = ("failed", "interrupted", "incomplete", "", "succeeded")


def run_lines(runs: Iterable[LastRun]) -> tuple[RunLine, ...]:
    """One line for each run. Runs come newest first, also those of one name."""
    by_name: dict[tuple[str, str], list[LastRun]] = {}
    for run in runs:
        by_name.setdefault((run.run_id, run.command), []).append(run)
    return tuple(map(_one_line, by_name.values()))


def _one_line(rows: Sequence[LastRun]) -> RunLine:
    by_shard: dict[str, list[LastRun]] = {}
    for row in rows:
        by_shard.setdefault(row.shard, []).append(row)
    newest = [found[0] for found in by_shard.values()]
    worst = min(newest, key=lambda row: _WORST_FIRST.index(row.status) if row.status in _WORST_FIRST else 0)
    lasted = [[row.duration_seconds or 0.0 for row in found] for found in by_shard.values()]
    known = any(row.duration_seconds is not None for row in rows)
    run = replace(
        worst,
        ended_at=max(row.ended_at for row in rows),
        events=sum(row.events for row in rows),
        or_more=any(row.or_more for row in rows),
        duration_seconds=max(map(sum, lasted)) if known else None,
        tags_failed=sum(row.tags_failed for row in newest),
    )
    return RunLine(run, tuple(sorted(by_shard)))


def progress_of(
    watermarks: Mapping[str, Watermark], now: Micros, interval_of: Callable[[str], Micros] = lambda _web_id: 0
) -> PipelineProgress:
    """Sum the watermarks up. Failing tags and tags that are behind come with the oldest first.

    `interval_of`: how often a tag is read, by its WebID. A tag that is read twice a day is not behind after an hour.
    """
    every = list(watermarks.values())
    read = [watermark for watermark in every if watermark.high > watermark.low]
    lows, highs = [watermark.low for watermark in read], [watermark.present for watermark in read]
    ahead = [watermark.high for watermark in read if watermark.high > watermark.present]
    failing = sorted((m for m in every if m.status != "ok"), key=lambda m: (m.present, m.tag_webid))
    newest = min(max(highs, default=0), now)
    behind = sorted(
        (m for m in read if m.status == "ok" and newest - m.present > max(_BEHIND, 2 * interval_of(m.tag_webid))),
        key=lambda m: m.present,
    )
    return PipelineProgress(
        tags=len(watermarks),
        unread=len(watermarks) - len(read),
        rows=sum(watermark.rows_total for watermark in every),
        low=(min(lows), max(lows)) if lows else None,
        high=(min(highs), max(highs)) if highs else None,
        ahead=(len(ahead), max(ahead)) if ahead else None,
        freshness=freshness(highs, now),
        failing=tuple(failing),
        behind=tuple(behind),
    )


def last_runs(
    pipeline: str, data: Sequence[LogEntry], watermarks: Sequence[LogEntry], *, limit: int
) -> tuple[LastRun, ...]:
    """The newest runs of a pipeline, from the log entries of its two tables. Entries and runs come newest first."""
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
    """How the tags are divided into shards, and which shards never ran.

    `seen`: shards that ever held a lease or have committed. A part of a shard ("backfill.0-of-4") shows the number of
    shards, but does not count as a run. Of several divisions that of the newest run counts.
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
    """The newest runs: from the metrics table, and from the log if they have no row there."""
    measured = [
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
            datasets=tuple((row["datasets"] or "").split(",")),
        )
        for row in rows
    ]
    known = {(run.run_id, run.shard) for run in measured}
    # A verification has one row, though its repair commits under several shards.
    verified = {run.run_id for run in measured if run.command == "verify"}
    # The backfill of a run has no row of its own.
    others = (
        run for run in logged if (run.run_id, run.shard.rpartition(".")[2]) not in known and run.run_id not in verified
    )
    return tuple(sorted((*measured, *others), key=lambda run: -run.ended_at)[:limit])


def last_good_run(runs: Iterable[LastRun], dataset: str) -> Micros | None:
    """When the newest run without trouble ended that read a dataset; None if none is known. `runs`: the newest first."""
    good = (run for run in runs if run.command == "run" and run.status == "succeeded" and dataset in run.datasets)
    return next((run.ended_at for run in good), None)
