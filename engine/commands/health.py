"""Whether a pipeline is well, and what there is to say against it. Pure.

Invariant: it is well if and only if nothing is said against it; what matters most is said first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..model import Micros
from .standing import LastRun, Shards, Standing
from .terminal import ago, count, lasting, stamp

__all__ = ["Health", "health_of"]

# A pipeline whose present is a day old is not at work, however seldom it is meant to be.
_STALE_SECS = 86_400


@dataclass(frozen=True, slots=True)
class Health:
    """What there is to say against a pipeline, in sentences without its name; where there is nothing, what is well."""

    problems: tuple[str, ...]
    summary: str

    @property
    def well(self) -> bool:
        return not self.problems

    @property
    def headline(self) -> str:
        return self.problems[0] if self.problems else self.summary


def health_of(
    state: Standing,
    now: Micros,
    runs: Sequence[LastRun],
    *,
    at_work: bool,
    open_ended: bool = True,
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
    seen: bool = True,
    away: int = 0,
    never_read: int = 0,
    holes: int = 0,
    max_age_secs: float | None = None,
    unreadable: Sequence[str] = (),
) -> Health:
    """Judge. `runs` come newest first. `seen`: some run has left a trace; `open_ended`: the configuration sets no end,
    so freshness matters, and is held against `max_age_secs`; `unreadable`: what is wrong with tables.
    """
    upto = "" if state.high is None else f"{stamp(state.high[0])}, {ago((now - state.high[0]) / 1e6)}"
    problems = [
        *_of_tags(state, seen=seen, away=away),
        *_of_runs(runs, upto, at_work=at_work),
        *_of_shards(shards, seen=seen),
    ]
    if never_read and not at_work:
        problems.append(f"{count(never_read, 'tag')} that the configuration selects {_was(never_read)} never read")
    if holes:
        problems.append(f"{count(holes, 'hole')} in what is read; `status --gaps` names them")
    if open_ended:
        problems += _of_age(state, upto, max_age_secs)
    return Health((*problems, *unreadable), f"all of {count(state.tags, 'tag')} read up to {upto}")


def _of_tags(state: Standing, *, seen: bool, away: int) -> Iterator[str]:
    tags = count(state.tags, "tag")
    if not state.tags:
        if away:
            yield f"{count(away, 'tag')} went away, and no other is selected"
        else:
            yield "nothing has been read yet; `run` begins" if seen else "it has never run; `run` begins"
        return
    if state.troubled:
        yield f"{count(len(state.troubled))} of {tags} in trouble"
    if state.behind:
        yield f"{count(len(state.behind))} of {tags} fell behind"
    if state.high is None and not state.troubled:
        yield f"nothing of {tags} has been read yet"


def _of_runs(runs: Sequence[LastRun], upto: str, *, at_work: bool) -> Iterator[str]:
    """What there is to say against the newest run, or the newest of any shard beside it."""
    newest: dict[str, LastRun] = {}
    for run in runs:
        if run.command == "run":
            newest.setdefault(run.shard, run)
    division = {shard.rpartition("-of-")[2] for shard in list(newest)[:1]}  # shards of another one are over
    ended = {run.status for shard, run in newest.items() if shard.rpartition("-of-")[2] in division}
    went = "failed" if "failed" in ended else "was incomplete" if "incomplete" in ended else ""
    if went and not at_work:
        yield f"the last run {went}" + (f"; read up to {upto}" if upto else "")


def _of_shards(shards: Shards, *, seen: bool) -> Iterator[str]:
    if shards.never and seen:
        ran = shards.count - len(shards.never)
        *others, last = shards.never
        who = f"{', '.join(others)} and {last}" if others else last
        yield f"{count(ran)} of {count(shards.count, 'shard')} {_has(ran)} run; {who} never did"


def _of_age(state: Standing, upto: str, max_age_secs: float | None) -> Iterator[str]:
    fresh = state.freshness
    if fresh is None:
        return
    if max_age_secs is not None:
        if fresh.worst > max_age_secs:
            yield f"the tag furthest behind is read up to {upto}; --max-age allows {lasting(max_age_secs)}"
        return
    if fresh.p50 > _STALE_SECS:
        yield f"nothing newer than {upto}; do runs still take place?"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"
