"""Reads from the tables how far a pipeline is: watermarks, runs, shards, health and gaps. Creates nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from config import Config
from config.errors import SchemaDriftError
from writers import PI_TIMESERIES, PI_WATERMARKS, Lakehouse, TableSpec, Watermark, WatermarkStore, newest_runs
from writers.landing.commit_ids import is_landing
from writers.log.entries import LogEntry

from ...datasets.context_estimates import of_databases
from ...datasets.event_frames import EVENT_FRAMES
from ...datasets.recorded_values import RECORDED
from ...datasets.registry import DATASETS, Registry
from ...datasets.sampled import SAMPLED
from ...model import Micros
from ...plan.tag_classes import class_of
from ...run.connect import lakehouse_of, watermarks_of
from ..selection import KnownTag, RetiredTag, known_tags, split_watermarks
from .gaps import Gaps, find_gaps
from .health import DatasetAge, Health, health_of
from .pipeline_progress import (
    LastRun,
    PipelineProgress,
    RunLine,
    Shards,
    last_good_run,
    last_runs,
    progress_of,
    run_lines,
    shards_of,
    with_metrics,
)
from .sampled import SampledProgress, find_sampled_gaps, name_of_series, sampled_progress

_RUNS = 5  # that are shown
# To judge the newest run of each shard, this many are read; a run that follows writes one row an hour.
_RUNS_JUDGED = 500
_COMMITS_READ = 100


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` shows.

    `runs` are rows of the metrics table and runs without one; `lines` shows each run once. `names`: of the failing tags and those behind; `holders`: who runs which shard; `retired`: tags that are read no
    longer; `frames`: what is done of the event frames of each AF database; `last_read`: when assets and event frames were
    read last without trouble, None if no run is known that did.
    """

    pipeline: str
    now: Micros
    progress: PipelineProgress
    runs: tuple[LastRun, ...]
    health: Health
    shards: Shards
    lines: tuple[RunLine, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    retired: tuple[RetiredTag, ...] = ()
    never_read: int = 0
    holes_unknown_before: Micros | None = None
    datasets: tuple[str, ...] = ()
    frames: tuple[Watermark, ...] = ()
    sampled: SampledProgress | None = None
    last_read: Mapping[str, Micros | None] = field(default_factory=dict)


def read_status(
    config: Config, now: Micros, *, max_age: timedelta | None = None, gaps: bool = False, most_runs: int = _RUNS
) -> tuple[Status, Gaps | None]:
    """The status of the pipeline with its newest runs, and its gaps if they are wanted."""
    chosen = DATASETS.chosen_by(config)
    reads_values, reads_sampled = RECORDED.name in chosen, SAMPLED.name in chosen
    trace = _trace_of_runs(config, most_runs)
    watermarks = watermarks_of(config) if reads_values else WatermarkStore()
    marks = watermarks_of(config, SAMPLED.name) if reads_sampled else WatermarkStore()
    known = known_tags(config)
    tags = split_watermarks(config, watermarks, known)
    sampled = sampled_progress(config, marks, known, now) if reads_sampled else None
    frames = _of_frames(config) if EVENT_FRAMES.name in chosen else ()
    last_read = _last_read(chosen, trace.runs, frames)
    progress = progress_of(tags.watermarks, now, _interval_of(config, known))
    end = config.extraction.end_date
    health = health_of(
        progress,
        now,
        trace.runs,
        at_work=bool(trace.at_work),
        open_ended=end is None or end.fixed is None,
        shards=trace.shards,
        seen=trace.seen,
        has_watermarks=reads_values,
        retired=len(tags.retired),
        never_read=tags.never_read,
        holes=sum(len(found) for web_id, found in watermarks.holes.items() if web_id in tags.watermarks),
        max_age_secs=None if max_age is None else max_age.total_seconds(),
        unreadable=trace.unreadable,
        sampled=sampled,
        ages=tuple(_ages(config, chosen, last_read)),
    )
    found = Status(
        pipeline=config.pipeline,
        now=now,
        progress=progress,
        runs=trace.runs[:most_runs],
        health=health,
        shards=trace.shards,
        lines=run_lines(trace.runs)[:_RUNS],
        names=_names(known, progress) | _series_names(sampled),
        holders=trace.at_work,
        retired=tags.retired,
        never_read=tags.never_read,
        holes_unknown_before=watermarks.holes_unknown_before,
        datasets=chosen.names,
        frames=frames,
        sampled=sampled,
        last_read=last_read,
    )
    if not gaps:
        return found, None
    runs, shards, holes = trace.runs, trace.shards, watermarks.holes
    open_gaps = find_gaps(config, watermarks, known if reads_values else (), now, runs=runs, shards=shards, holes=holes)
    if sampled is not None:
        of_series = find_sampled_gaps(config, marks, sampled.series, now, runs=runs, shards=shards)
        open_gaps = replace(open_gaps, sampled=of_series)
    return found, open_gaps


@dataclass(frozen=True, slots=True)
class _TraceOfRuns:
    """What runs have left in the tables, the newest first; `at_work`: who runs which shard; `seen`: whether any ever ran."""

    runs: tuple[LastRun, ...]
    shards: Shards
    at_work: dict[str, str]
    seen: bool
    unreadable: Sequence[str]


def _trace_of_runs(config: Config, most_runs: int) -> _TraceOfRuns:
    lakehouse, pipeline = lakehouse_of(config), config.pipeline
    unreadable: list[str] = []
    shards_seen: tuple[str, ...] = ()
    logged: tuple[LastRun, ...] = ()
    if lakehouse.table(PI_WATERMARKS).exists():
        logs = [_newest_commits(lakehouse, spec, unreadable) for spec in (PI_TIMESERIES, PI_WATERMARKS)]
        logged = last_runs(pipeline, *logs, limit=most_runs)
        shards_seen = (*lakehouse.shards_seen(pipeline), *_committed(logs, pipeline))
    runs = with_metrics(logged, newest_runs(lakehouse, pipeline, limit=_RUNS_JUDGED), limit=_RUNS_JUDGED)
    holders = {shard: lakehouse.lease(pipeline, shard, "status").holder() for shard in dict.fromkeys(shards_seen)}
    at_work = {shard: holder for shard, holder in holders.items() if holder is not None}
    return _TraceOfRuns(runs, shards_of(shards_seen, runs), at_work, bool(shards_seen or runs), unreadable)


def _last_read(chosen: Registry, runs: Sequence[LastRun], frames: Sequence[Watermark]) -> dict[str, Micros | None]:
    """When a run last read each dataset that has an interval of its own, as far as that is known."""
    found = {one.name: last_good_run(runs, one.name) for one in chosen.synced if one.interval_of is not None}
    if frames:
        found[EVENT_FRAMES.name] = max(found[EVENT_FRAMES.name] or 0, *(one.high for one in frames))
    return found


def _ages(config: Config, chosen: Registry, last_read: Mapping[str, Micros | None]) -> Iterator[DatasetAge]:
    for one in chosen.synced:
        if one.interval_of is not None:
            allowed_secs = 2 * one.interval_of(config).total_seconds()
            yield DatasetAge(one.name, last_read[one.name], allowed_secs, is_noted=config.monitoring.metrics)


def _of_frames(config: Config) -> tuple[Watermark, ...]:
    """What is done of each database of event frames."""
    return tuple(of_databases(watermarks_of(config, EVENT_FRAMES.name)).values())


def _newest_commits(lakehouse: Lakehouse, spec: TableSpec, unreadable: list[str]) -> Sequence[LogEntry]:
    """The newest entries of a table's log. If we cannot write the table, no run can: `unreadable` gets the reason."""
    table = lakehouse.table(spec)
    try:
        return list(islice(table.open().entries(), _COMMITS_READ)) if table.exists() else []
    except SchemaDriftError as error:
        unreadable.append(error.message)
        return []


def _committed(logs: Iterable[Sequence[LogEntry]], pipeline: str) -> Iterable[str]:
    """Shards with recent commits: their leases may be lost."""
    names = {name for entries in logs for entry in entries for name in entry.sequences}
    return sorted(name.rpartition("/")[2] for name in names if is_landing(pipeline, RECORDED.name, name))


def _interval_of(config: Config, known: Iterable[KnownTag]) -> Callable[[str], Micros]:
    """How often a tag is read, by its WebID."""
    class_for = class_of(config.extraction)
    names = {tag.web_id: tag.name for tag in known}
    return lambda web_id: class_for(names[web_id]).interval_micros if web_id in names else 0


def _names(known: Iterable[KnownTag], found: PipelineProgress) -> dict[str, str]:
    """Names of the tags that are listed, where pi_tags has them."""
    wanted = {watermark.tag_webid for watermark in (*found.failing, *found.behind)}
    return {tag.web_id: tag.name for tag in known if tag.web_id in wanted}


def _series_names(sampled: SampledProgress | None) -> dict[str, str]:
    if sampled is None:
        return {}
    return {one.tag_webid: name_of_series(sampled.series[one.tag_webid]) for one in sampled.progress.failing}
