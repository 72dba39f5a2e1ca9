"""`run --on spark` with executors of their own: exact by the closed form, also where executors or the driver are killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.simulator import Simulator
from tests.exactness.plant import BEGIN, HOUR, Plant, settings
from tests.spark.on_spark import HANGS_AFTER_SECS, command
from tests.spark.tasks import Traffic

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1200)]

END = BEGIN + HOUR
WEEK = 7 * 24 * HOUR
# Requests one by one, and few in a second, so that something can happen meanwhile.
SLOWLY: dict[str, Any] = {
    "pi_web_api": {"max_requests_per_second": 20, "max_in_flight": 4},
    "extraction": {"request_mode": "single"},
    "performance": {"commit_rows": 400},
}


def document(plant: Plant, url: str, **sections: Any) -> dict[str, Any]:
    plain = settings(plant.root, url)
    return {name: {**plain.get(name, {}), **sections.get(name, {})} for name in {*plain, *sections}}


def asked(simulator: Simulator) -> int:
    """How many streams were asked for."""
    requests = simulator.requests
    return sum(
        n for routes in (requests.routes, requests.sub_routes) for name, n in routes.items() if "recorded" in name
    )


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANGS_AFTER_SECS):
        while not reached():  # noqa: ASYNC110 - a process sets no event of ours
            await asyncio.sleep(0.05)


async def test_three_thousand_tags_in_three_shares_with_speculation(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path / "lake", tags=3_000, interval_secs=60)
    async with plant.simulator(END).serve() as url:
        eager = {
            "spark__speculation": "true",
            "spark__speculation__multiplier": "1.1",
            "spark__speculation__interval": "50ms",
        }
        async with command(tmp_path / "run", document(plant, url), "--shares", "3", **eager) as run:
            ended = await run.end()
    assert ended.code == 0, ended.log[-3000:]
    plant.assert_exact(BEGIN, END)
    assert (ended.report["tags_extracted"], ended.report["records_written"]) == (3_000, plant.count())
    assert "3,000 tags in 3 shares on Spark" in ended.log


async def test_an_executor_that_is_killed_midway(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path / "lake", tags=300, interval_secs=60)
    simulator = plant.simulator(END)
    traffic = Traffic(simulator)
    async with (
        simulator.serve() as url,
        command(tmp_path / "run", document(plant, url, **SLOWLY), "--shares", "2") as run,
    ):
        await until(lambda: asked(simulator) > 100)
        run.kill_executor()
        ended = await run.end()
    assert ended.code == 0, ended.log[-3000:]
    plant.assert_exact(BEGIN, END)
    traffic.assert_within(20, 4)
    assert any("was begun again" in warning for warning in ended.report["warnings"])


@pytest.mark.slow
async def test_a_week_of_history_while_executors_are_killed_at_random(tmp_path: Path) -> None:
    chance, kills = random.Random(1), 4
    plant = Plant.of(tmp_path / "lake", tags=200, interval_secs=600)
    simulator = plant.simulator(BEGIN + WEEK)
    traffic = Traffic(simulator)
    history = {
        "pi_web_api": {"max_requests_per_second": 20, "max_in_flight": 4},
        "extraction": {"mode": "full", "request_mode": "single", "assumed_interval": "10m"},
        "performance": {"backfill_commit_rows": 4_000, "values_per_answer": 300},
    }
    # Spark gives a task up after four losses; so many in a minute are not what is tested.
    patient = {"spark__task__maxFailures": "20"}

    def may_go_on(at: int) -> bool:
        assert run.process.returncode is None, "the run has ended before all kills"
        return asked(simulator) > at and len(run.executors()) > 0

    async with (
        simulator.serve() as url,
        command(tmp_path / "run", document(plant, url, **history), "--shares", "2", **patient) as run,
    ):
        for _ in range(kills):
            await until(partial(may_go_on, asked(simulator) + chance.randint(20, 120)))
            run.kill_executor(chance.randrange(2))
        ended = await run.end()
    assert ended.code == 0, ended.log[-3000:]
    plant.assert_exact(BEGIN, BEGIN + WEEK)
    traffic.assert_within(20, 4)
    assert sum("was begun again" in warning for warning in ended.report["warnings"]) >= 1


async def test_a_driver_that_is_killed_and_started_again(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path / "lake", tags=300, interval_secs=60)
    simulator = plant.simulator(END)
    async with (
        simulator.serve() as url,
        command(tmp_path / "first", document(plant, url, **SLOWLY), "--shares", "2") as run,
    ):
        await until(lambda: asked(simulator) > 100)
        run.kill()
        async with command(tmp_path / "second", document(plant, url, **SLOWLY), "--shares", "2") as again:
            ended = await again.end()
    assert ended.code == 0, ended.log[-3000:]
    plant.assert_exact(BEGIN, END)
    assert ended.report["records_written"] < plant.count()


async def test_a_run_that_is_told_to_stop_commits_what_is_complete(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path / "lake", tags=300, interval_secs=60)
    simulator = plant.simulator(END)
    async with simulator.serve() as url:
        async with command(tmp_path / "first", document(plant, url, **SLOWLY), "--shares", "2") as run:
            await until(lambda: asked(simulator) > 100)
            run.interrupt()
            ended = await run.end()
        assert ended.code == 130, ended.log[-3000:]
        assert ended.report["records_written"] == plant.count() > 0
        async with command(tmp_path / "second", document(plant, url), "--shares", "2") as again:
            assert (await again.end()).code == 0
    plant.assert_exact(BEGIN, END)


async def test_through_spark_connect(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path / "lake", tags=600, interval_secs=60)
    async with (
        plant.simulator(END).serve() as url,
        command(tmp_path / "run", document(plant, url), "--shares", "2", master="connect") as run,
    ):
        ended = await run.end()
    assert ended.code == 0, ended.log[-3000:]
    plant.assert_exact(BEGIN, END)
    assert (ended.report["tags_extracted"], ended.report["records_written"]) == (600, plant.count())
