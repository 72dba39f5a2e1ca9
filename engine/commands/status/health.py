"""Judges whether a pipeline is well. Pure.

It is well if and only if there is no problem. The worst problem comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...model import Micros
from ...telemetry.formats import count, format_age, format_duration, format_time
from .pipeline_progress import LastRun, PipelineProgress, Shards
from .sampled import SampledProgress

# If half of the tags are a day old, no runs take place, however long the intervals are.
_STALE_SECS = 86_400


@dataclass(frozen=True, slots=True)
class Health:
    """The problems of a pipeline, in sentences without its name. `summary` is the sentence if there is none."""

    problems: tuple[str, ...]
    summary: str

    @property
    def well(self) -> bool:
        return not self.problems

    @property
    def headline(self) -> str:
        return self.problems[0] if self.problems else self.summary


@dataclass(frozen=True, slots=True)
class DatasetAge:
    """A dataset without tags: when a run last read it without trouble, None if none is known to have.

    `least_secs`: an age that is no trouble. `is_noted`: the metrics say when it is read.
    """

    name: str
    read_at: Micros | None
    least_secs: float
    is_noted: bool = True


def health_of(
    progress: PipelineProgress,
    now: Micros,
    runs: Sequence[LastRun],
    *,
    at_work: bool,
    open_ended: bool = True,
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
    seen: bool = True,
    has_watermarks: bool = True,
    retired: int = 0,
    never_read: int = 0,
    holes: int = 0,
    max_age_secs: float | None = None,
    unreadable: Sequence[str] = (),
    sampled: SampledProgress | None = None,
    ages: Sequence[DatasetAge] = (),
) -> Health:
    """`runs`: the newest first; `seen`: whether any run has left a trace; `has_watermarks`: whether a chosen dataset has
    watermarks; `open_ended`: the configuration has no fixed end, so the tags must be fresh, as `max_age_secs` says;
    `unreadable`: errors of tables. `sampled`: the sampled series, if they are read; `ages`: assets and event frames.
    """
    oldest = progress.high[0] if progress.high else None
    read_up_to = "" if oldest is None else f"{format_time(oldest)}, {format_age((now - oldest) / 1e6)}"
    problems = [
        *_tag_problems(progress, seen=seen, has_watermarks=has_watermarks, retired=retired),
        *_run_problems(runs, read_up_to, at_work=at_work),
        *_shard_problems(shards, seen=seen),
    ]
    if never_read and not at_work:
        problems.append(f"{count(never_read, 'tag')} that the configuration selects {_was(never_read)} never read")
    if sampled is not None:
        problems += _series_problems(sampled, at_work=at_work)
    if holes:
        problems.append(f"{count(holes, 'hole')} in what is read; `status --gaps` names them")
    if open_ended:
        problems += _age_problems(progress, read_up_to, max_age_secs)
        problems += _overdue_problems(sampled, max_age_secs)
        problems += _dataset_problems(ages, now, max_age_secs, seen=seen)
    summary = f"all of {count(progress.tags, 'tag')} read up to {read_up_to}"
    if not has_watermarks:
        summary = "no problem in the last runs; no values are read"
    if sampled is not None and sampled.progress.high is not None:
        of_series = f"{count(sampled.progress.tags)} sampled series read up to {format_time(sampled.progress.high[0])}"
        summary = f"{summary}; {of_series}" if has_watermarks else f"all of {of_series}"
    return Health((*problems, *unreadable), summary)


def _tag_problems(progress: PipelineProgress, *, seen: bool, has_watermarks: bool, retired: int) -> Iterator[str]:
    tags = count(progress.tags, "tag")
    if not progress.tags:
        if retired:
            yield f"{count(retired, 'tag')} went away, and no other is selected"
        elif not seen:
            yield "it has never run; `run` begins"
        elif has_watermarks:
            yield "nothing has been read yet; `run` begins"
        return
    if progress.failing:
        yield f"{count(len(progress.failing))} of {tags} failing"
    if progress.behind:
        yield f"{count(len(progress.behind))} of {tags} fell behind"
    if progress.high is None and not progress.failing:
        yield f"nothing of {tags} has been read yet"


def _series_problems(sampled: SampledProgress, *, at_work: bool) -> Iterator[str]:
    state = sampled.progress
    if not state.tags:
        if not at_work:
            yield "no sampled series has been read yet"
        return
    series = f"{count(state.tags)} sampled series"
    if state.failing:
        yield f"{count(len(state.failing))} of {series} failing"
    if state.behind:
        yield f"{count(len(state.behind))} of {series} fell behind"
    unread = sampled.unread - sum(mark.low >= mark.high for mark in state.failing)
    if unread > 0 and not at_work:
        yield f"{count(unread)} sampled series {_was(unread)} never read"
    if sampled.holes:
        yield f"{count(sampled.holes, 'hole')} in sampled series; `status --gaps` names them"


def _overdue_problems(sampled: SampledProgress | None, max_age_secs: float | None) -> Iterator[str]:
    if sampled is None or sampled.overdue is None:
        return
    fresh = sampled.overdue
    if max_age_secs is not None:
        if fresh.worst > max_age_secs:
            yield (
                f"a value of a sampled series could be read since {format_duration(fresh.worst)}; "
                f"--max-age allows {format_duration(max_age_secs)}"
            )
    elif fresh.p50 > _STALE_SECS:
        yield f"no new value of sampled series since {format_duration(fresh.p50)}; do runs still take place?"


def _dataset_problems(
    ages: Sequence[DatasetAge], now: Micros, max_age_secs: float | None, *, seen: bool
) -> Iterator[str]:
    for one in ages:
        name = one.name.replace("_", " ")
        allowed = max(_STALE_SECS if max_age_secs is None else max_age_secs, one.least_secs)
        if one.read_at is None:
            if not one.is_noted and max_age_secs is not None:
                yield f"how old {name} are is not known: monitoring.metrics is off"
            elif one.is_noted and seen:
                yield f"no run is known that read {name} without trouble"
        elif (now - one.read_at) / 1e6 > allowed:
            ago = format_age((now - one.read_at) / 1e6)
            yield f"{name} were last read without trouble {ago}; {format_duration(allowed)} are allowed"


def _run_problems(runs: Sequence[LastRun], read_up_to: str, *, at_work: bool) -> Iterator[str]:
    """Whether the newest run of any shard failed."""
    newest: dict[str, LastRun] = {}
    for run in runs:
        if run.command == "run":
            newest.setdefault(run.shard, run)
    division = {shard.rpartition("-of-")[2] for shard in list(newest)[:1]}  # only shards of the newest division count
    ended = {run.status for shard, run in newest.items() if shard.rpartition("-of-")[2] in division}
    how = "failed" if "failed" in ended else "was incomplete" if "incomplete" in ended else ""
    if how and not at_work:
        yield f"the last run {how}" + (f"; read up to {read_up_to}" if read_up_to else "")


def _shard_problems(shards: Shards, *, seen: bool) -> Iterator[str]:
    if shards.never and seen:
        ran = shards.count - len(shards.never)
        *others, last = shards.never
        who = f"{', '.join(others)} and {last}" if others else last
        yield f"{count(ran)} of {count(shards.count, 'shard')} {_has(ran)} run; {who} never did"


def _age_problems(progress: PipelineProgress, read_up_to: str, max_age_secs: float | None) -> Iterator[str]:
    fresh = progress.freshness
    if fresh is None:
        return
    if max_age_secs is not None:
        if fresh.worst > max_age_secs:
            yield f"the tag furthest behind is read up to {read_up_to}; --max-age allows {format_duration(max_age_secs)}"
        return
    if fresh.p50 > _STALE_SECS:
        yield f"nothing newer than {read_up_to}; do runs still take place?"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"
