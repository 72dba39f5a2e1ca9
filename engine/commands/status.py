"""`status`: how far a pipeline is, how fresh, and what is wrong with it. Reads tables; asks no PI."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from rich.console import Console

    from config import Config

    from ..model import Micros
    from .gaps import Gaps
    from .standing import LastRun, Standing

__all__ = ["Status", "status"]

_RUNS = 5
_COMMITS_READ = 100


@dataclass(frozen=True, slots=True)
class Status:
    """All that is told.

    `names` are those of the tags in trouble; `holders` say who works on which shard; `open_ended`: the
    configuration sets no end, so freshness matters.
    """

    pipeline: str
    now: Micros
    standing: Standing
    runs: tuple[LastRun, ...]
    names: dict[str, str]
    holders: dict[str, str]
    open_ended: bool = True


@click.command(
    epilog=examples(
        "python -m engine status -c plant.yaml",
        "python -m engine status -c plant.yaml --gaps",
        "python -m engine status -c plant.yaml --json",
    )
)
@configured
@click.option(
    "--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Most tags in trouble, or gaps, to list."
)
@click.option("--gaps", is_flag=True, help="Show instead which windows of which tags are not done, and why.")
@as_json
def status(*, path: str | None, overrides: tuple[str, ...], limit: int, gaps: bool, json_wanted: bool) -> int:
    """Show how far a pipeline is, and how fresh.

    Watermarks, freshness, tags in trouble, the last runs, and who is at work. With --gaps, the windows
    that are not done: never read, newer than what is read, older than it, or failed. Reads the tables
    alone: the PI Web API is not asked. Freshness is measured against the clock of this machine; that of
    a forecast is how long ago it was looked at.
    """
    from ..clock import wall_micros
    from .gaps import as_dict
    from .options import loaded
    from .terminal import print_json, results

    config = loaded(path, overrides).config
    found = look(config, wall_micros())
    missing = _gaps(config, found.now) if gaps else None
    if json_wanted:
        print_json(_as_dict(found) | ({} if missing is None else {"gaps": as_dict(missing)}))
    else:
        _print(results(), found, missing, limit)
    return 0


def _print(console: Console, found: Status, missing: Gaps | None, limit: int) -> None:
    from .gaps_view import print_gaps
    from .status_view import print_headline, print_status

    if missing is None:
        print_status(console, found, limit)
    else:
        print_headline(console, found)
        print_gaps(console, missing, limit)


def _gaps(config: Config, now: Micros) -> Gaps:
    from ..wiring import watermarks_of
    from .gaps import find_gaps, known_tags

    return find_gaps(config, watermarks_of(config), known_tags(config), now)


def look(config: Config, now: Micros) -> Status:
    """Read what the tables say of the pipeline. Creates nothing where nothing is yet."""
    from writers import PI_TIMESERIES, PI_WATERMARKS, newest_runs

    from ..wiring import lakehouse_of, watermarks_of
    from .standing import last_runs, standing, with_metrics

    lakehouse = lakehouse_of(config)
    rows = newest_runs(lakehouse, config.pipeline, limit=_RUNS)
    if not lakehouse.table(PI_WATERMARKS).exists():
        return Status(config.pipeline, now, standing({}, now), with_metrics((), rows, limit=_RUNS), {}, {})
    found = standing(watermarks_of(config), now)
    data, marks = (_commits(config, lakehouse.table(spec).uri) for spec in (PI_TIMESERIES, PI_WATERMARKS))
    shards = lakehouse.shards_seen(config.pipeline)
    holders = {shard: lakehouse.lease(config.pipeline, shard, "status").holder() for shard in shards}
    return Status(
        config.pipeline,
        now,
        found,
        with_metrics(last_runs(config.pipeline, data, marks, limit=_RUNS), rows, limit=_RUNS),
        _names(config, found),
        {shard: holder for shard, holder in holders.items() if holder is not None},
        open_ended=config.extraction.end_date is None,
    )


def _commits(config: Config, uri: str) -> list[Any]:
    from writers.history import newest_commits

    options = {key: value.get_secret_value() for key, value in config.storage.options.items()}
    return list(newest_commits(uri, options, limit=_COMMITS_READ))


def _names(config: Config, found: Standing) -> dict[str, str]:
    """Names of the tags that will be spoken of, where pi_tags knows them."""
    from writers.tables import PI_TAGS

    from ..wiring import lakehouse_of

    wanted = {mark.tag_webid for mark in (*found.troubled, *found.behind)}
    table = lakehouse_of(config).table(PI_TAGS)
    if not wanted or not table.exists():
        return {}
    names: dict[str, str] = {}
    for batch in table.open().read(["tag_webid", "name"]):
        pairs = zip(batch["tag_webid"].to_pylist(), batch["name"].to_pylist(), strict=True)
        names.update({web_id: name for web_id, name in pairs if web_id in wanted and name})
    return names


def _as_dict(found: Status) -> dict[str, Any]:
    from ..piweb.times import iso_text

    state = found.standing

    def times(ends: tuple[Micros, Micros] | None) -> dict[str, str] | None:
        return None if ends is None else {"min": iso_text(ends[0]), "max": iso_text(ends[1])}

    return {
        "pipeline": found.pipeline,
        "at": iso_text(found.now),
        "tags": state.tags,
        "tags_unread": state.unread,
        "rows_total": state.rows,
        "low": times(state.low),
        "high": times(state.high),
        "ahead": None if state.ahead is None else {"tags": state.ahead[0], "max": iso_text(state.ahead[1])},
        "freshness_seconds": None if state.freshness is None else asdict(state.freshness),
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
