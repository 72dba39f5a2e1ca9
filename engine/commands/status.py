"""`status`: how far a pipeline is, how fresh, and what is wrong with it. Reads tables; asks no PI."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta

    from rich.console import Console

    from config import Config
    from writers import Lakehouse, TableSpec
    from writers.outcome import LogEntry

    from ..model import Micros
    from .gaps import Gaps
    from .health import Health
    from .selection import Away, KnownTag
    from .standing import LastRun, Shards, Standing

__all__ = ["Status", "status"]

_RUNS = 5
# So many are looked at to judge the newest of every shard; a follower leaves one an hour.
_RUNS_JUDGED = 500
_COMMITS_READ = 100


@dataclass(frozen=True, slots=True)
class Status:
    """All that is told.

    `names` are those of the tags in trouble; `holders` say who works on which shard; `away`: tags that went away.
    """

    pipeline: str
    now: Micros
    standing: Standing
    runs: tuple[LastRun, ...]
    health: Health
    shards: Shards
    names: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    away: tuple[Away, ...] = ()
    never_read: int = 0
    holes_unknown_before: Micros | None = None


def _duration(_context: click.Context, option: click.Parameter, text: str | None) -> timedelta | None:
    from config.durations import parse_duration
    from config.problems import ExpectedError

    try:
        return None if text is None else parse_duration(text)
    except ExpectedError as error:
        raise click.BadParameter(f"{text!r} is not {error}.", param=option) from None


@click.command(
    epilog=examples(
        "python -m engine status -c plant.yaml",
        "python -m engine status -c plant.yaml --max-age 30m || alert",
        "python -m engine status -c plant.yaml --gaps",
        "python -m engine status -c plant.yaml --json",
    )
)
@configured
@click.option(
    "--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Most tags in trouble, or gaps, to list."
)
@click.option("--gaps", is_flag=True, help="Show instead which windows of which tags are not done, and why.")
@click.option(
    "--max-age",
    metavar="DURATION",
    callback=_duration,
    help="How far behind the worst tag may be, for example 90s, 30m or 1h. Not with a fixed end_date.",
)
@as_json
def status(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    limit: int,
    gaps: bool,
    max_age: timedelta | None,
    json_wanted: bool,
) -> int:
    """Show how far a pipeline is, and how fresh.

    Watermarks, freshness, tags in trouble, the last runs, and who is at work. With --gaps, the windows
    that are not done, and why: never read, not read yet, older than what is read, failed, or holes,
    which the source cannot give. What is newer than the last run could read is not due yet, and no
    gap. Reads the tables alone: the PI Web API is not asked. Freshness is measured against the clock
    of this machine; that of a forecast is how long ago it was looked at.

    Ends with 0 if all is well, and with 1 if not: nothing was ever read, tags are in trouble or
    behind, the last run of a shard failed or was incomplete, a shard never ran, there are holes, or
    the worst tag is further behind than --max-age. Tags that were deleted, or are not selected any
    more, are shown apart and count for nothing.
    """
    from ..clock import wall_micros
    from .gaps import as_dict
    from .options import loaded
    from .terminal import print_json, results

    config = loaded(path, overrides).config
    found, missing = look(config, wall_micros(), max_age=max_age, gaps=gaps)
    if json_wanted:
        print_json(_as_dict(found) | ({} if missing is None else {"gaps": as_dict(missing)}))
    else:
        _print(results(), found, missing, limit)
    return 0 if found.health.well else 1


def _print(console: Console, found: Status, missing: Gaps | None, limit: int) -> None:
    from .gaps_view import print_gaps
    from .status_view import print_headline, print_status

    if missing is None:
        print_status(console, found, limit)
    else:
        print_headline(console, found)
        print_gaps(console, missing, limit)


def look(
    config: Config, now: Micros, *, max_age: timedelta | None = None, gaps: bool = False
) -> tuple[Status, Gaps | None]:
    """Read what the tables say of the pipeline, and, if wanted, its gaps. Creates nothing where nothing is yet."""
    from writers import PI_TIMESERIES, PI_WATERMARKS, newest_runs

    from ..wiring import lakehouse_of, watermarks_of
    from .gaps import find_gaps
    from .health import health_of
    from .selection import known_tags, part_marks
    from .standing import last_runs, shards_of, standing, with_metrics

    lakehouse = lakehouse_of(config)
    marks = watermarks_of(config)
    known = known_tags(config)
    unreadable: list[str] = []
    seen: tuple[str, ...] = ()
    logged: tuple[LastRun, ...] = ()
    if lakehouse.table(PI_WATERMARKS).exists():
        logs = [_newest_commits(lakehouse, spec, unreadable) for spec in (PI_TIMESERIES, PI_WATERMARKS)]
        logged = last_runs(config.pipeline, *logs, limit=_RUNS)
        seen = (*lakehouse.shards_seen(config.pipeline), *_committed(logs, config.pipeline))
    rows = newest_runs(lakehouse, config.pipeline, limit=_RUNS_JUDGED)
    runs = with_metrics(logged, rows, limit=_RUNS_JUDGED)
    shards = shards_of(seen, runs)
    holders = {shard: lakehouse.lease(config.pipeline, shard, "status").holder() for shard in dict.fromkeys(seen)}
    at_work = {shard: holder for shard, holder in holders.items() if holder is not None}
    parted = part_marks(config.extraction, marks, known)
    state = standing(parted.marks, now, _interval_of(config, known))
    end = config.extraction.end_date
    health = health_of(
        state,
        now,
        runs,
        at_work=bool(at_work),
        open_ended=end is None or end.fixed is None,
        shards=shards,
        seen=bool(seen or runs),
        away=len(parted.away),
        never_read=parted.never_read,
        holes=sum(len(found) for web_id, found in marks.holes.items() if web_id in parted.marks),
        max_age_secs=None if max_age is None else max_age.total_seconds(),
        unreadable=unreadable,
    )
    found = Status(
        config.pipeline,
        now,
        state,
        runs[:_RUNS],
        health,
        shards,
        _names(known, state),
        at_work,
        parted.away,
        parted.never_read,
        marks.holes_unknown_before,
    )
    return found, (find_gaps(config, marks, known, now, runs=runs, shards=shards, holes=marks.holes) if gaps else None)


def _newest_commits(lakehouse: Lakehouse, spec: TableSpec, unreadable: list[str]) -> Sequence[LogEntry]:
    """Read the newest entries of a log. A table that we cannot write is told of, for no run can go on with it."""
    from itertools import islice

    from config.errors import SchemaDriftError

    table = lakehouse.table(spec)
    try:
        return list(islice(table.open().entries(), _COMMITS_READ)) if table.exists() else []
    except SchemaDriftError as error:
        unreadable.append(error.message)
        return []


def _committed(logs: Iterable[Sequence[LogEntry]], pipeline: str) -> Iterable[str]:
    """Shards that have committed lately: their leases may be lost."""
    from writers.owners import is_landing

    from ..wiring import DATASET

    names = {name for entries in logs for entry in entries for name in entry.sequences}
    return sorted(name.rpartition("/")[2] for name in names if is_landing(pipeline, DATASET, name))


def _interval_of(config: Config, known: Iterable[KnownTag]) -> Callable[[str], Micros]:
    """How often a tag is read, by its WebID."""
    from ..plan.classes import class_of

    kind_of = class_of(config.extraction)
    names = {tag.web_id: tag.name for tag in known}
    return lambda web_id: kind_of(names[web_id]).interval_micros if web_id in names else 0


def _names(known: Iterable[KnownTag], found: Standing) -> dict[str, str]:
    """Names of the tags that will be spoken of, where pi_tags knows them."""
    wanted = {mark.tag_webid for mark in (*found.troubled, *found.behind)}
    return {tag.web_id: tag.name for tag in known if tag.web_id in wanted}


def _as_dict(found: Status) -> dict[str, Any]:
    from ..piweb.times import iso_text

    state = found.standing

    def times(ends: tuple[Micros, Micros] | None) -> dict[str, str] | None:
        return None if ends is None else {"min": iso_text(ends[0]), "max": iso_text(ends[1])}

    return {
        "pipeline": found.pipeline,
        "at": iso_text(found.now),
        "well": found.health.well,
        "problems": list(found.health.problems),
        "tags": state.tags,
        "tags_unread": state.unread,
        "tags_never_read": found.never_read,
        "holes_unknown_before": None if found.holes_unknown_before is None else iso_text(found.holes_unknown_before),
        "rows_total": state.rows,
        "low": times(state.low),
        "high": times(state.high),
        "ahead": None if state.ahead is None else {"tags": state.ahead[0], "max": iso_text(state.ahead[1])},
        "freshness_seconds": None if state.freshness is None else asdict(state.freshness),
        "shards": {"count": found.shards.count, "never_ran": list(found.shards.never)},
        "went_away": [_as_away(tag) for tag in found.away],
        "troubled": [
            {
                "tag_webid": mark.tag_webid,
                "name": found.names.get(mark.tag_webid),
                "status": mark.status,
                "reason": mark.last_error,
                "high": iso_text(mark.present) if mark.high > mark.low else None,
            }
            for mark in state.troubled
        ],
        "behind": [
            {"tag_webid": mark.tag_webid, "name": found.names.get(mark.tag_webid), "high": iso_text(mark.present)}
            for mark in state.behind
        ],
        "runs": [{**asdict(run), "ended_at": iso_text(run.ended_at)} for run in found.runs],
        "at_work": found.holders,
    }


def _as_away(tag: Away) -> dict[str, Any]:
    from ..piweb.times import iso_text

    return {
        "tag_webid": tag.web_id,
        "name": tag.name,
        "why": "not selected" if tag.deleted_at is None else "deleted",
        "deleted_at": None if tag.deleted_at is None else iso_text(tag.deleted_at),
        "read_up_to": None if tag.read_up_to is None else iso_text(tag.read_up_to),
    }
