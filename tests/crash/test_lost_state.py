"""Lost watermarks are an error and never an empty start; read back from the data they are exact."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from config.errors import LostStateError, StorageError
from engine.plan.shards import Shard
from tests.crash.process import command, run_of, served
from tests.exactness.expected import assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import rows_in, version_of
from tests.variants import first_of, slowly

EVERY_SHAPE = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))


def plant_of(root: Path) -> Plant:
    # One a day among them: a tag without an event so far leaves no trace in the data.
    return Plant.of(root / "lake", tags=12, shapes=EVERY_SHAPE, profile="mixed")


async def rebuilt(folder: Path, plant: Plant) -> None:
    async with served(plant, BEGIN + 2 * HOUR) as document:
        file = folder / "config.yaml"
        file.write_text(json.dumps(document()))
        ended = await command(folder / "rebuild", "rebuild-watermarks", "-c", str(file), "--yes").end()
    assert ended.code == 0, ended


def drop_watermarks(plant: Plant) -> None:
    shutil.rmtree(plant.watermarks)


def empty_watermarks(plant: Plant) -> None:
    """As after somebody created the table anew."""
    shutil.rmtree(plant.watermarks / "_delta_log")
    for folder in plant.watermarks.glob("pipeline=*"):
        shutil.rmtree(folder)


def restore_watermarks(plant: Plant) -> None:
    """As after a restore of an older backup: the last commits are not there."""
    newest = version_of(plant.watermarks)
    for version in (newest, newest - 1):
        (plant.watermarks / "_delta_log" / f"{version:020}.json").unlink()


def restore_watermarks_in_place(plant: Plant) -> None:
    """By RESTORE: an entry at the end of the log, which goes on counting as before."""
    DeltaTable(str(plant.watermarks)).restore(version_of(plant.watermarks) - 1)


def delete_watermarks(plant: Plant) -> None:
    DeltaTable(str(plant.watermarks)).delete()


def delete_a_watermark(plant: Plant) -> None:
    DeltaTable(str(plant.watermarks)).delete(f"tag_webid = '{web_id_of(0)}'")


def edit_watermarks(plant: Plant) -> None:
    DeltaTable(str(plant.watermarks)).update(updates={"high": "low"})


def create_watermarks_anew(plant: Plant) -> None:
    create_anew(plant.watermarks)


def restore_data_in_place(plant: Plant) -> None:
    DeltaTable(str(plant.timeseries)).restore(version_of(plant.timeseries) - 1)


def create_data_anew(plant: Plant) -> None:
    create_anew(plant.timeseries)


def create_anew(path: Path) -> None:
    table = DeltaTable(str(path))
    partitions = table.metadata().partition_columns
    DeltaTable.create(str(path), table.schema(), mode="overwrite", partition_by=partitions)


def drop_data(plant: Plant) -> None:
    shutil.rmtree(plant.timeseries)


@pytest.mark.parametrize(
    "lose",
    [
        *(drop_watermarks, restore_watermarks, delete_a_watermark, restore_data_in_place),
        *slowly(edit_watermarks, create_watermarks_anew, create_data_anew),
        *slowly(empty_watermarks, restore_watermarks_in_place, delete_watermarks),
    ],
)
async def test_lost_watermarks_end_the_run_and_are_read_back_from_the_data(
    tmp_path: Path, lose: Callable[[Plant], None]
) -> None:
    plant = plant_of(tmp_path)
    small = {"commit_rows": 500, "values_per_answer": 300}
    await plant.run(BEGIN + HOUR, performance=small)
    lose(plant)
    before = sorted(plant.timeseries.rglob("*")), sorted(plant.tags.rglob("*"))
    with pytest.raises(LostStateError, match="do not belong together") as caught:
        await plant.run(BEGIN + 2 * HOUR)
    assert "rebuild-watermarks" in caught.value.hint
    assert caught.value.exit_code == 4
    assert (sorted(plant.timeseries.rglob("*")), sorted(plant.tags.rglob("*"))) == before
    await rebuilt(tmp_path, plant)
    assert (await plant.run(BEGIN + 2 * HOUR)).status == "succeeded"
    assert_rows_exact(plant, BEGIN, BEGIN + 2 * HOUR)


@pytest.mark.parametrize("by_another", first_of([True, False]), ids=["created anew by another pipeline", "missing"])
async def test_lost_watermarks_are_noticed_by_another_division_of_the_tags(tmp_path: Path, by_another: bool) -> None:
    """Its shards have committed nothing themselves, and the leases that name those who have are lost, too."""
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + HOUR)
    drop_watermarks(plant)
    if by_another:
        await plant.run(BEGIN + HOUR, pipeline="other", extraction={"tag_name_filter": "none of them"})
    for index in range(2):
        with pytest.raises(LostStateError, match="do not belong together"):
            await plant.run(BEGIN + 2 * HOUR, shard=Shard(index, 2))
    await rebuilt(tmp_path, plant)
    for index in range(2):
        assert (await plant.run(BEGIN + 2 * HOUR, shard=Shard(index, 2))).status == "succeeded"
    assert_rows_exact(plant, BEGIN, BEGIN + 2 * HOUR)


async def test_watermarks_that_are_deleted_while_a_run_is_at_work(tmp_path: Path) -> None:
    """It knows them still, and those who come next would not: so it ends, and they are told as well."""
    plant = plant_of(tmp_path)
    small = {"commit_rows": 100, "values_per_answer": 100}
    steps: list[str] = []

    def on_step(step: str) -> None:
        steps.append(step)
        if steps.count("after_data_commit") == 2 and step == "after_data_commit":
            delete_watermarks(plant)

    for hours in (1, 2):
        with pytest.raises(LostStateError, match="changed the watermarks by DELETE"):
            await plant.run(BEGIN + hours * HOUR, performance=small, on_step=on_step)
    assert steps.count("after_watermark_commit") == 2
    await rebuilt(tmp_path, plant)
    assert (await plant.run(BEGIN + 2 * HOUR)).status == "succeeded"
    assert_rows_exact(plant, BEGIN, BEGIN + 2 * HOUR)


async def test_what_others_may_do_to_the_tables_is_no_loss(tmp_path: Path) -> None:
    """Take rows out of the data, put files together, change properties; take watermarks from other pipelines."""
    plant = plant_of(tmp_path)
    most = {"tag_name_filter": [], "tags": [plant.name(index) for index in range(11)]}
    other = {"tag_name_filter": [], "tags": [plant.name(11)]}
    await plant.run(BEGIN + HOUR, extraction=most, performance={"commit_rows": 500, "values_per_answer": 300})
    await plant.run(BEGIN + HOUR, extraction=other, pipeline="other")
    DeltaTable(str(plant.timeseries)).delete(f"tag_webid = '{web_id_of(0)}'")
    for path in (plant.timeseries, plant.watermarks):
        DeltaTable(str(path)).optimize.compact()
        DeltaTable(str(path)).alter.set_table_properties({"delta.logRetentionDuration": "interval 60 days"})
    DeltaTable(str(plant.watermarks)).delete("pipeline = 'other'")
    before = plant.marks()
    assert (await plant.run(BEGIN + 2 * HOUR, extraction=most)).status == "succeeded"
    assert {web_id: (mark.low, mark.high) for web_id, mark in plant.marks().items()} == {
        web_id: (mark.low, BEGIN + 2 * HOUR) for web_id, mark in before.items()
    }


@pytest.mark.parametrize("harm", first_of(["damaged", "missing"]))
async def test_a_file_of_watermarks_that_cannot_be_read_is_one_sentence(tmp_path: Path, harm: str) -> None:
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + HOUR)
    file = next(plant.watermarks.rglob("part-*.parquet"))
    file.unlink() if harm == "missing" else file.write_bytes(b"?" * file.stat().st_size)
    with pytest.raises(StorageError, match=r"A file of the table at .*pi_watermarks is missing or damaged") as caught:
        await plant.run(BEGIN + 2 * HOUR)
    assert "rebuild-watermarks" in caught.value.hint
    drop_watermarks(plant)
    await rebuilt(tmp_path, plant)
    assert (await plant.run(BEGIN + 2 * HOUR)).status == "succeeded"
    assert_rows_exact(plant, BEGIN, BEGIN + 2 * HOUR)


async def test_lost_data_ends_the_run_too(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + HOUR)
    drop_data(plant)
    with pytest.raises(LostStateError, match="data is at commit 0"):
        await plant.run(BEGIN + 2 * HOUR)
    await rebuilt(tmp_path, plant)
    assert (await plant.run(BEGIN + 2 * HOUR)).status == "succeeded"
    assert_rows_exact(plant, BEGIN, BEGIN + 2 * HOUR)


async def test_watermarks_that_are_not_lost_may_be_rebuilt_as_well(tmp_path: Path) -> None:
    """Also while a commit is half done, and twice."""
    plant = plant_of(tmp_path)
    async with served(plant, BEGIN + HOUR) as document:
        small = {"commit_rows": 100, "values_per_answer": 100}
        killed = run_of(tmp_path / "killed", document(performance=small), at=("after_data_commit", 3))
        assert (await killed.end()).code == -signal.SIGKILL
    await rebuilt(tmp_path, plant)
    shutil.rmtree(tmp_path / "rebuild")
    await rebuilt(tmp_path, plant)
    assert (await plant.run(BEGIN + 2 * HOUR)).status == "succeeded"
    assert_rows_exact(plant, BEGIN, BEGIN + 2 * HOUR)


async def test_a_backfill_goes_on_below_rebuilt_watermarks(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    late = {"start_date": "2024-03-05T01:00:00Z"}
    await plant.run(BEGIN + 2 * HOUR, extraction=late)
    drop_watermarks(plant)
    await rebuilt(tmp_path, plant)
    assert (await plant.run(BEGIN + 2 * HOUR, extraction={"mode": "full"})).status == "succeeded"
    assert_rows_exact(plant, BEGIN, BEGIN + 2 * HOUR)


async def test_shards_and_history_go_on_below_rebuilt_watermarks(tmp_path: Path) -> None:
    """The leases are lost with the table; whose commits there are, the data knows."""
    plant = plant_of(tmp_path)
    late = {"start_date": "2024-03-05T01:00:00Z"}
    for index in range(3):
        await plant.run(BEGIN + 2 * HOUR, shard=Shard(index, 3), extraction=late)
        await plant.run(BEGIN + 2 * HOUR, shard=Shard(index, 3), extraction={"mode": "full"})
    drop_watermarks(plant)
    await rebuilt(tmp_path, plant)
    earlier = {"mode": "full", "start_date": "2024-03-04T23:00:00Z"}
    for index in range(3):
        report = await plant.run(BEGIN + 3 * HOUR, shard=Shard(index, 3), extraction=earlier)
        assert report.status == "succeeded"
    assert_rows_exact(plant, BEGIN - HOUR, BEGIN + 3 * HOUR)


async def test_what_other_pipelines_have_read_is_left_to_them(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    most = {"tag_name_filter": [], "tags": [plant.name(index) for index in range(1, 12)]}
    other = {"tag_name_filter": [], "tags": [plant.name(0)]}
    await plant.run(BEGIN + HOUR, extraction=most)
    await plant.run(BEGIN + HOUR, extraction=other, pipeline="other")
    DeltaTable(str(plant.watermarks)).delete("pipeline = 'default'")
    async with served(plant, BEGIN + HOUR) as document:
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps(document(extraction=most)))
        arguments = ("rebuild-watermarks", "-c", str(file), "--yes")
        ended = await command(tmp_path / "rebuild", *arguments).end()
        assert ended.code == 0, ended
        assert "Watermarks of 11 tags rebuilt" in ended.output
        assert "1 tag left to other pipelines." in ended.output
        assert web_id_of(0) not in plant.marks()
        everything = await command(tmp_path / "all", *arguments, "--all").end()
        assert "Watermarks of 12 tags rebuilt" in everything.output
    unreachable = await command(tmp_path / "alone", *arguments).end()
    assert unreachable.code == 0
    assert "every tag of the table is taken for this pipeline's, because PI does not answer: " in unreachable.output
    assert "Watermarks of 12 tags rebuilt" in unreachable.output
    assert (await plant.run(BEGIN + 2 * HOUR, extraction=most)).status == "succeeded"
    assert (await plant.run(BEGIN + 2 * HOUR, extraction=other, pipeline="other")).status == "succeeded"
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(12), BEGIN, BEGIN + 2 * HOUR))


def assert_rows_exact(plant: Plant, start: int, end: int) -> None:
    """The rows alone: rebuilt watermarks begin with the first event, not with the window."""
    assert_same_rows(rows_in(plant.timeseries), plant.rows(range(plant.options.tags), start, end))
    assert {mark.high for mark in plant.marks().values()} == {end}
