"""Counts from a server that refuses some, is too busy for some, or takes no batches."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from config.errors import TagError, TagForbiddenError, TagGoneError, UnavailableError
from engine.datasets.counts import CountSource, asks_for
from engine.datasets.request_mode import Mode
from engine.model import Tag, Window
from engine.net.client import ClientSettings, PIClient
from engine.piweb.counts import StreamCounts
from engine.plan.tag_cursor import RequestLimits
from engine.plan.timeline import DAY, HOUR
from engine.simulator import FaultPlan, Simulator, SimulatorOptions

NOON = 1_709_640_000_000_000
WINDOW = Window(NOON - 3 * DAY - HOUR, NOON)


class Site:
    """A simulated site, and a way to count there."""

    def __init__(self, simulator: Simulator, client: PIClient, url: str) -> None:
        self.simulator, self.client, self.url = simulator, client, url
        self.tags = [Tag(simulator.web_id(n), f"t{n}") for n in range(simulator.options.tags)]

    def source(self, mode: Mode = Mode.BATCH, **limits: int) -> CountSource:
        return CountSource(self.client, self.url, mode, RequestLimits(**limits), workers=3)

    async def counted(self, source: CountSource, tags: Sequence[Tag] | None = None) -> dict[str, tuple[int, ...]]:
        """The counts of the tags that have any, ask after ask."""
        asks = [ask for tag in tags or self.tags for ask in asks_for(tag, WINDOW, RequestLimits())]
        found: list[StreamCounts] = [each async for each in source.counts(asks)]
        assert {(c.ask.tag, c.ask.start) for c in found} == {(a.tag, a.start) for a in asks}
        assert len(found) == len(asks)
        days: dict[str, tuple[int, ...]] = {}
        for each in sorted(found, key=lambda c: c.ask.start):
            if each.error is None:
                days[each.ask.tag.name] = (*days.get(each.ask.tag.name, ()), *each.days)
        return days

    def truth(self) -> dict[str, tuple[int, ...]]:
        edges = [WINDOW.start, *(day * DAY for day in range(WINDOW.start // DAY + 1, NOON // DAY + 1)), NOON]
        return {
            tag.name: tuple(
                sum(event.good for event in self.simulator.events(n, start * 10, end * 10))
                for start, end in itertools.pairwise(edges)
            )
            for n, tag in enumerate(self.tags)
        }


@asynccontextmanager
async def site(size: int = 12, **faults: Any) -> AsyncIterator[Site]:
    options = SimulatorOptions(tags=size, now=NOON / 1e6, interval_secs=600, faults=FaultPlan.from_dict(faults))
    simulator = Simulator(options)
    async with simulator.serve() as url:
        settings = ClientSettings(
            url=url,
            max_requests_per_second=10_000,
            retry_attempts=2,
            retry_initial_wait_secs=0.0,
            retry_max_wait_secs=0.0,
        )
        async with PIClient(settings) as client:
            yield Site(simulator, client, url)


@pytest.mark.parametrize("mode", Mode)
async def test_all_ways_of_asking_give_the_counts_there_are(mode: Mode):
    async with site() as plant:
        source = plant.source(mode)
        assert await plant.counted(source) == plant.truth()
        assert source.refused == {}
        sent = plant.client.statistics().requests
        assert sent == {Mode.BATCH: 1, Mode.STREAMSET: 2, Mode.SINGLE: 24}[mode]


async def test_limits_make_more_requests_and_the_same_counts():
    async with site() as plant:
        assert await plant.counted(plant.source(tags_per_request=5)) == plant.truth()
        before = plant.client.statistics().requests
        assert await plant.counted(plant.source(values_per_answer=4)) == plant.truth()
        assert before == 5
        assert plant.client.statistics().requests == before + 12


async def test_more_counts_than_a_server_gives_are_asked_for_by_halves():
    async with site(switches={"max_items": 1}) as plant:
        assert await plant.counted(plant.source(), plant.tags[:3]) == dict(list(plant.truth().items())[:3])


async def test_tags_that_are_gone_or_forbidden_keep_their_reasons_and_are_not_asked_again():
    faults = [{"tag": "*000001", "gone": True}, {"tag": "*000002", "forbidden": 403}]
    for mode in (Mode.BATCH, Mode.STREAMSET):
        async with site(4, tags=faults) as plant:
            source = plant.source(mode)
            found = await plant.counted(source)
            assert found == {name: days for name, days in plant.truth().items() if name in {"t0", "t3"}}
            refused = {name: type(source.refused[plant.tags[int(name[1])].web_id]) for name in ("t1", "t2")}
            assert refused == {"t1": TagGoneError, "t2": TagForbiddenError}
            before = plant.client.statistics().requests
            asks = list(asks_for(plant.tags[1], WINDOW, RequestLimits()))
            assert [each async for each in source.counts(asks)] == []
            assert plant.client.statistics().requests == before


async def test_a_tag_whose_values_are_no_numbers_is_asked_otherwise_once_and_for_all():
    """Servers may refuse a count of text; asked for what can be made of text, they count."""
    refusal = {"match": {"route": "streams/*/summary", "tag": "*000001", "first": 2}, "do": {"status": 409}}
    async with site(4, rules=[refusal]) as plant:
        source = plant.source()
        assert await plant.counted(source) == plant.truth()
        before = plant.client.statistics().requests
        assert before == 2
        assert await plant.counted(source) == plant.truth()
        assert plant.client.statistics().requests == before + 2, "the odd one goes its own way at once"


async def test_a_tag_that_is_refused_either_way_is_told_of():
    refusal = {"match": {"route": "streams/*/summary", "tag": "*000001"}, "do": {"status": 409}}
    async with site(4, rules=[refusal]) as plant:
        source = plant.source()
        assert await plant.counted(source) == {n: d for n, d in plant.truth().items() if n != "t1"}
        [error] = source.refused.values()
        assert isinstance(error, TagError)
        assert "409" in str(error)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_tag_of_a_batch_that_has_to_wait_is_asked_again(status: int):
    busy = {"match": {"route": "streams/*/summary", "tag": "*000002", "scope": "sub"}, "do": {"status": status}}
    async with site(4, rules=[busy]) as plant:
        source = plant.source()
        assert await plant.counted(source) == plant.truth()
        assert source.refused == {}


async def test_a_tag_that_makes_the_server_stumble_holds_up_no_other():
    broken = {"match": {"route": "streams/*/summary", "tag": "*000002"}, "do": {"status": 500}}
    async with site(4, rules=[broken]) as plant:
        source = plant.source()
        assert await plant.counted(source) == {n: d for n, d in plant.truth().items() if n != "t2"}
        assert isinstance(source.refused[plant.tags[2].web_id], UnavailableError)


async def test_a_server_that_is_down_ends_it():
    async with site(4, rules=[{"match": {"scope": "outer"}, "do": {"status": 503}}]) as plant:
        with pytest.raises(UnavailableError):
            await plant.counted(plant.source())
