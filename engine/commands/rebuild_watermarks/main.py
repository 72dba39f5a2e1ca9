"""Carries out `rebuild-watermarks`: reads the watermarks back from the data after the checkpoint table was lost."""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from functools import partial

import click

from config import Config, check_runnable
from config.errors import ConfigurationError, ExtractError
from writers import PI_TIMESERIES, Lakehouse, LandingRun, RebuildReport, clear_watermarks, rebuild_watermarks

from ...datasets.dataset import Dataset, Kind, SeriesDataset
from ...datasets.recorded_values import RECORDED
from ...datasets.registry import DATASETS
from ...datasets.tags import Inventory, selected_tags
from ...flow.run_with_lease import run_with_lease
from ...plan.shards import Shard
from ...run.connect import connect, lakehouse_of, target_of
from ...telemetry.formats import count, format_time
from ..exit_status import CommandResult
from ..options import load_config
from ..terminal import stdout_console


def main(*, path: str | None, overrides: tuple[str, ...], yes: bool, every: bool) -> CommandResult:
    config = load_config(path, overrides).config
    console = stdout_console()
    _check_data_exists(config)
    if not yes and not _confirmed(
        f"Replace all watermarks of pipeline {config.pipeline} by what {target_of(config)} holds?"
    ):
        console.print("Nothing was changed.")
        return CommandResult()
    inventory = None if every else asyncio.run(_inventory(config))
    rebuilt, cleared = asyncio.run(_rebuild(config, inventory))
    for series, found in rebuilt:
        span = "" if found.low is None else f", {format_time(found.low)} to {format_time(found.high)}"
        events = count(found.rows, "event" if series is RECORDED else "value")
        console.print(f"Watermarks of {_counted(series, found.tags)} rebuilt from {events}{span}.", soft_wrap=True)
        if found.strangers:
            console.print(f"{_counted(series, found.strangers)} left to other pipelines.", soft_wrap=True)
    for name in cleared:
        what = name.replace("_", " ")
        console.print(f"Watermarks of {what} cleared: the next run compares all of them.", soft_wrap=True)
    return CommandResult()


def _counted(series: SeriesDataset, number: int) -> str:
    return count(number, "tag") if series is RECORDED else f"{count(number)} {series.name} series"


def _check_data_exists(config: Config) -> None:
    """Refuse a place without data before anything is created there."""
    lakehouse = lakehouse_of(config)
    table = lakehouse.table(PI_TIMESERIES)
    if not _series(lakehouse) and not _keyed(lakehouse):
        raise ConfigurationError(
            f"There is no table at {table.uri}, so there is nothing to read watermarks back from",
            hint="Correct storage.root, or the names under unity_catalog; where nothing was ever read, begin with `run`.",
        )


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "rebuild-watermarks asks before it replaces watermarks, and standard input is not a terminal",
            hint="Add --yes.",
        )
    return click.confirm(question, err=True)


async def _inventory(config: Config) -> Inventory | None:
    """The tags that the configuration selects; None where PI does not answer."""
    try:
        check_runnable(config)
        async with connect(config) as source:
            return await selected_tags(source.client, source.url, config)
    except ExtractError as error:
        message = "every tag of the table is taken for this pipeline's, because PI does not answer: %s"
        logging.getLogger("osipi.run").warning(message, error.message)
        return None


def _series(lakehouse: Lakehouse) -> list[SeriesDataset]:
    """Windowed series that there are tables of."""
    return [one for one in DATASETS.series if lakehouse.table(one.table).exists()]


def _keyed(lakehouse: Lakehouse) -> list[Dataset]:
    """Datasets of keyed records that there are tables of."""
    return [one for one in DATASETS if one.kind is Kind.KEYED and lakehouse.table(one.table).exists()]


async def _rebuild(
    config: Config, inventory: Inventory | None
) -> tuple[list[tuple[SeriesDataset, RebuildReport]], list[str]]:
    """Rebuild under the lease that a run takes. Gives also the datasets whose watermarks were cleared."""
    lakehouse, shard, run_id = lakehouse_of(config), str(Shard()), uuid.uuid4().hex[:12]
    lease = lakehouse.lease(config.pipeline, shard, run_id)
    await asyncio.to_thread(lease.acquire)
    try:
        work = asyncio.to_thread(_rebuild_tables, config, lakehouse, inventory, shard=shard, run_id=run_id)
        return await run_with_lease(lease, work)
    finally:
        await asyncio.to_thread(lease.release)


def _rebuild_tables(
    config: Config, lakehouse: Lakehouse, inventory: Inventory | None, *, shard: str, run_id: str
) -> tuple[list[tuple[SeriesDataset, RebuildReport]], list[str]]:
    """Blocks."""
    run_of = partial(LandingRun, pipeline=config.pipeline, shard=shard, run_id=run_id)
    found = []
    for series in _series(lakehouse):
        selected = None if inventory is None else {tag.web_id for tag in series.series_of(config, inventory).tags}
        found.append(
            (series, rebuild_watermarks(lakehouse, series.table, run_of(dataset=series.name), selected=selected))
        )
    keyed = _keyed(lakehouse)
    for one in keyed:
        clear_watermarks(lakehouse, one.table, run_of(dataset=one.name))
    return found, [one.name for one in keyed]
