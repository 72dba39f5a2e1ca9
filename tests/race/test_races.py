"""Runs at the same time: of one pipeline only one works, different shards and pipelines all do."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.crash.process import Ended, run_of, served, until
from tests.exactness.expected import assert_same_rows
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import rows_in
from tests.patience import patiently
from tests.variants import first_of

END = BEGIN + HOUR
SMALL = {"performance": {"commit_rows": 100, "values_per_answer": 60}}
ALONE = {"pi_web_api": {"max_in_flight": 1}}
# With one request at a time, a run goes on for longer than a rival looks at it.
SLOW = {"rules": [{"match": {"route": "*recorded"}, "do": {"delay_secs": 0.15}}]}


def plant_of(root: Path, **options: Any) -> Plant:
    return Plant.of(root / "lake", **{"tags": 10, "interval_secs": 30, "sections": SMALL, **options})


def assert_fenced(loser: Ended, winner: str) -> None:
    assert loser.code == 4, loser
    assert loser.error.startswith("FencedError: ")
    assert re.search(rf"\b{winner}\b", loser.error), loser.error


async def test_of_two_that_start_together_one_works(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with served(plant, END, SLOW) as document:
        runs = {name: run_of(tmp_path / name, document(**ALONE), run_id=name) for name in ("red", "blue")}
        ends = dict(zip(runs, await asyncio.gather(*(run.end() for run in runs.values())), strict=True))
    [winner] = [name for name, ended in ends.items() if ended.code == 0]
    [loser] = [name for name in ends if name != winner]
    assert_fenced(ends[loser], winner)
    plant.assert_exact(BEGIN, END)


async def test_one_that_comes_later_is_told_who_is_at_work(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with served(plant, END, SLOW) as document:
        first = run_of(tmp_path / "first", document(**ALONE), run_id="first")
        await until(lambda: "after_data_commit" in first.reached())
        assert_fenced(await run_of(tmp_path / "second", document(**ALONE), run_id="second").end(), "first")
        assert (await first.end()).code == 0
    plant.assert_exact(BEGIN, END)


async def test_six_that_start_together_leave_an_exact_table(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with served(plant, END) as document:
        runs = [run_of(tmp_path / f"run-{number}", document(), run_id=f"run-{number}") for number in range(6)]
        ends = await asyncio.gather(*(run.end() for run in runs))
        assert {ended.code for ended in ends} <= {0, 4}
        assert (await run_of(tmp_path / "last", document()).end()).code == 0
    plant.assert_exact(BEGIN, END)
    plant.assert_tags()


async def test_shards_and_pipelines_work_side_by_side(tmp_path: Path) -> None:
    """Three shards of one pipeline and another pipeline with tags of its own, all into one table."""
    plant = plant_of(tmp_path, tags=24)
    other = {"tag_name_filter": [], "tags": [plant.name(0)]}
    most = {"tag_name_filter": [], "tags": [plant.name(index) for index in range(1, 24)]}
    async with served(plant, END) as document:
        runs = [run_of(tmp_path / f"shard-{n}", document(extraction=most), shard=(n, 3)) for n in range(3)]
        runs.append(run_of(tmp_path / "other", document(extraction=other, pipeline="other")))
        ends = await asyncio.gather(*(run.end() for run in runs))
    assert [ended.code for ended in ends] == [0, 0, 0, 0], ends
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(24), BEGIN, END))
    plant.assert_tags()


@pytest.mark.slow
async def test_shards_that_are_killed_and_started_again_all_at_once(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=24)
    steps = ("after_staging", "after_data_commit", "after_watermark_commit")
    async with served(plant, END) as document:
        killed = [
            run_of(tmp_path / f"killed-{n}", document(), shard=(n, 3), at=(step, 2)) for n, step in enumerate(steps)
        ]
        assert [(await run.end()).code for run in killed] == [-signal.SIGKILL] * 3
        again = [run_of(tmp_path / f"again-{n}", document(), shard=(n, 3)) for n in range(3)]
        assert [(await run.end()).code for run in again] == [0, 0, 0]
    plant.assert_exact(BEGIN, END)


@pytest.mark.parametrize("where", first_of(["here", "elsewhere"]))
async def test_a_killed_run_stands_in_the_way_for_seconds_only(tmp_path: Path, where: str) -> None:
    """On this machine one can see that it is dead; of another machine's run one sees that it is silent."""
    plant = plant_of(tmp_path)
    async with served(plant, END) as document:
        killed = run_of(tmp_path / "killed", document(), at=("after_data_commit", 1))
        assert (await killed.end()).code == -signal.SIGKILL
        [lease] = plant.watermarks.rglob("lease-*.json")
        if where == "elsewhere":
            lease.write_text(json.dumps({**json.loads(lease.read_text()), "machine": "another", "host": "another"}))
        before = asyncio.get_running_loop().time()
        again = run_of(tmp_path / "again", document())
        await until(lambda: "before_staging" in again.reached())
        assert asyncio.get_running_loop().time() - before < patiently({"here": 4.0, "elsewhere": 8.0}[where])
        assert (await again.end()).code == 0
    plant.assert_exact(BEGIN, END)


async def test_readers_see_whole_commits_while_runs_go_on(tmp_path: Path) -> None:
    """Whoever reads meanwhile sees of every tag all events up to some instant, never a hole."""
    plant = plant_of(tmp_path)
    async with served(plant, END, SLOW) as document:
        run = run_of(tmp_path / "run", document(**ALONE))
        await until(lambda: "after_data_commit" in run.reached())
        looks = 0
        while run.alive:
            rows = await asyncio.to_thread(rows_in, plant.timeseries)
            for tag in range(plant.options.tags):
                mine = [row for row in rows if row[1] == plant.name(tag)]
                last = max((row[2] for row in mine), default=BEGIN - 1)
                assert_same_rows(mine, plant.rows([tag], BEGIN, last + 1))
            looks += 1
        assert (await run.end()).code == 0
        assert looks > 1
    plant.assert_exact(BEGIN, END)


async def test_of_two_pipelines_that_start_together_on_the_same_tags_one_gets_them(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with served(plant, END, SLOW) as document:
        runs = {
            name: run_of(tmp_path / name, document(pipeline=name, **ALONE), run_id=name) for name in ("red", "blue")
        }
        ends = dict(zip(runs, await asyncio.gather(*(run.end() for run in runs.values())), strict=True))
        [winner] = [name for name, ended in ends.items() if ended.code == 0]
        [loser] = [name for name in ends if name != winner]
        assert ends[loser].code == 2, ends[loser]
        assert f"are brought into bronze.pi_timeseries by pipeline {winner}: " in ends[loser].error
        assert "before_staging" not in runs[loser].reached()
        assert (await run_of(tmp_path / "again", document(pipeline=loser)).end()).code == 2
        assert (await run_of(tmp_path / "on", document(pipeline=winner)).end()).code == 0
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(10), BEGIN, END))


async def test_tags_are_taken_over_by_one_of_two_and_never_from_a_run_at_work(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with served(plant, END, SLOW) as document:
        old = run_of(tmp_path / "old", document(pipeline="old", **ALONE), run_id="old")
        await until(lambda: "after_data_commit" in old.reached())
        early = await run_of(tmp_path / "early", document(pipeline="new"), take_over="old").end()
        assert_fenced(early, "old")
        assert early.error.startswith("FencedError: No tag was taken over from pipeline old: ")
        assert (await old.end()).code == 0
        takers = [run_of(tmp_path / name, document(pipeline=name), take_over="old") for name in ("new", "newer")]
        codes = [(await run.end()).code for run in takers]
        assert min(codes) == 0
        assert set(codes) <= {0, 2, 4}
        assert codes.count(0) == 1
        assert (await run_of(tmp_path / "refused", document(pipeline="old")).end()).code == 2
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(10), BEGIN, END))
