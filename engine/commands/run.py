"""`run`: read what the configuration selects and is not done yet, and say what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from ..telemetry.report import RunReport

__all__ = ["run"]

# What one run reads. Others will become choices of their own.
_DATASETS = frozenset({"recorded", "tags"})


@click.command(
    epilog=examples(
        "python -m engine run",
        "python -m engine run -c plant.yaml --start now-7d --json",
        "python -m engine run -c plant.yaml --shard 0/4",
        "python -m engine run -c plant.yaml --follow",
        "python -m engine run -c plant.yaml --take-over old-plant",
        "python -m engine run -c plant.yaml --retry-holes",
    )
)
@configured
@click.option(
    "--mode",
    type=click.Choice(["incremental", "full"]),
    help="Continue at the watermarks, or read the history before them as well.",
)
@click.option("--start", metavar="TIME", help="First instant, for example 2024-01-01T00:00:00Z or now-7d.")
@click.option("--end", metavar="TIME", help="End, not included. Without it: the server's present, less the lag.")
@click.option("--datasets", metavar="NAMES", help="What to read: recorded,tags.")
@click.option("--shard", metavar="I/N", help="Take the share I (from 0) of N of all tags, for example 0/4.")
@click.option("--run-id", metavar="ID", help="Name of the run in logs, commits and metrics. Without it: a new one.")
@click.option("--follow", is_flag=True, help="Read on, in cycles, until told to stop (SIGTERM, Ctrl-C).")
@click.option(
    "--take-over", metavar="PIPELINE", help="First take over the selected tags that PIPELINE has brought in, for good."
)
@click.option("--retry-holes", is_flag=True, help="Ask now for everything that could not be read, due or not.")
@as_json
def run(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    mode: str | None,
    start: str | None,
    end: str | None,
    datasets: str | None,
    shard: str | None,
    run_id: str | None,
    follow: bool,
    take_over: str | None,
    retry_holes: bool,
    json_wanted: bool,
) -> RunReport:
    """Read recorded values and tags into the tables.

    Continues where the last run of the pipeline ended. What was read is committed, with its
    watermarks, exactly once; Ctrl-C commits what is complete and ends.

    With --follow the run goes on, and reads each class of tags in its own interval
    (extraction.classes, extraction.interval).

    A tag belongs to the pipeline that brought it into the table first; another is refused. With
    --take-over the selected tags of a pipeline, which must not be at work, become this one's,
    and are read on where it ended.

    What the source cannot give of a tag, down to an instant, is a hole: it is passed over, written
    down, shown by `status --gaps`, and asked for again by the first run after 1 minute, then 2,
    4 .. minutes, and at least once a day. --retry-holes asks for all of them now, for example when
    the archive was repaired.

    Ends with 0 if all is done; with 1 if tags failed, there are holes, or the source gave out; with
    2 for the configuration, 3 for a login or permission, 4 for the tables or another run at work,
    130 if interrupted. With --follow, being told to stop is no interruption.
    """
    from ..job import run_job
    from ..plan.shards import Shard
    from .options import loaded, same_place
    from .summary import print_summary
    from .terminal import errors, print_json, results, tell_error

    _refuse_what_is_to_come(datasets)
    console = errors()
    found = loaded(path, (*overrides, *_as_overrides(mode=mode, start_date=start, end_date=end)), console)
    part = Shard.parse(shard) if shard else Shard()
    report = run_job(
        found.config,
        shard=part,
        run_id=run_id or None,
        console=console,
        warnings=found.warnings,
        follow=follow,
        take_over=take_over or None,
        retry_holes=retry_holes,
    )
    if json_wanted:
        print_json(report.as_dict())
    else:
        print_summary(results(), report, found.config, repeat=same_place(path, overrides))
    if report.error is not None:
        tell_error(report.error.message, report.error.hint)
    return report


def _as_overrides(**given: str | None) -> tuple[str, ...]:
    return tuple(f"extraction.{key}={value}" for key, value in given.items() if value is not None)


def _refuse_what_is_to_come(datasets: str | None) -> None:
    from config.errors import ConfigurationError

    names = {name.strip() for name in datasets.split(",")} if datasets is not None else _DATASETS
    if names != _DATASETS:
        raise ConfigurationError(
            f"--datasets {datasets} is not supported in this version",
            hint="Leave it out, or write --datasets recorded,tags: a run always reads both.",
        )
