"""Killed at any step of landing, in the first commit or a later one: a rerun makes the tables exact."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.process import run_of, served
from tests.digital_states.site import WHOLE, named
from tests.exactness.expected import assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, SECOND, Plant, text_of
from tests.exactness.reading import is_table, rows_in
from tests.variants import crossed, first_of, slowly

EVERY_SHAPE = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))
LANDING_STEPS = ("before_staging", "after_staging", "after_data_commit", "after_watermark_commit")
STATE_STEPS = ("after_states_staging", "before_states_staging", "after_states_commit")
TAG_STEPS = ("after_tags_staging", "after_tags_commit", "before_tags_staging")
# Many small commits of a few tags each.
SMALL = {"performance": {"commit_rows": 200, "backfill_commit_rows": 200, "values_per_answer": 150}}


def plant_of(root: Path, **options: object) -> Plant:
    return Plant.of(root, **{"tags": 8, "shapes": EVERY_SHAPE, "interval_secs": 30, "sections": SMALL, **options})


def assert_nothing_twice(plant: Plant, end: int) -> None:
    """What is visible in between is a part of what will be there, each event at most once."""
    if is_table(plant.timeseries):
        extra = Counter(rows_in(plant.timeseries)) - Counter(plant.rows(range(plant.options.tags), BEGIN, end))
        assert not extra


@pytest.mark.parametrize(("time", "step"), crossed([3, 1], LANDING_STEPS))
async def test_killed_while_landing(tmp_path: Path, step: str, time: int) -> None:
    plant = plant_of(tmp_path / "lake")
    async with served(plant, BEGIN + HOUR) as document:
        killed = run_of(tmp_path / "killed", document(), at=(step, time))
        assert (await killed.end()).code == -signal.SIGKILL
        assert killed.reached().count(step) == time
        assert_nothing_twice(plant, BEGIN + HOUR)
        rerun = await run_of(tmp_path / "rerun", document()).end()
    assert rerun.code == 0, rerun
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    plant.assert_tags()


@pytest.mark.parametrize(("later", "step"), crossed([True, False], TAG_STEPS, slow=["before_tags_staging"]))
async def test_killed_while_syncing_tags(tmp_path: Path, step: str, later: bool) -> None:
    """In the first run, or in one that finds three more tags."""
    plant = plant_of(tmp_path / "lake")
    if later:
        few = Plant.of(plant.root, tags=5, shapes=EVERY_SHAPE, interval_secs=30)
        await few.run(BEGIN + 30 * MINUTE)
    async with served(plant, BEGIN + HOUR) as document:
        assert (await run_of(tmp_path / "killed", document(), at=(step, 1)).end()).code == -signal.SIGKILL
        rerun = await run_of(tmp_path / "rerun", document()).end()
    assert rerun.code == 0, rerun
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    plant.assert_tags()


@pytest.mark.parametrize("step", first_of(STATE_STEPS))
async def test_killed_while_syncing_states(tmp_path: Path, step: str) -> None:
    """Beside values that are read meanwhile, and may have landed or not."""
    plant = plant_of(tmp_path / "lake", types=(("Digital", 1.0),))
    async with served(plant, BEGIN + HOUR) as document:
        assert (await run_of(tmp_path / "killed", document(), at=(step, 1)).end()).code == -signal.SIGKILL
        assert_nothing_twice(plant, BEGIN + HOUR)
        rerun = await run_of(tmp_path / "rerun", document()).end()
    assert rerun.code == 0, rerun
    plant.assert_exact(BEGIN, BEGIN + HOUR)
    assert named(plant) == WHOLE


async def test_killed_at_the_same_step_again_and_again(tmp_path: Path) -> None:
    """Every run gets one commit further, and dies between its data and its watermarks."""
    plant = plant_of(tmp_path / "lake")
    async with served(plant, BEGIN + HOUR) as document:
        codes = []
        for number in range(4):
            process = run_of(tmp_path / f"run-{number}", document(), at=("after_data_commit", 1))
            codes.append((await process.end()).code)
            assert_nothing_twice(plant, BEGIN + HOUR)
        assert codes == [-signal.SIGKILL] * 4
        assert (await run_of(tmp_path / "last", document()).end()).code == 0
    plant.assert_exact(BEGIN, BEGIN + HOUR)


async def test_a_backfill_killed_on_its_way_down(tmp_path: Path) -> None:
    plant = plant_of(tmp_path / "lake", tags=4, interval_secs=300)
    top = BEGIN + 80 * HOUR
    await plant.run(top, extraction={"start_date": "2024-03-08T07:00:00Z"})
    async with served(plant, top) as document:
        backfill = document(extraction={"mode": "full", "max_count_per_tag": 40})
        for number, step in enumerate(LANDING_STEPS):
            process = run_of(tmp_path / step, backfill, at=(step, 2 + number % 2))
            assert (await process.end()).code == -signal.SIGKILL
        assert (await run_of(tmp_path / "last", backfill).end()).code == 0
    plant.assert_exact(BEGIN, top)


async def test_one_shard_killed_beside_another_that_lives(tmp_path: Path) -> None:
    """The living one finishes what the dead one left half done, and only that."""
    plant = plant_of(tmp_path / "lake", tags=12)
    async with served(plant, BEGIN + HOUR) as document:
        killed = run_of(tmp_path / "killed", document(), shard=(0, 2), at=("after_data_commit", 2))
        assert (await killed.end()).code == -signal.SIGKILL
        alive = await run_of(tmp_path / "alive", document(), shard=(1, 2)).end()
        assert alive.code == 0, alive
        assert_nothing_twice(plant, BEGIN + HOUR)
        again = await run_of(tmp_path / "again", document(), shard=(0, 2)).end()
        assert again.code == 0, again
    plant.assert_exact(BEGIN, BEGIN + HOUR)


@pytest.mark.parametrize("most", [5, pytest.param(20, marks=pytest.mark.slow)])
async def test_many_kills_in_a_row_at_any_moment(tmp_path: Path, most: int) -> None:
    """The clock moves on, so that there is always something left to do when the next one is killed."""
    tiny = {"performance": {"commit_rows": 25, "values_per_answer": 25}}
    plant = plant_of(tmp_path / "lake", tags=4, sections=tiny)
    dice = random.Random(20)
    now = BEGIN + HOUR
    kills = starts = 0
    reached: list[str] = []
    async with served(plant, lambda: now / SECOND) as document:
        began = asyncio.get_running_loop().time()
        assert (await run_of(tmp_path / "first", document()).end()).code == 0
        whole_run = asyncio.get_running_loop().time() - began
        while kills < most or len(set(reached)) < 3:  # not all of them at the same step
            starts += 1
            assert starts < 80, f"{kills} of {starts} runs could be killed, at {set(reached)}"
            process = run_of(tmp_path / f"run-{starts}", document())
            # From before its first look at the tables to well into its commits.
            await process.wait(dice.uniform(0.02, whole_run))
            process.send(signal.SIGKILL) if process.alive else None
            ended = await process.end()
            assert ended.code in {0, -signal.SIGKILL}, ended
            kills += ended.code != 0
            reached += process.reached()[-1:] if ended.code else []
            assert_nothing_twice(plant, now)
            now += 30 * MINUTE + 7
        last = await run_of(tmp_path / "last", document()).end()
    assert last.code == 0, last
    plant.assert_exact(BEGIN, now)
    plant.assert_tags()


# --- what cannot be read ---------------------------------------------------------

SICK, END = 3, BEGIN + HOUR
# An instant, and a while with events in it.
LOST = ((BEGIN + 17 * MINUTE + 7, BEGIN + 17 * MINUTE + 8), (BEGIN + 41 * MINUTE + 3, BEGIN + 44 * MINUTE))


def damaged(plant: Plant) -> dict[str, object]:
    return {"damaged": [{"tag": plant.name(SICK), "start": text_of(start), "end": text_of(end)} for start, end in LOST]}


def assert_exact_but_for_holes(plant: Plant) -> None:
    """Everything is there once but what is lost, and that is written down."""
    expected = [
        row
        for row in plant.rows(range(8), BEGIN, END)
        if row[0] != web_id_of(SICK) or not any(start <= row[2] < end for start, end in LOST)
    ]
    assert_same_rows(rows_in(plant.timeseries), expected)
    assert {mark.high for mark in plant.marks().values()} == {END}
    assert {web_id: [(hole.start, hole.end) for hole in found] for web_id, found in plant.holes().items()} == {
        web_id_of(SICK): list(LOST)
    }


@pytest.mark.parametrize(
    ("time", "step"),
    crossed(
        [4, 1],
        ["after_data_commit", "after_staging", "before_staging", "after_watermark_commit"],
        slow=["before_staging", "after_watermark_commit"],
    ),
)
async def test_killed_while_passing_over_what_cannot_be_read(tmp_path: Path, step: str, time: int) -> None:
    """No hole is lost, and none is left behind of what was not passed over."""
    plant = plant_of(tmp_path / "lake")
    async with served(plant, END, damaged(plant)) as document:
        killed = run_of(tmp_path / "killed", document(), at=(step, time))
        assert (await killed.end()).code == -signal.SIGKILL
        assert_nothing_twice(plant, END)
        rerun = await run_of(tmp_path / "rerun", document()).end()
    assert rerun.code == 1, rerun
    assert rerun.report is not None
    assert (rerun.report["holes_count"], rerun.report["tags_failed"]) == (len(LOST), [])
    assert_exact_but_for_holes(plant)
    async with served(plant, END) as document:
        healed = await run_of(tmp_path / "healed", document(), retry_holes=True).end()
    assert healed.code == 0, healed
    plant.assert_exact(BEGIN, END)
    assert plant.holes() == {}


@pytest.mark.parametrize(
    "step",
    ["before_correction", "after_data_commit", *slowly("before_staging", "after_staging", "after_watermark_commit")],
)
async def test_killed_while_filling_a_hole(tmp_path: Path, step: str) -> None:
    """A hole is open as long as its rows are not there, and closed with them."""
    plant = plant_of(tmp_path / "lake")
    assert (await plant.run(END, faults=damaged(plant))).exit_code == 1
    async with served(plant, END) as document:
        killed = run_of(tmp_path / "killed", document(), at=(step, 1), retry_holes=True)
        assert (await killed.end()).code == -signal.SIGKILL
        assert_nothing_twice(plant, END)
        rerun = await run_of(tmp_path / "rerun", document(), retry_holes=True).end()
    assert rerun.code == 0, rerun
    plant.assert_exact(BEGIN, END)
    assert plant.holes() == {}
