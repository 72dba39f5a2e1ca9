"""SIGTERM, SIGINT, SIGHUP: what is complete is committed, the end comes soon, and a rerun completes it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.flow.stop import Stop
from engine.telemetry.events import Answered, RunEvent
from tests.crash.process import Ended, Process, command, served, until
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant
from tests.exactness.reading import is_table
from tests.patience import patiently
from tests.variants import slowly

END = BEGIN + HOUR
# A page of every tag takes a while, and there are many: the run would go on for half a minute.
SLOW = {"rules": [{"match": {"route": "streams/*/recorded"}, "do": {"delay_secs": 0.05}}]}
ONE_BY_ONE = {
    "extraction": {"request_mode": "single", "max_count_per_tag": 5},
    "performance": {"commit_rows": 60},
}


def plant_of(root: Path) -> Plant:
    return Plant.of(root / "lake", tags=40, interval_secs=30, shapes=(("crowded", 1.0), ("steady", 1.0)))


def started(folder: Path, document: dict[str, Any]) -> Process:
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(document))  # which is YAML, too
    return command(folder, "run", "-c", str(file), "--json")


async def ended_within(process: Process, secs: float) -> Ended:
    """Its end, if it comes in time; the clock runs from now."""
    before = asyncio.get_running_loop().time()
    ended = await process.end()
    assert asyncio.get_running_loop().time() - before < patiently(secs)
    return ended


@pytest.mark.parametrize("number", [signal.SIGTERM, *slowly(signal.SIGINT, signal.SIGHUP)])
async def test_interrupted_midway(tmp_path: Path, number: signal.Signals) -> None:
    plant = plant_of(tmp_path)
    async with served(plant, END, SLOW) as document:
        process = started(tmp_path / "run", document(**ONE_BY_ONE))
        await until(lambda: plant.count() > 100)
        process.send(number)
        ended = await ended_within(process, 10)
    assert ended.code == 130, ended
    assert ended.report is not None
    assert ended.report["status"] == "interrupted"
    assert ended.report["tags_undone"] > 0
    assert 100 < ended.report["records_written"] == plant.count() < len(plant.rows(range(40), BEGIN, END))
    assert not list(plant.root.rglob("*.tmp"))
    report = await plant.run(END)
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)


async def test_interrupted_while_the_source_does_not_answer(tmp_path: Path) -> None:
    """What was read before stays; what hangs is abandoned within the ten seconds that jobs get."""
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + MINUTE)
    silent = {"rules": [{"match": {"route": "batch", "after": 1}, "do": {"hang": True}}]}
    async with served(plant, END, silent) as document:
        process = started(tmp_path / "run", document(pi_web_api={"timeout": "60s"}))
        await until(lambda: plant.requests[-1].stats["rules_applied"][0] >= 2)  # values and digital states
        process.send(signal.SIGTERM)
        ended = await ended_within(process, 10)
    assert ended.code == 130, ended
    assert (await plant.run(END)).status == "succeeded"
    plant.assert_exact(BEGIN, END)


async def test_interrupted_twice_it_does_not_even_wait_for_answers(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    silent = {"rules": [{"match": {"route": "batch", "after": 1}, "do": {"hang": True}}]}
    async with served(plant, END, silent) as document:
        process = started(tmp_path / "run", document(pi_web_api={"timeout": "60s"}))
        await until(lambda: plant.requests[-1].stats["rules_applied"][0] >= 2)  # values and digital states
        process.send(signal.SIGINT)
        await process.wait(0.2)
        process.send(signal.SIGINT)
        ended = await ended_within(process, 3)
    assert ended.code == 130, ended


async def test_interrupted_before_anything_is_planned(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    silent = {"rules": [{"match": {"route": "dataservers*"}, "do": {"hang": True}}]}
    async with served(plant, END, silent) as document:
        process = started(tmp_path / "run", document(pi_web_api={"timeout": "60s"}))
        await until(lambda: plant.requests[-1].stats["requests"] == 1)
        process.send(signal.SIGTERM)
        ended = await ended_within(process, 3)
    assert ended.code == 130, ended
    assert not is_table(plant.timeseries)


async def test_asked_to_stop_it_asks_nothing_more_about_the_tags_that_it_has_taken_up(tmp_path: Path) -> None:
    """One by one, the tags of a pack are many requests: those on their way are the last, one of each fetcher."""
    plant, stop = plant_of(tmp_path), Stop()

    def emit(event: RunEvent) -> None:
        if isinstance(event, Answered) and not stop.asked:
            stop.ask("enough")

    report = await plant.run(END, emit=emit, stop=stop, extraction={"request_mode": "single"})
    assert report.status == "interrupted"
    assert report.tags_undone >= 40 - 4
    assert (await plant.run(END)).status == "succeeded"
    plant.assert_exact(BEGIN, END)
