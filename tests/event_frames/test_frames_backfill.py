"""History of event frames is a backfill: under a lease of its own, beside live runs, resumed after a kill."""

from __future__ import annotations

import asyncio

import pytest

from config import from_mapping
from config.errors import FencedError
from engine.flow.run_with_lease import run_with_lease
from engine.plan.run_scope import RunScope, shard_of
from engine.plan.shards import Shard
from engine.run import run
from engine.telemetry.events import DatasetProgress, RunEvent
from tests.event_frames.plant import DAY, Plant, serving, stored, versions
from tests.exactness.plant import BEGIN, BEGIN_TEXT, HOUR, settings, text_of
from tests.landing.lake import Killed
from tests.memory_lakehouse import MemoryLakehouse
from writers import open_lakehouse
from writers.asset_tables import PI_EVENT_FRAMES


def in_memory():
    lakehouse = MemoryLakehouse()
    return lambda: lakehouse


def oldest(plant: Plant) -> int:
    return min(one["start_time"] for one in stored(plant.lakehouse(), PI_EVENT_FRAMES))


async def test_a_live_run_begins_with_the_newest_day_and_a_backfill_goes_on_behind_it() -> None:
    async with serving(in_memory(), days=60, frames_per_day=1) as plant:
        await plant.run(scope=RunScope.FORWARD)
        midnight = BEGIN + 59 * DAY
        of_today = {plant.web_id(one) for one in plant.frames() if one.end is None or one.end >= midnight * 10}
        assert {one["event_frame_webid"] for one in stored(plant.lakehouse(), PI_EVENT_FRAMES)} == of_today
        await plant.run(scope=RunScope.BACKFILL)
        plant.assert_exact()


async def test_a_backfill_without_a_live_run_before_it_says_so() -> None:
    async with serving(in_memory(), days=5) as plant:
        result = await plant.run(scope=RunScope.BACKFILL)
        assert result.unread == (("event frames of Plant", "the live run has not begun yet"),)


async def test_live_runs_go_on_beside_a_backfill_that_dies_and_is_started_again() -> None:
    """They land frames between its commits, and it takes none of them back."""
    async with serving(in_memory(), days=60, frames_per_day=1) as plant:
        await plant.run(scope=RunScope.FORWARD)
        loop = asyncio.get_running_loop()
        commits = 0
        lived: set[int] = set()

        def live() -> None:
            lived.add(commits)
            number = plant.change(
                action="create_frame", name=f"Live {commits}", start=text_of(plant.now), template="Trip"
            )
            plant.change(action="edit_frame", frame=number, description="as it is now")
            plant.advance(HOUR)
            asyncio.run_coroutine_threadsafe(plant.run(scope=RunScope.FORWARD), loop).result(60)

        def step(reached: str) -> None:
            nonlocal commits
            commits += reached == "after_watermark_commit"
            if reached == "before_correction" and commits not in lived and len(lived) < 3:
                live()
            if commits == 2:
                commits += 1
                raise Killed(reached)

        with pytest.raises(Killed):
            await plant.run(scope=RunScope.BACKFILL, on_step=step)
        reached = oldest(plant)
        assert reached > BEGIN + DAY
        before = plant.request_counts()[1]
        await plant.run(scope=RunScope.BACKFILL)
        assert plant.request_counts()[1] - before < len(plant.frames()), "what has landed is not read again"
        await plant.run(scope=RunScope.FORWARD)
        plant.assert_exact()


async def test_while_a_backfill_is_at_work_other_runs_leave_history_to_it() -> None:
    async with serving(in_memory(), days=40, frames_per_day=1) as plant:
        lease = plant.lakehouse().lease("default", shard_of(RunScope.BACKFILL, str(Shard())), "another run")
        lease.acquire()
        await plant.run()
        assert oldest(plant) > BEGIN + 38 * DAY
        lease.release()
        await plant.run()
        plant.assert_exact()


def of_frames(tmp_path, plant: Plant, **extraction):
    sections = {
        "event_frames": {"enabled": True},
        "extraction": {"datasets": ["event_frames"], "start_date": BEGIN_TEXT, "mode": "full", **extraction},
    }
    return from_mapping(settings(tmp_path, plant.url, **sections)).config


async def test_a_full_run_brings_history_shows_its_progress_and_sees_deletions(tmp_path) -> None:
    async with serving(lambda: open_lakehouse(tmp_path), days=40, frames_per_day=1) as plant:
        events: list[RunEvent] = []
        report = await run(of_frames(tmp_path, plant), emit=events.append)
        assert (report.exit_code, report.status) == (0, "succeeded")
        plant.assert_exact()
        told = [one for one in events if isinstance(one, DatasetProgress)]
        assert len(told) > 2
        assert told[-1].share == 1.0
        assert "event frames of Plant, 2024-03-05 to" in told[-1].text
        plant.change(action="delete_frame", frame=3)
        plant.change(action="edit_frame", frame=6, description="edited long after")
        report = await run(of_frames(tmp_path, plant))
        assert report.as_dict()["datasets"]["event_frames"]["missing"] >= 1
        plant.assert_exact(values=False)


async def test_beside_a_live_run_only_history_is_read(tmp_path) -> None:
    async with serving(lambda: open_lakehouse(tmp_path), days=10, frames_per_day=2) as plant:
        live = plant.lakehouse().lease("default", str(Shard()), "live")
        live.acquire()
        with pytest.raises(FencedError, match="live"):
            await run_with_lease(live, run(of_frames(tmp_path, plant, mode="incremental")))
        report = await run_with_lease(live, run(of_frames(tmp_path, plant)))
        assert report.exit_code == 1
        [unread] = report.as_dict()["datasets"]["event_frames"]["unread"]
        assert "the live run has not begun yet" in str(unread)
        live.release()
        assert (await run(of_frames(tmp_path, plant))).exit_code == 0
        plant.assert_exact()


async def test_one_of_three_shards_reads_event_frames(tmp_path) -> None:
    async with serving(lambda: open_lakehouse(tmp_path), days=1, tags=6, frames_per_day=4) as plant:
        config = of_frames(tmp_path, plant, datasets=["all"], mode="incremental", tag_name_filter="*")
        for index in (2, 1):
            assert (await run(config, shard=Shard(index, 3))).exit_code == 0
            assert not plant.lakehouse().table(PI_EVENT_FRAMES).exists()
        assert (await run(config, shard=Shard(0, 3))).exit_code == 0
        plant.assert_exact()
        before = versions(plant.lakehouse())
        assert (await run(config, shard=Shard(1, 3))).exit_code == 0
        assert versions(plant.lakehouse()) == before
