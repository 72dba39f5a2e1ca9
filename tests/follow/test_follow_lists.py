"""A list that leaves out tags, or whose items are errors, takes no tag from a run that knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pyarrow as pa
import pytest

from config import from_mapping
from engine.datasets.tag_mirror import TAGS as TAGS_DATASET
from engine.datasets.tag_mirror import TagsResult
from engine.datasets.tags import Inventory
from engine.flow.stop import Stop
from engine.model import Tag
from engine.plan.shards import Shard
from engine.run import follow, run
from engine.simulator import SimulatorOptions
from engine.telemetry.events import Cycled, DatasetSynced, RunEvent
from tests.exactness.expected import web_id_of
from tests.exactness.reading import marks_in
from tests.follow.live import BEGIN
from tests.follow.unruly import ItemIsAnError, Trouble, Unruly, Vanished

TAGS = 6


def left_out(kind: type[Trouble], *tags: int) -> Trouble:
    trouble = kind(Random(1), frozenset(tags))
    if isinstance(trouble, Vanished):
        trouble.wholly = False  # of lists alone
    return trouble


@pytest.mark.slow
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
        seen = counted(events, DatasetSynced)
        await until(following, events, lambda: counted(events, DatasetSynced) > seen + 2)
        read = counted(events, Cycled)
        await until(following, events, lambda: counted(events, Cycled) > read + 2)
        stop.ask("enough")
        await following
    assert trouble.struck > 1
    assert {cycle.tags for cycle in events if isinstance(cycle, Cycled)} == {TAGS}
    marks = marks_in(tmp_path / "lake" / "main" / "checkpoints" / "pi_watermarks")
    assert len({marks[web_id_of(n)].high for n in range(TAGS)}) == 1


async def test_a_tag_that_a_discovery_left_out_is_still_known():
    def inventory(*names: str) -> Inventory:
        tags = tuple(Tag(f"F{name}", name) for name in names)
        return Inventory(tags, pa.table({"tag_webid": [tag.web_id for tag in tags]}), (), complete=True, server_now=0)

    class Context(SimpleNamespace):
        async def find_tags(self, **_: object) -> Inventory:
            return inventory("a", "new")

        async def sync_before_values(self, *_: object) -> dict[str, TagsResult]:
            return {TAGS_DATASET.name: TagsResult(left_out={"Fb"})}

        async def tell_cycle(self, _result: object) -> None:
            return

        async def discovered(self, found: Inventory, _claims: object) -> None:
            self.inventory = found

    async def beside_values(*_: object) -> None:
        return

    context = Context(inventory=inventory("a", "b", "gone"), freshness=lambda: None)
    reader = SimpleNamespace(claims={}, sync=SimpleNamespace(beside_values=beside_values))
    callbacks = follow._callbacks(context, reader, None)  # type: ignore[arg-type]
    await callbacks.discover()
    assert [tag.name for tag in callbacks.tags()] == ["a", "new", "b"]


def counted(events: list[RunEvent], kind: type[RunEvent]) -> int:
    return sum(isinstance(event, kind) for event in events)


async def until(task: asyncio.Task[object], events: list[RunEvent], reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            assert not task.done(), events[-1]
            await asyncio.sleep(0.02)


def test_shards_share_the_tags_and_what_is_no_tag() -> None:
    tags = tuple(Tag(f"F1{n}", f"tag {n}") for n in range(50))
    missing = tuple((f"name {n}", "no such point") for n in range(50))
    rows = pa.table({"tag_webid": [tag.web_id for tag in tags]})
    whole = Inventory(tags, rows, missing, complete=True, server_now=7, server="A", warnings=("one",))
    shards = [whole.of_shard(Shard(index, 3)) for index in range(3)]
    assert sorted(tag.web_id for one in shards for tag in one.tags) == sorted(tag.web_id for tag in tags)
    assert sorted(name for one in shards for name in one.unresolved) == sorted(missing)
    for one in shards:
        assert one.rows["tag_webid"].to_pylist() == [tag.web_id for tag in one.tags]
        assert replace(one, tags=tags, rows=rows, unresolved=missing) == whole
