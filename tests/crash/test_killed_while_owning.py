"""Killed while tags are claimed, or go over from one pipeline to another: they have one owner, and each event comes once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.crash.process import run_of, served
from tests.exactness.expected import assert_same_rows
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import is_table, rows_in
from tests.variants import slowly

TAGS = 6
END = BEGIN + HOUR


def plant_of(root: Path) -> Plant:
    return Plant.of(root / "lake", tags=TAGS, interval_secs=60)


@pytest.mark.parametrize(("step", "owned"), [("before_claim", False), ("after_claim", True)])
async def test_killed_while_claiming(tmp_path: Path, step: str, owned: bool) -> None:
    """A claim that is made stays, and can be taken over; one that is not made is nobody's."""
    plant = plant_of(tmp_path)
    async with served(plant, END) as document:
        killed = run_of(tmp_path / "killed", document(pipeline="first"), at=(step, 1))
        assert (await killed.end()).code == -signal.SIGKILL
        assert not is_table(plant.timeseries) or rows_in(plant.timeseries) == []
        second = await run_of(tmp_path / "second", document(pipeline="second")).end()
        assert second.code == (2 if owned else 0), second
        if owned:
            assert (await run_of(tmp_path / "taking", document(pipeline="second"), take_over="first").end()).code == 0
        assert (await run_of(tmp_path / "first", document(pipeline="first")).end()).code == 2
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(TAGS), BEGIN, END))


@pytest.mark.parametrize(
    ("step", "over"), [("before_fencing", False), ("after_handover", True), *slowly(("after_fencing", False))]
)
async def test_killed_while_tags_go_over(tmp_path: Path, step: str, over: bool) -> None:
    """Whoever runs next, old or new, finds one owner."""
    plant = plant_of(tmp_path)
    async with served(plant, END) as document, served(plant, END + HOUR) as later:
        assert (await run_of(tmp_path / "old", document(pipeline="old")).end()).code == 0
        killed = run_of(tmp_path / "killed", document(pipeline="new"), at=(step, 1), take_over="old")
        assert (await killed.end()).code == -signal.SIGKILL
        old = await run_of(tmp_path / "old again", later(pipeline="old")).end()
        new = await run_of(tmp_path / "new again", later(pipeline="new")).end()
        assert (old.code, new.code) == ((2, 0) if over else (0, 2)), (old, new)
        assert (await run_of(tmp_path / "taking", later(pipeline="new"), take_over="old").end()).code == 0
        assert (await run_of(tmp_path / "old at last", later(pipeline="old")).end()).code == 2
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(TAGS), BEGIN, END + HOUR))


async def test_shards_take_over_their_shares_side_by_side(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with served(plant, END) as document, served(plant, END + HOUR) as later:
        for index in range(2):
            assert (await run_of(tmp_path / f"old {index}", document(pipeline="old"), shard=(index, 2)).end()).code == 0
        taking = [
            run_of(tmp_path / f"new {index}", later(pipeline="new"), shard=(index, 2), take_over="old")
            for index in range(2)
        ]
        codes = [(await run.end()).code for run in taking]
        assert set(codes) <= {0, 4}  # one that meets the other in the middle says so, and may be run again
        for index, code in enumerate(codes):
            if code:
                again = run_of(tmp_path / f"again {index}", later(pipeline="new"), shard=(index, 2), take_over="old")
                assert (await again.end()).code == 0
        assert (await run_of(tmp_path / "old", later(pipeline="old")).end()).code == 2
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(TAGS), BEGIN, END + HOUR))
