"""A power loss takes what was not forced to the disk: names, contents, or both. What was committed is not among it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest

from engine.run.connect import lakehouse_of
from engine.telemetry.events import Committed, RunEvent
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import is_table, read_table
from writers import PI_TIMESERIES, MaintenanceOptions, optimize_table
from writers.storage import durable


@dataclass
class Disk:
    """What a disk surely holds of a folder: contents and names as of when they were last synced."""

    root: Path
    contents: dict[Path, bytes] = field(default_factory=dict)
    names: dict[Path, frozenset[str]] = field(default_factory=dict)
    order: list[Path] = field(default_factory=list)
    files_first: bool = True  # files of a compaction are written and committed by delta-rs in one step

    def sync(self, path: Path) -> None:
        assert path.exists()
        self.order.append(path)
        if path.is_dir():
            self.names[path] = frozenset(each.name for each in path.iterdir())
            return
        self.contents[path] = path.read_bytes()
        if self.files_first and path.suffix == ".parquet" and "_delta_log" not in path.parts:
            named = [entry for entry in entries_above(path) if path.name in entry.read_text()]
            assert not named, f"{path.name} is named by an entry before it is on the disk"

    def after_power_loss(self, image: Path) -> Path:
        """A file whose name was synced and whose content was not is empty, as file systems leave it."""
        image.mkdir()
        self._restore(self.root, image)
        return image

    def _restore(self, folder: Path, image: Path) -> None:
        for name in self.names.get(folder, ()):
            path, target = folder / name, image / name
            if path in self.names or path.is_dir():
                target.mkdir()
                self._restore(path, target)
            else:
                target.write_bytes(self.contents.get(path, b""))


def entries_above(file: Path) -> Iterator[Path]:
    for folder in file.parents:
        if (folder / "_delta_log").is_dir():
            yield from (folder / "_delta_log").glob("*.json")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk(tmp_path)
    monkeypatch.setattr(durable, "sync", found.sync)
    return found


async def test_what_was_committed_survives_a_power_loss_and_the_next_run_goes_on_from_there(
    tmp_path: Path, disk: Disk
) -> None:
    plant = Plant.of(tmp_path / "lake", tags=6)
    images: list[tuple[Path, int]] = []
    written = 0

    def emit(event: RunEvent) -> None:
        nonlocal written
        if isinstance(event, Committed):
            written += event.rows
            images.append((disk.after_power_loss(tmp_path.with_name(f"{tmp_path.name}_{len(images)}")), written))

    for hours in (1, 2, 3):
        assert (await plant.run(BEGIN + hours * HOUR, emit=emit)).exit_code == 0
    assert len(images) == 3
    for image, rows in images:
        survived = Plant(image / "lake", plant.options, plant.sections)
        assert is_table(survived.timeseries)
        assert survived.count() == rows
        assert (await survived.run(BEGIN + 4 * HOUR)).exit_code == 0
        survived.assert_exact(BEGIN, BEGIN + 4 * HOUR)


async def test_every_file_is_on_the_disk_before_the_entry_that_names_it_and_the_entry_before_the_end(
    tmp_path: Path, disk: Disk
) -> None:
    plant = Plant.of(tmp_path / "lake", tags=6)
    for hours in (1, 2):
        assert (await plant.run(BEGIN + hours * HOUR)).exit_code == 0
    seen = 0
    for entry in plant.root.rglob("_delta_log/*.json"):
        table = entry.parent.parent
        said = disk.order.index(entry)
        assert disk.contents[entry] == entry.read_bytes()
        assert entry.parent in disk.order[said:]
        for action in map(json.loads, entry.read_text().splitlines()):
            if "add" in action:
                file = table / unquote(action["add"]["path"])
                content = disk.order.index(file)
                assert file.parent in disk.order[content:said], "its name, too, before the entry"
                seen += 1
    assert seen > 6
    for folder in (plant.timeseries, plant.timeseries.parent, plant.timeseries.parent.parent, plant.root.parent):
        assert folder in disk.order


async def test_what_maintenance_writes_is_on_the_disk_too(tmp_path: Path, disk: Disk) -> None:
    plant = Plant.of(tmp_path / "lake", tags=6)
    for hours in (1, 2):
        assert (await plant.run(BEGIN + hours * HOUR)).exit_code == 0
    table = lakehouse_of(plant.config("http://pi.example/piwebapi")).table(PI_TIMESERIES)
    before = len(disk.order)
    disk.files_first = False
    report = optimize_table(table, MaintenanceOptions())
    assert report.files_after < report.files_before
    assert len(disk.order) > before
    image = disk.after_power_loss(tmp_path.with_name(f"{tmp_path.name}_image"))
    survived = Plant(image / "lake", plant.options, plant.sections)
    assert sorted(map(str, read_table(survived.timeseries).to_pylist())) == sorted(
        map(str, read_table(plant.timeseries).to_pylist())
    )


async def test_those_who_do_not_need_it_wait_for_no_disk(tmp_path: Path, disk: Disk) -> None:
    plant = Plant.of(tmp_path / "lake", tags=2)
    assert (await plant.run(BEGIN + HOUR, storage={"fsync": False})).exit_code == 0
    assert not disk.order
