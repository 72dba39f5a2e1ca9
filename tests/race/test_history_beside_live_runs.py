"""History is read beside the live runs of the same pipeline: neither keeps the other out, and nothing is lost or twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config.errors import FencedError
from engine.flow.run_with_lease import run_with_lease
from engine.plan.shards import Shard
from engine.run import run
from engine.run.connect import lakehouse_of
from engine.telemetry.events import Planned, RunEvent
from engine.telemetry.report import RunReport
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant, text_of

TOP = BEGIN + 60 * HOUR
FULL = {"extraction": {"mode": "full"}, "performance": {"backfill_commit_rows": 300, "values_per_answer": 150}}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant.of(tmp_path / "lake", tags=6, interval_secs=300)


async def test_live_runs_go_on_while_history_is_read(plant: Plant) -> None:
    live: list[asyncio.Task[RunReport]] = []
    planned: list[RunEvent] = []

    async def run_live(url: str) -> RunReport:
        return await run(plant.config(url))

    async with plant.simulator(TOP).serve() as url, plant.simulator(TOP + 5 * MINUTE).serve() as later:

        def emit(event: RunEvent) -> None:
            if isinstance(event, Planned):
                planned.append(event)
                if len(planned) == 2:  # the front is done, and its lease is free
                    live.append(asyncio.ensure_future(run_live(later)))

        report = await run(plant.config(url, **FULL), emit=emit)
        beside = await live[0]
    assert (report.status, beside.status) == ("succeeded", "succeeded")
    assert len(planned) == 2
    assert report.commits > 3
    plant.assert_exact(BEGIN, TOP + 5 * MINUTE)


async def test_history_is_read_while_a_live_run_holds_the_pipeline(plant: Plant) -> None:
    await plant.run(TOP, extraction={"start_date": text_of(TOP - HOUR)})
    async with plant.simulator(TOP).serve() as url:
        config = plant.config(url, **FULL)
        lease = lakehouse_of(config).lease("default", "0-of-1", "live")
        lease.acquire()
        with pytest.raises(FencedError, match="live"):
            await run_with_lease(lease, run(plant.config(url)))
        report = await run_with_lease(lease, run(config))
        lease.release()
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, TOP)


async def test_tags_that_were_never_read_wait_for_the_live_run_and_are_named_undone(plant: Plant) -> None:
    async with plant.simulator(TOP).serve() as url:
        config = plant.config(url, **FULL)
        lease = lakehouse_of(config).lease("default", "0-of-1", "live")
        lease.acquire()
        report = await run_with_lease(lease, run(config))
        lease.release()
        assert (report.status, report.exit_code, report.tags_undone, report.records_written) == ("incomplete", 1, 6, 0)
        assert (await run(config)).status == "succeeded"
    plant.assert_exact(BEGIN, TOP)


async def test_history_claims_no_tags_that_it_does_not_read(plant: Plant) -> None:
    async with plant.simulator(TOP).serve() as url:
        config = plant.config(url, **FULL)
        lease = lakehouse_of(config).lease("default", "0-of-1", "live")
        lease.acquire()
        assert (await run_with_lease(lease, run(config))).tags_undone == 6
        lease.release()
        assert (await run(plant.config(url, pipeline="another"))).status == "succeeded"


async def test_two_that_read_history_at_once_are_one_too_many(plant: Plant) -> None:
    await plant.run(TOP, extraction={"start_date": text_of(TOP - HOUR)})
    async with plant.simulator(TOP).serve() as url:
        config = plant.config(url, **FULL)
        lease = lakehouse_of(config).lease("default", "backfill.0-of-1", "tonight")
        lease.acquire()
        with pytest.raises(FencedError, match="tonight"):
            await run_with_lease(lease, run(config))
        lease.release()
        assert (await run(config)).status == "succeeded"
    plant.assert_exact(BEGIN, TOP)


async def test_history_is_not_read_by_two_divisions_of_the_tags_at_once(plant: Plant) -> None:
    await plant.run(TOP, extraction={"start_date": text_of(TOP - HOUR)})
    async with plant.simulator(TOP).serve() as url:
        config = plant.config(url, **FULL)
        lease = lakehouse_of(config).lease("default", "backfill.0-of-1", "tonight")
        lease.acquire()
        with pytest.raises(FencedError, match="tonight"):
            await run_with_lease(lease, run(config, shard=Shard(0, 2)))
        lease.release()
        for index in range(2):
            assert (await run(config, shard=Shard(index, 2))).status == "succeeded"
    plant.assert_exact(BEGIN, TOP)


async def test_what_is_fenced_midway_does_not_go_on_with_the_history(plant: Plant) -> None:
    await plant.run(TOP - HOUR, extraction={"start_date": text_of(TOP - 2 * HOUR)})

    steps: list[str] = []

    def on_step(step: str) -> None:
        steps.append(step)
        if step == "after_staging" and steps.count(step) == 1:
            raise FencedError("another run has committed")

    rows = plant.count()
    async with plant.simulator(TOP).serve() as url:
        with pytest.raises(FencedError):
            await run(plant.config(url, **FULL), on_step=on_step)
    assert plant.count() == rows
