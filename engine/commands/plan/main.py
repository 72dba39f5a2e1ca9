"""Carries out `plan`: forecasts what a run would ask. Reads the tag list and the watermarks, changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console
from rich.text import Text

from config import Config, check_runnable
from writers import WatermarkStore

from ...datasets.asset_framework import ASSETS
from ...datasets.context_estimates import asset_requests, frame_requests
from ...datasets.digital_states import DIGITAL_STATES, reads_states, requests_for, sets_at_once, sets_due
from ...datasets.event_frames import EVENT_FRAMES
from ...datasets.point_attributes import POINT_ATTRIBUTES
from ...datasets.recorded_values import RECORDED, split
from ...datasets.registry import DATASETS, Registry
from ...datasets.request_mode import Mode
from ...datasets.sampled import SAMPLED, split_calls, unsettled_hint
from ...datasets.tags import Inventory, selected_tags
from ...piweb.times import iso_text
from ...plan.future_data import future_tags
from ...plan.run_estimate import RunEstimate, estimate_run
from ...plan.shards import Shard
from ...run.connect import Connection, connect, lakehouse_of, watermarks_of
from ...run.plans import limits_of, plan_of, wanted_window
from ...run.tag_claims import refuse_held
from ...telemetry.formats import count, format_duration
from ..exit_status import CommandResult
from ..options import load_config
from ..terminal import facts_table, print_json, stdout_console


@dataclass(frozen=True, slots=True)
class RunForecast:
    """What a run would ask. `seconds` is the least time that the requests take at the configured rate.

    The number of values is measured for tags that were read before, and assumed for the others. `future` says how
    tags that store future data are read; it is empty if there are none.
    """

    pipeline: str
    shard: str
    tags: int
    tags_unresolved: int
    tags_to_read: int
    tags_measured: int
    tags_assumed: int
    assumed_interval_seconds: float
    start: str | None
    end: str
    discovery_requests: int
    states_requests: int
    reading_requests: int
    values: int
    requests_per_second: float
    seconds: float
    tags_attributes: int = 0
    attributes_requests: int = 0
    tags_future: int = 0
    future: str = ""
    datasets: tuple[str, ...] = ()
    sampled_requests: int = 0
    sampled_values: int = 0
    assets_requests: int = 0
    event_frames_requests: int = 0
    sampled_hint: str = ""

    @property
    def requests(self) -> int:
        of_tags = self.discovery_requests + self.states_requests + self.attributes_requests + self.reading_requests
        return of_tags + self.sampled_requests + self.assets_requests + self.event_frames_requests


def main(
    *, path: str | None, overrides: tuple[str, ...], shard: str | None, datasets: str | None, json_wanted: bool
) -> CommandResult:
    config = load_config(path, overrides, datasets=datasets).config
    check_runnable(config)
    found = asyncio.run(forecast_run(config, Shard.parse(shard) if shard else Shard()))
    if json_wanted:
        print_json(forecast_dict(found))
    else:
        print_forecast(stdout_console(), found)
    return CommandResult()


_NOTHING = RunEstimate(0, 0)
# Datasets that every configuration has, unless it chooses some.
_USUAL = tuple(name for name in DATASETS.names if not DATASETS[name].wanted_by)


async def forecast_run(config: Config, shard: Shard) -> RunForecast:
    chosen = DATASETS.chosen_by(config)
    watermarks = await asyncio.to_thread(watermarks_of, config)
    async with connect(config, shard) as source:
        inventory = (await selected_tags(source.client, source.url, config)).of_shard(shard)
        discovery = source.client.statistics().requests
    if RECORDED.name in chosen:
        await asyncio.to_thread(lambda: refuse_held(config, lakehouse_of(config), inventory.tags))
    sampled = _NOTHING
    if SAMPLED.name in chosen:
        sampled = await asyncio.to_thread(_sampled, config, inventory, source)
    states = 0
    if DIGITAL_STATES.name in chosen:
        states = await asyncio.to_thread(_states_requests, config, shard, inventory)
    found = _forecast(config, chosen, shard, inventory, watermarks, discovery=discovery, states=states, sampled=sampled)
    return await asyncio.to_thread(_with_context, found, config, chosen, shard, inventory)


def _sampled(config: Config, inventory: Inventory, source: Connection) -> RunEstimate:
    """What the sampled series take. Blocks."""
    tags, mode = SAMPLED.series_of(config, inventory).tags, _mode(config)
    refuse_held(config, lakehouse_of(config), tags, SAMPLED)
    watermarks = watermarks_of(config, SAMPLED.name)
    work = plan_of(config, tags, watermarks, {}, now=inventory.server_now, limits=limits_of(config, mode))
    return estimate_run(work, lambda chunk: split_calls(chunk, mode, source.url, source.client.limits))


def _with_context(
    found: RunForecast, config: Config, chosen: Registry, shard: Shard, inventory: Inventory
) -> RunForecast:
    """Add what assets and event frames take. The first shard reads them. Blocks."""
    if shard.index != 0:
        return found
    lakehouse, frames = lakehouse_of(config), 0
    assets = asset_requests(config, lakehouse) if ASSETS.name in chosen else 0
    if EVENT_FRAMES.name in chosen:
        marks = watermarks_of(config, EVENT_FRAMES.name)
        frames = frame_requests(config, lakehouse, marks, inventory.server_now)
    found = replace(found, assets_requests=assets, event_frames_requests=frames)
    return replace(found, seconds=found.requests / found.requests_per_second)


def _states_requests(config: Config, shard: Shard, inventory: Inventory) -> int:
    """How many requests read digital states. Blocks."""
    if not reads_states(shard):
        return 0
    at_once = sets_at_once(_mode(config), config.extraction.batch_size)
    lakehouse, now = lakehouse_of(config), inventory.server_now
    return requests_for(sets_due(lakehouse, inventory.sets, at_once, pipeline=config.pipeline, now=now), at_once)


def _mode(config: Config) -> Mode:
    """The request mode. With `auto` only a run finds out whether batches work; the forecast assumes that they do."""
    wanted = config.extraction.request_mode
    return Mode.BATCH if wanted == "auto" else Mode(wanted)


def _forecast(
    config: Config,
    chosen: Registry,
    shard: Shard,
    inventory: Inventory,
    watermarks: WatermarkStore,
    *,
    discovery: int,
    states: int,
    sampled: RunEstimate,
) -> RunForecast:
    """Walk through the plan of a run over these tags, without asking the server."""
    mode = _mode(config)
    probes = mode is Mode.BATCH  # one request finds out whether batches work
    tags = inventory.tags if RECORDED.name in chosen else []
    # The empty digests: the forecast assumes that the table holds what the source shows.
    work = plan_of(config, tags, watermarks, {}, now=inventory.server_now, limits=limits_of(config, mode))
    end = wanted_window(config, None, inventory.server_now).end
    to_read, start = work.tags_unfinished, None if work.earliest is None else min(work.earliest, end)
    future = future_tags(config.extraction, inventory.tags)
    measured = sum(found.high > found.low for tag in tags if (found := watermarks.get(tag.web_id)) is not None)
    at_once = config.extraction.batch_size if mode is Mode.BATCH else 1
    points = len(inventory.tags) - inventory.attributes if POINT_ATTRIBUTES.name in chosen else 0
    attributes = -(-points // at_once)
    pi = config.pi_web_api
    walked = estimate_run(
        work,
        lambda chunk: split(
            chunk, mode, base_url=pi.url or "", max_url_chars=pi.max_url_chars, max_body_bytes=pi.max_request_bytes
        ),
    )
    rate = config.pi_web_api.max_requests_per_second / shard.count
    requests = discovery + probes + states + attributes + walked.requests + sampled.requests
    return RunForecast(
        pipeline=config.pipeline,
        shard=str(shard),
        tags=len(inventory.tags),
        tags_unresolved=len(inventory.unresolved),
        tags_to_read=to_read,
        tags_measured=measured,
        tags_assumed=len(tags) - measured,
        assumed_interval_seconds=config.extraction.assumed_interval.total_seconds(),
        start=None if start is None else iso_text(start),
        end=iso_text(end),
        discovery_requests=discovery + probes,
        states_requests=states,
        reading_requests=walked.requests,
        values=walked.values,
        sampled_requests=sampled.requests,
        sampled_values=sampled.values,
        sampled_hint=unsettled_hint(config) if SAMPLED.name in chosen else "",
        requests_per_second=rate,
        seconds=requests / rate,
        tags_attributes=inventory.attributes,
        attributes_requests=attributes,
        tags_future=future.tags,
        future=str(future),
        datasets=chosen.names,
    )


def _context(found: RunForecast) -> str:
    parts = {"assets": found.assets_requests, "event frames": found.event_frames_requests}
    return "".join(f", about {count(n)} for {name}" for name, n in parts.items() if n)


def forecast_dict(found: RunForecast) -> dict[str, Any]:
    """The forecast as JSON values."""
    return {**asdict(found), "requests": found.requests}


def print_forecast(console: Console, found: RunForecast) -> None:
    """Print what a run would ask."""
    up_to_date = found.tags - found.tags_to_read
    unresolved = f"; {count(found.tags_unresolved)} more cannot be found" if found.tags_unresolved else ""
    measured = f"measured in earlier runs for {count(found.tags_measured, 'tag')}"
    assumed = (
        f"assumed (one every {format_duration(found.assumed_interval_seconds)}, extraction.assumed_interval) "
        f"for {count(found.tags_assumed, 'tag')}"
    )
    basis = [text for text, n in ((measured, found.tags_measured), (assumed, found.tags_assumed)) if n]
    to_read = f"{count(found.tags_to_read)} to read, {count(up_to_date)} up to date"
    if RECORDED.name not in found.datasets:
        to_read = f"{count(found.tags)} selected, of which no values are read"
    of_points = f"{count(found.attributes_requests)} for attributes of points, " if found.attributes_requests else ""
    rows = {
        **({"datasets": ", ".join(found.datasets)} if found.datasets != _USUAL else {}),
        "tags": f"{to_read}{unresolved}",
        **({"attributes": f"{count(found.tags_attributes)} of the tags"} if found.tags_attributes else {}),
        "time": f"{found.start or found.end} to {found.end}",
        **({"future data": found.future} if found.future else {}),
        "requests": f"{count(found.requests)}: {count(found.discovery_requests)} to find the tags, "
        f"{count(found.states_requests)} for digital states, {of_points}{count(found.reading_requests)} to read values"
        f"{_context(found)}",
        "values": f"about {count(found.values)}",
        **(
            {
                "sampled": f"{count(found.sampled_requests)} of the requests, for about {count(found.sampled_values)} values"
            }
            if SAMPLED.name in found.datasets
            else {}
        ),
        **({"note": found.sampled_hint} if found.sampled_hint else {}),
        "duration": f"at least {format_duration(found.seconds)}, at {found.requests_per_second:g} requests per second",
        "basis": "values per tag " + ", ".join(basis) if basis else "no values",
    }
    shard = "" if found.shard == "0-of-1" else f", shard {found.shard}"
    console.print(Text(f"The next run of pipeline {found.pipeline}{shard} would ask:", style="bold"))
    console.print(facts_table(rows.items()))
