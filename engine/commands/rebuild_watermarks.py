"""`rebuild-watermarks`: read back from the data what is done, where the checkpoint table was lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .options import configured, examples

if TYPE_CHECKING:
    from config import Config
    from writers import RebuildReport

__all__ = ["rebuild_watermarks"]


@click.command(
    "rebuild-watermarks",
    epilog=examples(
        "python -m engine rebuild-watermarks -c plant.yaml",
        "python -m engine rebuild-watermarks -c plant.yaml --yes",
        "python -m engine rebuild-watermarks -c plant.yaml --all",
    ),
)
@configured
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--all", "every", is_flag=True, help="Take every tag of the table for this pipeline's; PI is not asked.")
def rebuild_watermarks(path: str | None, overrides: tuple[str, ...], yes: bool, every: bool) -> int:
    """Read the watermarks back from the data.

    For when the checkpoint table was dropped, restored or damaged. A tag is taken to be read from its
    first event to its last; what lies after that is read again by the next run. Holes in between are
    forgotten, for the data does not tell them: run `verify` afterwards, which finds them by counts. No run
    of the pipeline may be at work.

    Where several pipelines write to one table, tags that another has watermarks of, and that this
    configuration does not select, are left to that one. For that PI is asked which tags those are; if it
    does not answer, or with --all, every tag is taken.
    """
    import asyncio

    from ..wiring import target_of
    from .options import loaded
    from .terminal import count, results, stamp

    config = loaded(path, overrides).config
    _insist_on_data(config)
    if not yes and not _agreed(
        f"Replace all watermarks of pipeline {config.pipeline} by what {target_of(config)} holds?"
    ):
        results().print("Nothing was changed.")
        return 0
    selected = None if every else asyncio.run(_selected(config))
    found = asyncio.run(_rebuilt(config, selected))
    span = "" if found.low is None else f", {stamp(found.low)} to {stamp(found.high)}"
    results().print(
        f"Watermarks of {count(found.tags, 'tag')} rebuilt from {count(found.rows, 'event')}{span}.", soft_wrap=True
    )
    if found.strangers:
        results().print(f"{count(found.strangers, 'tag')} left to other pipelines.", soft_wrap=True)
    return 0


def _insist_on_data(config: Config) -> None:
    """Refuse a place that holds no data to read back from, before anything is created there."""
    from config.errors import ConfigurationError
    from writers import PI_TIMESERIES

    from ..wiring import lakehouse_of

    table = lakehouse_of(config).table(PI_TIMESERIES)
    if not table.exists():
        raise ConfigurationError(
            f"There is no table at {table.uri}, so there is nothing to read watermarks back from",
            hint="Correct storage.root, or the names under unity_catalog; where nothing was ever read, begin with `run`.",
        )


def _agreed(question: str) -> bool:
    from config.errors import ConfigurationError

    if not sys.stdin.isatty():
        raise ConfigurationError(
            "rebuild-watermarks asks before it replaces, and nobody is here to answer", hint="Add --yes."
        )
    return click.confirm(question, err=True)


async def _selected(config: Config) -> set[str] | None:
    """WebIDs of the tags that the configuration selects; None where PI cannot be asked."""
    import logging

    from config import check_runnable
    from config.errors import ExtractError

    from ..datasets.tags import find_tags
    from ..wiring import connect

    try:
        check_runnable(config)
        async with connect(config) as source:
            return {tag.web_id for tag in (await find_tags(source.client, config.extraction)).tags}
    except ExtractError as error:
        told = "every tag of the table is taken for this pipeline's, for PI cannot be asked: %s"
        logging.getLogger("osipi.run").warning(told, error.message)
        return None


async def _rebuilt(config: Config, selected: set[str] | None) -> RebuildReport:
    """Rebuild while holding the lease, as a run would."""
    import asyncio
    import uuid

    from writers import PI_TIMESERIES
    from writers import rebuild_watermarks as rebuild

    from ..flow.leased import under
    from ..plan.shards import Shard
    from ..wiring import DATASET, lakehouse_of

    lakehouse, shard, run_id = lakehouse_of(config), str(Shard()), uuid.uuid4().hex[:12]
    lease = lakehouse.lease(config.pipeline, shard, run_id)
    await asyncio.to_thread(lease.acquire)
    try:
        work = asyncio.to_thread(
            rebuild,
            lakehouse,
            PI_TIMESERIES,
            pipeline=config.pipeline,
            dataset=DATASET,
            shard=shard,
            run_id=run_id,
            selected=selected,
        )
        return await under(lease, work)
    finally:
        await asyncio.to_thread(lease.release)
