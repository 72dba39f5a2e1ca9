"""The commands that work on a pipeline: their options and help. Light to import.

What carries a command out is in the folder of its name, and is imported when the command runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .exit_status import CommandResult
from .options import as_json, choosing_datasets, command, configured

if TYPE_CHECKING:
    from datetime import timedelta


@command(
    "python -m engine run",
    "python -m engine run -c plant.yaml --start now-7d --json",
    "python -m engine run -c plant.yaml --shard 0/4",
    "python -m engine run -c plant.yaml --on spark --shares 8",
    "python -m engine run -c plant.yaml --datasets tags,digital_states",
    "python -m engine run -c plant.yaml --follow",
    "python -m engine run -c plant.yaml --take-over old-plant",
    "python -m engine run -c plant.yaml --retry-holes",
)
@configured
@click.option(
    "--mode",
    type=click.Choice(["incremental", "full"]),
    help="Continue at the watermarks, or read the history before them as well.",
)
@click.option("--start", metavar="TIME", help="First instant, for example 2024-01-01T00:00:00Z or now-7d.")
@click.option("--end", metavar="TIME", help="End, not included. Without it: the server's present, less the lag.")
@choosing_datasets
@click.option("--shard", metavar="I/N", help="Take the share I (from 0) of N of all tags, for example 0/4.")
@click.option("--on", type=click.Choice(["spark"]), help="Run in the tasks of Spark, a share of the tags in each.")
@click.option(
    "--shares",
    metavar="N",
    type=click.IntRange(min=1),
    help="Number of shares with --on spark. Without it: as many as Spark runs tasks at once.",
)
@click.option("--run-id", metavar="ID", help="Name of the run in logs, commits and metrics. Without it: a new one.")
@click.option("--follow", is_flag=True, help="Read on, in cycles, until stopped (SIGTERM, Ctrl-C).")
@click.option(
    "--take-over", metavar="PIPELINE", help="First take over the selected tags that PIPELINE has brought in, for good."
)
@click.option("--retry-holes", is_flag=True, help="Ask again now for all holes, due or not.")
@as_json
def run(**options: Any) -> CommandResult:
    """Read what is new into the tables.

    Continues where the last run of the pipeline ended. New rows and their watermarks are committed
    exactly once; Ctrl-C commits what is complete and ends.

    With --follow the run continues until it is stopped, and reads each class of tags in its own
    interval (extraction.classes, extraction.interval).

    A tag belongs to the pipeline that brought it into the table first; a run of another pipeline is
    refused. With --take-over the selected tags of PIPELINE, which must not be running, move to this
    one, and are read on from where it ended.

    A hole is a window of a tag that the source cannot give, down to an instant. The run skips it and
    writes it down; `status --gaps` shows it. Runs ask for it again after 1 minute, then 2, 4 ..
    minutes, and at least once a day. --retry-holes asks for all holes now, for example after the
    archive was repaired.

    With --on spark the tags are dealt out to the tasks of a Spark session, the one of the notebook or
    job, or a new one. Each task has its part of the request rate. Credentials must be references.

    Exit code: 0 all done; 1 tags failed, there are holes, or the source gave out; 2 configuration;
    3 login or permission; 4 tables, or another run of the pipeline; 130 interrupted. With --follow,
    a requested stop is no interruption.
    """
    from .run.main import main

    return main(**options)


@command(
    "python -m engine check",
    "python -m engine check -c plant.yaml",
    "python -m engine check -c plant.yaml --set extraction.request_mode=batch",
    "python -m engine check -c plant.yaml --json",
    "python -m engine check -c plant.yaml --alerts",
)
@configured
@click.option("--alerts", is_flag=True, help="Also send a test message to each channel of monitoring.alerts.")
@as_json
def check(**options: Any) -> CommandResult:
    """Check everything a run needs.

    Packages, configuration, secrets, the PI Web API, login, tags, the request mode (batches), a few
    values, grants and tables, permission to write, other runs, and whether another pipeline owns these
    tags: one line each, with what to do about a failure. Leaves nothing behind. Exit code 0 if all
    checks pass, else that of the first failure. With --alerts each channel gets a test message, and what
    it answers is one more line.
    """
    from .check.main import main

    return main(**options)


@command(
    "python -m engine plan -c plant.yaml",
    "python -m engine plan -c plant.yaml --datasets recorded",
    "python -m engine plan -c plant.yaml --set extraction.start_date=now-30d --json",
)
@configured
@choosing_datasets
@click.option("--shard", metavar="I/N", help="Plan for the share I (from 0) of N, for example 0/4.")
@as_json
def plan(**options: Any) -> CommandResult:
    """Forecast what a run would ask.

    The number of requests and values, the time they take, and what the forecast is based on. Asks the
    PI Web API only for the list of tags; writes nothing.
    """
    from .plan.main import main

    return main(**options)


@command(
    "python -m engine tags -c plant.yaml --limit 20",
    "python -m engine tags -c plant.yaml --set extraction.tag_name_filter='BOILER*'",
)
@configured
@click.option("--limit", type=click.IntRange(min=0), help="Most tags to list; 0: all.  [default: 50; all with --json]")
@as_json
def tags(**options: Any) -> CommandResult:
    """List the tags a configuration selects.

    Exit code 1 if the configuration names tags that cannot be found. With --json all tags are listed
    unless --limit is given.
    """
    from .tags.main import main

    return main(**options)


def _duration(_context: click.Context, option: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    from config.durations import parse_duration
    from config.problems import ExpectedError

    try:
        return parse_duration(text)
    except ExpectedError as error:
        raise click.BadParameter(f"{text!r} is not {error}.", param=option) from None


@command(
    "python -m engine status -c plant.yaml",
    "python -m engine status -c plant.yaml --max-age 30m || alert",
    "python -m engine status -c plant.yaml --gaps",
    "python -m engine status -c plant.yaml --datasets recorded",
    "python -m engine status -c plant.yaml --json",
    "python -m engine status -c plant.yaml --watch",
)
@configured
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Most failing tags, or gaps, to list.",
)
@choosing_datasets
@click.option("--gaps", is_flag=True, help="Show instead which windows of which tags are not done, and why.")
@click.option(
    "--max-age",
    metavar="DURATION",
    callback=_duration,
    help="How far behind the worst tag may be, for example 90s, 30m or 1h. Not with a fixed end_date.",
)
@click.option(
    "--watch",
    "watch_secs",
    metavar="[SECS]",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=5,
    help="Show it again every 5 seconds, or SECS, until Ctrl-C; without a terminal, a line each time.",
)
@as_json
def status(**options: Any) -> CommandResult:
    """Show how far a pipeline is, and how fresh.

    Watermarks, freshness, failing tags, the last runs, and which runs are at work. With --gaps, the
    windows that are not done, and why: never read, not read yet, older than what is read, failed, or
    holes, which the source cannot give. What is newer than the last run could read is not due yet, and
    no gap. Reads only the tables, not the PI Web API. Freshness is measured by the clock of this
    machine; that of a forecast is the time since it was last read, and that of values on a grid the time
    since the next one could have been read. Of assets and event frames it counts when a run last read
    them without trouble. Of tags and digital_states only the last runs are shown.

    Exit code 0 if all is well, 1 if not: nothing was ever read, tags fail or are behind, the last run
    of a shard failed or was incomplete, a shard never ran, there are holes, or the worst tag, sampled
    series, assets or event frames are further behind than --max-age. Assets and event frames may always
    be as old as two of their intervals. Tags that were deleted, or are not selected any more, are listed apart and do
    not count.
    """
    from .status.main import main

    return main(**options)


@command(
    "python -m engine report -c plant.yaml --html report.html",
    "python -m engine report -c plant.yaml --html tag.html --tag U1.FLOW --days 7",
)
@configured
@click.option("--html", "file", metavar="FILE", required=True, help="The page to write; - is standard output.")
@click.option("--tag", metavar="NAME", help="Also show this tag (name, path or WebID): counts of PI and of the table.")
@click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How many days back the charts go."
)
@choosing_datasets
def report(**options: Any) -> CommandResult:
    """Write what `status` knows as a page with charts.

    Freshness, gaps and holes, throughput, failed tags, corrections, the cost of requests, the last runs,
    and how many assets and event frames there are. The page is one file that loads nothing: it can be
    sent, printed, or served by any web server. Reads only the tables, not the PI Web API. Days are in UTC.

    With --tag, PI is asked how many events the tag has on each day, as `verify` does, and the page
    shows what the table has beside it, and the gaps of the tag.

    Exit code 0 if the page was written, whether the pipeline is well or not: `status` tells that.
    """
    from .report.main import main

    return main(**options)


@command(
    "python -m engine verify -c plant.yaml",
    "python -m engine verify -c plant.yaml --start now-7d --tags 'BOILER*' --tags 'U1.FLOW'",
    "python -m engine verify -c plant.yaml --datasets recorded --repair",
    "python -m engine verify -c plant.yaml --repair --deep --start now-30d --tags 'U1.*'",
)
@configured
@click.option("--start", metavar="TIME", help="First instant, for example 2024-01-01T00:00:00Z or now-7d.")
@click.option(
    "--end", metavar="TIME", help="End, not included. Without it: all that is done, except forecasts ahead of now."
)
@click.option(
    "--tags", "patterns", metavar="PATTERN", multiple=True, help="Only tags with this name (*, ?). May be repeated."
)
@choosing_datasets
@click.option("--repair", is_flag=True, help="Read again what disagrees, and make the table equal to it.")
@click.option("--deep", is_flag=True, help="With --repair: read everything again, whether it disagrees or not.")
@click.option(
    "--run-id", metavar="ID", help="Name in the log and the metrics table. A row is added with --repair or with a name."
)
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Most disagreements to list.")
@as_json
def verify(**options: Any) -> CommandResult:
    """Compare the table with the PI System, by counts.

    The PI Web API and the table count the events of each tag and UTC day, over what is done except the
    newest part, which every run compares itself (the lookback, and from the last event on). This finds
    events that are missing, doubled, or deleted at the source; only --repair --deep finds a value that
    was changed in place. Without --repair the data stays as it is. Other runs of the pipeline may be at
    work, also with --follow.

    Exit code 0 if all was compared and agrees, or was repaired; 1 if a day disagrees, touches a hole in
    which something is missing, or could not be compared. Days that the server does not count, or
    refuses to count, are listed. Holes are left to the runs, which ask for them again.

    Values on a grid (sampled) are compared with their grid: one row at each point of what is done. Event
    frames are compared one by one. Assets are read as a run reads them, and compared with the tables by key:
    rows that are missing, different, or not in PI any more are counted and named, and nothing is written;
    `run --datasets assets` puts them right. Other datasets are not compared: runs do that.
    """
    from .verify.main import main

    return main(**options)


@command("python -m engine maintain -c plant.yaml")
@configured
@as_json
def maintain(**options: Any) -> CommandResult:
    """Compact, cluster and vacuum the tables.

    Combines small files, clustered by performance.zorder_columns where that is set, and removes files
    that left the tables longer than performance.vacuum_after ago. Runs may continue meanwhile. The
    catalog maintains managed tables itself; they are skipped.
    """
    from .maintain.main import main

    return main(**options)


@command(
    "python -m engine rebuild-watermarks -c plant.yaml",
    "python -m engine rebuild-watermarks -c plant.yaml --yes",
    "python -m engine rebuild-watermarks -c plant.yaml --all",
)
@configured
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--all", "every", is_flag=True, help="Take every tag of the table for this pipeline's; PI is not asked.")
def rebuild_watermarks(**options: Any) -> CommandResult:
    """Read the watermarks back from the data.

    Use it when the checkpoint table was dropped, restored or damaged. Each tag counts as read from its
    first event to its last; the next run reads what lies after that. Holes in between are forgotten,
    because the data does not show them: run `verify` afterwards, which finds them by counts. No run of
    the pipeline may be running.

    Where several pipelines write to one table, tags that another pipeline has watermarks of, and that
    this configuration does not select, stay with the other pipeline. PI is asked which tags the
    configuration selects; if it does not answer, or with --all, every tag is taken.
    """
    from .rebuild_watermarks.main import main

    return main(**options)
