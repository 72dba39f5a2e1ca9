"""A run that stood still for longer than its lease is succeeded by another, and must not write again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from engine.plan.shards import Shard
from tests.crash.process import run_of, served, until
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.variants import slowly

STEPS = ("before_staging", "after_staging", "after_data_commit", "after_watermark_commit", "after_tags_staging")


async def test_stopped_taken_over_and_awake_again(tmp_path: Path) -> None:
    """At every step at once, for each costs the seconds a silent lease is watched for."""
    async with asyncio.TaskGroup() as group:
        for step in STEPS:
            group.create_task(_taken_over(tmp_path / step, step), name=step)


@pytest.mark.parametrize(("first", "later"), [((0, 1), [(0, 2), (1, 2)]), *slowly(((1, 2), [(0, 1)]))])
async def test_stopped_and_succeeded_by_another_division_of_the_tags(
    tmp_path: Path, first: tuple[int, int], later: list[tuple[int, int]]
) -> None:
    """Its successors commit under other names: that it has been succeeded it would not see by its own."""
    plant = Plant.of(tmp_path / "lake", tags=6, interval_secs=30)
    small = {"values_per_answer": 100, "commit_rows": 100}
    async with served(plant, BEGIN + HOUR) as document:
        sleeper = run_of(
            tmp_path / "first", document(performance=small), shard=first, at=("after_staging", 2), send=signal.SIGSTOP
        )
        await until(sleeper.is_stopped)
        for shard in later:
            ended = await run_of(tmp_path / f"later-{shard[0]}", document(performance=small), shard=shard).end()
            assert ended.code == 0, ended
        plant.assert_exact(BEGIN, BEGIN + HOUR)
        sleeper.send(signal.SIGCONT)
        ended = await sleeper.end()
    assert ended.code == 4, ended
    assert ended.error.startswith("FencedError"), ended
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    assert (await plant.run(BEGIN + 2 * HOUR, shard=Shard(0, 1))).status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + 2 * HOUR)


async def _taken_over(folder: Path, step: str) -> None:
    plant = Plant.of(folder / "lake", tags=6, interval_secs=30, sections={"performance": {"commit_rows": 200}})
    small = {"values_per_answer": 100, "commit_rows": 100}
    async with served(plant, BEGIN + HOUR) as document:
        at = (step, 1 if "tags" in step else 2)
        first = run_of(folder / "first", document(performance=small), at=at, send=signal.SIGSTOP, run_id="first")
        await until(first.is_stopped)
        second = await run_of(folder / "second", document(performance=small), run_id="second").end()
        assert second.code == 0, (step, second)
        plant.assert_exact(BEGIN, BEGIN + HOUR)
        first.send(signal.SIGCONT)
        ended = await first.end()
    # It is told so by whoever comes first: its lease, or the log.
    assert ended.code == 4, (step, ended)
    assert ended.error.startswith("FencedError"), (step, ended)
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    plant.assert_tags()
    assert (await plant.run(BEGIN + 2 * HOUR)).status == "succeeded"
    plant.assert_exact(BEGIN, BEGIN + 2 * HOUR)
