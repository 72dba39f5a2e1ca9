"""A run that is killed while it lands sampled values: a rerun makes the table exact."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.process import at_once, run_of, served
from tests.digital_states.site import serving
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import is_table
from tests.sampled.grid import expected, lies, rows_in, settings
from tests.variants import first_of

LANDING_STEPS = ("after_data_commit", "before_staging", "after_staging", "after_watermark_commit")
KINDS = ("interpolated", "maximum")
SMALL = {"performance": {"commit_rows": 30, "backfill_commit_rows": 30, "values_per_answer": 20}}


@pytest.fixture(autouse=True)
def _forks() -> None:
    at_once()


@pytest.mark.parametrize("step", first_of(LANDING_STEPS))
async def test_killed_while_landing_sampled_values(tmp_path: Path, step: str) -> None:
    plant = Plant.of(tmp_path / "lake", tags=4, types=(("Float32", 1.0),), interval_secs=60, sections=SMALL)
    end = BEGIN + 2 * HOUR
    async with serving(plant, now=end) as site:
        wanted = expected(site, range(4), KINDS, BEGIN, end)
    extraction = settings(*KINDS, datasets=["sampled"])
    async with served(plant, end) as document:
        killed = run_of(tmp_path / "killed", document(extraction=extraction), at=(step, 2))
        assert (await killed.end()).code == -signal.SIGKILL
        if is_table(lies(plant)):
            assert not Counter(rows_in(plant)) - Counter(wanted)
        rerun = await run_of(tmp_path / "rerun", document(extraction=extraction)).end()
    assert rerun.code == 0, rerun
    assert rows_in(plant) == wanted
