"""A run that stood still for longer than its lease is succeeded by another, and must not write again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.crash.process import run_of, served, until
from tests.exactness.plant import BEGIN, HOUR, Plant

STEPS = ("before_staging", "after_staging", "after_data_commit", "after_watermark_commit", "after_tags_staging")


async def test_stopped_taken_over_and_awake_again(tmp_path: Path) -> None:
    """At every step at once, for each costs the seconds a silent lease is watched for."""
    async with asyncio.TaskGroup() as group:
        for step in STEPS:
            group.create_task(_taken_over(tmp_path / step, step), name=step)


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
