"""A disk that is full, a folder that cannot be written: one clear line, nothing half-written, a rerun completes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.process import Ended, command, run_of, served
from tests.crash.test_kill_at_every_step import assert_nothing_twice
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant
from tests.variants import slowly

END = BEGIN + HOUR
SMALL = {"performance": {"commit_rows": 2000, "values_per_answer": 1000}}


def plant_of(root: Path) -> Plant:
    # Strings of a thousand characters do not shrink to nothing.
    return Plant.of(root, tags=30, interval_secs=5, types=(("Float64", 1.0), ("Blob", 1.0)), sections=SMALL)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk takes rights we do not have: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def assert_said_in_one_line(ended: Ended, *words: str) -> None:
    assert ended.code == 4, ended
    assert ended.error.startswith("StorageError: "), ended
    sentence, _, hint = ended.error.partition("\n")
    assert any(word in sentence for word in words), sentence
    assert hint.strip()
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("size", ["size=300k", *slowly("size=100k")])
async def test_a_disk_that_fills_up(tmp_path: Path, size: str) -> None:
    """At the first commit or at a later one; once there is room again the rest is written."""
    with small_disk(tmp_path / "disk", size):
        plant = plant_of(tmp_path / "disk" / "lake")
        async with served(plant, END) as document:
            full = await run_of(tmp_path / "full", document()).end()
            assert_said_in_one_line(full, "no room left")
            assert_nothing_twice(plant, END)
            again = await run_of(tmp_path / "again", document()).end()
            assert_said_in_one_line(again, "no room left")
            assert_nothing_twice(plant, END)
            remount(tmp_path / "disk", "size=100m")
            rerun = await run_of(tmp_path / "rerun", document()).end()
        assert rerun.code == 0, rerun
        plant.assert_exact(BEGIN, END)
        plant.assert_tags()


@pytest.mark.parametrize(
    "step",
    [
        "before_staging",
        "after_data_commit",
        *slowly(*("after_staging", "after_watermark_commit")),
        *slowly(*("before_tags_staging", "after_tags_staging", "after_tags_commit")),
    ],
)
async def test_nothing_can_be_written_from_a_step_on(tmp_path: Path, step: str) -> None:
    """Above all between data and watermarks: what the log names must stay, though the run ends in an error."""
    plant = plant_of(tmp_path / "lake")
    async with served(plant, END) as document:
        at = (step, 1 if "tags" in step else 2)
        full = await run_of(tmp_path / "full", document(), at=at, full=True).end()
        assert full.code == 4, full
        assert "Traceback" not in full.output
        assert_nothing_twice(plant, END)
        rerun = await run_of(tmp_path / "rerun", document()).end()
    assert rerun.code == 0, rerun
    plant.assert_exact(BEGIN, END)
    plant.assert_tags()


@pytest.mark.parametrize("most", [100_000, *slowly(2_000, 20_000)])
async def test_a_file_that_may_not_grow(tmp_path: Path, most: int) -> None:
    """As by a quota: files of the log still fit, or do not either."""
    plant = plant_of(tmp_path / "lake")
    plant.sections = {}
    async with served(plant, END) as document:
        limited = await run_of(tmp_path / "limited", document(), max_file_bytes=most).end()
        assert limited.code == 4, limited
        assert "Traceback" not in limited.output
        assert_nothing_twice(plant, END)
        rerun = await run_of(tmp_path / "rerun", document()).end()
    assert rerun.code == 0, rerun
    plant.assert_exact(BEGIN, END)


async def test_a_disk_that_has_become_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=100m"):
        plant = plant_of(tmp_path / "disk" / "lake")
        await plant.run(BEGIN + MINUTE)
        remount(tmp_path / "disk", "ro")
        async with served(plant, END) as document:
            ended = await run_of(tmp_path / "run", document()).end()
            assert_said_in_one_line(ended, "ead-only", "cannot be written", "denied")
            plant.assert_exact(BEGIN, BEGIN + MINUTE)
            remount(tmp_path / "disk", "rw")
            assert (await run_of(tmp_path / "rerun", document()).end()).code == 0
        plant.assert_exact(BEGIN, END)


@pytest.mark.parametrize("root", ["/proc/lake", "file"])
async def test_a_place_where_no_folder_can_be(tmp_path: Path, root: str) -> None:
    if root == "file":
        root = str(tmp_path / "file" / "lake")
        (tmp_path / "file").write_text("not a folder")
    plant = plant_of(tmp_path / "unused")
    async with served(plant, END) as document:
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps(document(storage={"root": root})))
        ended = await command(tmp_path / "run", "run", "-c", str(file)).end()
    assert ended.code == 4, ended
    assert "Traceback" not in ended.output
    assert root in ended.output
