"""A lake that an earlier version wrote is read, finished and continued by this one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.compatibility.make_lake import plant_of
from tests.exactness.expected import web_id_of
from tests.exactness.plant import BEGIN, HOUR, Plant, run_sync
from tests.exactness.reading import marks_in, read_table

STORED = Path(__file__).parent / "lake_of_0_1_0"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return plant_of(Path(shutil.copytree(STORED, tmp_path / "lake")))


def test_the_stored_lake_ends_between_the_two_commits_and_has_a_hole(plant: Plant) -> None:
    done = marks_in(plant.watermarks)[web_id_of(0)].high
    assert plant.count() > len(plant.rows(range(6), BEGIN, done)), "rows of the third hour, without their watermarks"
    assert set(plant.holes()) == {web_id_of(1)}


def test_an_earlier_lake_is_finished_and_continued_exactly(plant: Plant) -> None:
    tags, states = read_table(plant.tags), read_table(plant.tags.parent / "pi_digital_states")

    report = run_sync(plant, BEGIN + 4 * HOUR, retry_holes=True)

    assert (report.status, report.holes) == ("succeeded", ())
    plant.assert_exact(BEGIN, BEGIN + 4 * HOUR)
    columns = [name for name in tags.column_names if name != "last_seen"]
    assert rows(read_table(plant.tags).select(columns)) == rows(tags.select(columns))
    assert read_table(plant.tags.parent / "pi_digital_states").num_rows == states.num_rows


def rows(table: pa.Table) -> list[str]:
    return sorted(map(str, table.to_pylist()))
