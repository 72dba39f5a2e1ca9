"""A list that leaves out tags, or whose items are errors, takes no tag from a run that knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from config import from_mapping
from engine.app import run
from engine.flow.stop import Stop
from engine.simulator import SimulatorOptions
from engine.telemetry.events import Cycled, Event, TagsSynced
from tests.exactness.expected import web_id_of
from tests.exactness.reading import marks_in

from .live import BEGIN
from .unruly import ItemIsAnError, Trouble, Unruly, Vanished

pytestmark = pytest.mark.slow
TAGS = 6


def left_out(kind: type[Trouble], *tags: int) -> Trouble:
    trouble = kind(Random(1), frozenset(tags))
    if isinstance(trouble, Vanished):
        trouble.wholly = False  # of lists alone
    return trouble


@pytest.mark.parametrize(
    "trouble",
    [left_out(ItemIsAnError, 2), left_out(ItemIsAnError, *range(TAGS)), left_out(Vanished, 1, 4)],
    ids=["one error", "nothing but errors", "left out"],
)
async def test_tags_are_read_on_that_a_list_leaves_out(tmp_path: Path, trouble: Trouble):
    server, events, stop = Unruly(SimulatorOptions(tags=TAGS, begin=BEGIN, interval_secs=0.2), watched=""), [], Stop()
    async with server.serve() as url:
        config = from_mapping(
            {
                "pi_web_api": {"url": url, "auth_type": "anonymous", "max_requests_per_second": 1000},
                "storage": {"root": str(tmp_path / "lake")},
                "extraction": {
                    "tag_name_filter": "*",
                    "start_date": "now-5s",
                    "lag": "100ms",
                    "interval": "1s",
                    "discovery_interval": "1s",
                },
            }
        ).config
        following = asyncio.create_task(run(config, emit=events.append, stop=stop, follow=True))
        await until(following, events, lambda: counted(events, Cycled) > 1)
        server.begin(trouble)
        seen = counted(events, TagsSynced)
        await until(following, events, lambda: counted(events, TagsSynced) > seen + 2)
        read = counted(events, Cycled)
        await until(following, events, lambda: counted(events, Cycled) > read + 2)
        stop.ask("enough")
        await following
    assert trouble.struck > 1
    assert {cycle.tags for cycle in events if isinstance(cycle, Cycled)} == {TAGS}
    marks = marks_in(tmp_path / "lake" / "main" / "checkpoints" / "pi_watermarks")
    assert len({marks[web_id_of(n)].high for n in range(TAGS)}) == 1


def counted(events: list[Event], kind: type[Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


async def until(task: asyncio.Task[object], events: list[Event], reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            assert not task.done(), events[-1]
            await asyncio.sleep(0.02)
