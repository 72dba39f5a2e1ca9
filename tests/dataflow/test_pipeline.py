"""Fetchers, channel and committer together, while the source does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from config.errors import UnavailableError
from engine.flow.channel import Channel
from engine.flow.committer import Committer, Delivery
from engine.flow.pipeline import MAX_BROKEN_IN_A_ROW, Pipeline, SourceReply
from engine.flow.stop import Stop
from engine.model import Ask, Tag, Window
from engine.plan.planner import Chunk, Plan
from engine.plan.tag_cursor import RequestLimits, cursors_for
from engine.telemetry.events import TagFailed
from tests.memory_lakehouse import MemoryLakehouse
from tests.patience import patiently
from writers import PI_TIMESERIES, Landing, LandingRun


class Broken:
    """A source whose every answer would fill the channel, and fails; 500 may be one tag's fault, silence is nobody's."""

    def __init__(self, status: int | None, *, alive: bool = False) -> None:
        self.status, self.alive = status, alive
        self.asked = 0

    def split(self, chunk: Chunk) -> list[Chunk]:
        return [chunk]

    def expected_bytes(self, asks: Sequence[Ask]) -> int:
        return 1_000 * len(asks)

    async def read(self, asks: Sequence[Ask], *, patient: bool = True) -> SourceReply:
        self.asked += 1
        raise UnavailableError(f"nothing about {len(asks)} tags", status=self.status)

    async def is_alive(self) -> bool:
        return self.alive


async def ran(source: Broken, *, tags: int) -> tuple[Plan, Channel[Delivery], list[str]]:
    """The plan and the channel after a run that asked for one tag at a time, and the tags that were given up."""
    channel: Channel[Delivery] = Channel(1_000)
    told: list[object] = []
    cursors = [
        cursor
        for n in range(tags)
        for cursor in cursors_for(Tag(f"id{n}", f"tag{n}"), Window(0, 10), None, rows_done=0, assumed_rate=0.1)
    ]
    plan = Plan(cursors, RequestLimits(tags_per_request=1))
    landing = Landing(MemoryLakehouse(), PI_TIMESERIES, LandingRun(pipeline="p", dataset="recorded", run_id="r"))
    landing.open()
    with ThreadPoolExecutor(1) as writer:
        committer = Committer(
            landing, channel, dataset="recorded", commit_rows=10, commit_secs=60, writer=writer, emit=told.append
        )
        pipeline = Pipeline(
            plan, source, channel, committer, dataset="recorded", fetchers=2, emit=told.append, stop=Stop()
        )
        async with asyncio.timeout(patiently(10)):
            await pipeline.run()
    return plan, channel, [event.tag for event in told if isinstance(event, TagFailed)]


async def test_requests_that_fail_give_their_room_back_and_their_tags_are_given_up() -> None:
    plan, channel, failed = await ran(Broken(500), tags=3)
    assert sorted(failed) == ["tag0", "tag1", "tag2"]
    assert plan.stopped is None
    assert channel.statistics().used_bytes == 0


async def test_a_source_that_is_silent_is_soon_asked_no_more() -> None:
    source = Broken(None)
    plan, _, failed = await ran(source, tags=500)
    assert "gave up after 12 failed requests in a row" in str(plan.stopped)
    assert source.asked <= 12 + 2
    assert failed == []


async def test_a_source_that_answers_small_questions_alone_is_asked_no_more_in_the_end() -> None:
    """Silence may mean that too much was asked for at once: as long as it answers at all, less is asked for."""
    source = Broken(None, alive=True)
    plan, _, failed = await ran(source, tags=500)
    assert "gave up after 120 failed requests in a row" in str(plan.stopped)
    assert 120 <= source.asked <= 120 + 2
    assert failed == []


async def test_tags_that_fail_in_a_row_end_the_run_only_when_there_are_very_many() -> None:
    """However often each of them is tried."""
    few, many = MAX_BROKEN_IN_A_ROW * 2 // 3, MAX_BROKEN_IN_A_ROW * 2
    source = Broken(500)
    plan, _, failed = await ran(source, tags=few)
    assert source.asked > MAX_BROKEN_IN_A_ROW
    assert (plan.stopped, len(failed)) == (None, few)
    plan, _, failed = await ran(Broken(500), tags=many)
    assert f"gave up after {MAX_BROKEN_IN_A_ROW} failed requests in a row" in str(plan.stopped)
    assert len(failed) < many
