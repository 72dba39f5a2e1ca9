"""`plan`: what a run would ask, before it asks. Reads the tag list and the watermarks, changes nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from rich.console import Console

    from config import Config
    from writers import Marks, Watermark

    from ..datasets.recorded import Mode
    from ..datasets.tags import Inventory
    from ..plan.shards import Shard

__all__ = ["Outlook", "outlook", "plan"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would do. `seconds` is how long the requests take at the configured pace, at least.

    The number of values is measured for tags that were read before, and assumed for the others. `future` says how
    tags are read that store future data, if there are any.
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
    tags_future: int = 0
    future: str = ""

    @property
    def requests(self) -> int:
        return self.discovery_requests + self.states_requests + self.reading_requests


@click.command(
    epilog=examples(
        "python -m engine plan -c plant.yaml",
        "python -m engine plan -c plant.yaml --set extraction.start_date=now-30d --json",
    )
)
@configured
@click.option("--shard", metavar="I/N", help="Plan for the share I (from 0) of N, for example 0/4.")
@as_json
def plan(path: str | None, overrides: tuple[str, ...], shard: str | None, json_wanted: bool) -> int:
    """Say what a run would ask.

    In requests, values and time, and what that is based on. Asks the PI Web API for nothing but the
    list of tags; writes nothing.
    """
    import asyncio

    from config import check_runnable

    from ..plan.shards import Shard
    from .options import loaded
    from .terminal import print_json, results

    config = loaded(path, overrides).config
    check_runnable(config)
    part = Shard.parse(shard) if shard else Shard()
    found = asyncio.run(_looked(config, part))
    if json_wanted:
        print_json({**asdict(found), "requests": found.requests})
    else:
        _print(results(), found)
    return 0


async def _looked(config: Config, shard: Shard) -> Outlook:
    import asyncio

    from ..datasets.tags import find_tags
    from ..owning import refuse_held
    from ..wiring import connect, lakehouse_of, watermarks_of

    marks = await asyncio.to_thread(watermarks_of, config)
    async with connect(config, shard) as source:
        inventory = (await find_tags(source.client, config.extraction)).share(shard)
        discovery = source.client.statistics().requests
    await asyncio.to_thread(lambda: refuse_held(config, lakehouse_of(config), inventory.tags))
    states = await asyncio.to_thread(_states_requests, config, shard, inventory)
    return outlook(config, shard, inventory, marks, discovery=discovery, states=states)


def _states_requests(config: Config, shard: Shard, inventory: Inventory) -> int:
    """How many requests go to digital states. Blocks."""
    from ..datasets.states import requests_for, sets_at_once
    from ..metadata import reads_states, sets_due
    from ..wiring import lakehouse_of

    if not reads_states(shard):
        return 0
    at_once = sets_at_once(_mode(config), config.extraction.batch_size)
    return requests_for(sets_due(lakehouse_of(config), inventory.sets, at_once, now=inventory.server_now), at_once)


def _mode(config: Config) -> Mode:
    """Whether batches work a run finds out; until then they are taken to."""
    from ..datasets.recorded import Mode

    wanted = config.extraction.request_mode
    return Mode.BATCH if wanted == "auto" else Mode(wanted)


def outlook(
    config: Config, shard: Shard, inventory: Inventory, marks: Marks, *, discovery: int, states: int
) -> Outlook:
    """Walk the plan of a run over these tags. Asks nobody."""
    from ..datasets.recorded import Mode, split
    from ..piweb.times import iso_text
    from ..plan.ahead import future_tags
    from ..plan.forecast import forecast
    from ..wiring import plan_of, wanted_window

    mode = _mode(config)
    probes = mode is Mode.BATCH  # one request finds out whether batches work
    # That the table holds what the source shows is taken for granted.
    work = plan_of(config, inventory.tags, marks, {}, now=inventory.server_now, mode=mode)
    end = wanted_window(config, None, inventory.server_now).end
    to_read, start = work.tags_unfinished, None if work.earliest is None else min(work.earliest, end)
    ahead = future_tags(config.extraction, inventory.tags)
    measured = sum(1 for tag in inventory.tags if _is_measured(marks.get(tag.web_id)))
    walked = forecast(work, lambda chunk: split(chunk, mode))
    pace = config.pi_web_api.max_requests_per_second / shard.count
    requests = discovery + probes + states + walked.requests
    return Outlook(
        pipeline=config.pipeline,
        shard=str(shard),
        tags=len(inventory.tags),
        tags_unresolved=len(inventory.unresolved),
        tags_to_read=to_read,
        tags_measured=measured,
        tags_assumed=len(inventory.tags) - measured,
        assumed_interval_seconds=config.extraction.assumed_interval.total_seconds(),
        start=None if start is None else iso_text(start),
        end=iso_text(end),
        discovery_requests=discovery + probes,
        states_requests=states,
        reading_requests=walked.requests,
        values=walked.values,
        requests_per_second=pace,
        seconds=requests / pace,
        tags_future=ahead.tags,
        future=str(ahead),
    )


def _is_measured(mark: Watermark | None) -> bool:
    return mark is not None and mark.high > mark.low


def _print(console: Console, found: Outlook) -> None:
    from rich.table import Table
    from rich.text import Text

    from .terminal import count, lasting

    upto = found.tags - found.tags_to_read
    unresolved = f"; {count(found.tags_unresolved)} more cannot be found" if found.tags_unresolved else ""
    measured = f"measured in earlier runs for {count(found.tags_measured, 'tag')}"
    assumed = (
        f"assumed (one every {lasting(found.assumed_interval_seconds)}, extraction.assumed_interval) "
        f"for {count(found.tags_assumed, 'tag')}"
    )
    basis = [text for text, n in ((measured, found.tags_measured), (assumed, found.tags_assumed)) if n]
    rows = {
        "tags": f"{count(found.tags_to_read)} to read, {count(upto)} up to date{unresolved}",
        "time": f"{found.start or found.end} to {found.end}",
        **({"future data": found.future} if found.future else {}),
        "requests": f"{count(found.requests)}: {count(found.discovery_requests)} to find the tags, "
        f"{count(found.states_requests)} for digital states, {count(found.reading_requests)} to read values",
        "values": f"about {count(found.values)}",
        "duration": f"at least {lasting(found.seconds)}, at {found.requests_per_second:g} requests per second",
        "basis": "values per tag " + ", ".join(basis) if basis else "no tags",
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows.items():
        grid.add_row(name, text)
    shard = "" if found.shard == "0-of-1" else f", shard {found.shard}"
    console.print(Text(f"The next run of pipeline {found.pipeline}{shard} would ask:", style="bold"))
    console.print(grid)
