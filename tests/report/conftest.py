from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_line.conftest import Called, called, here
from tests.report.sample import EVIL, lake

__all__ = ["Called", "called", "here"]


@dataclass(frozen=True)
class Lake:
    """A lake, and the configuration of its pipeline."""

    folder: Path
    config: Path

    @property
    def tables(self) -> Path:
        return self.folder / "lakehouse/main"


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """With names and messages of the worst kind. PI answers; the clocks stand. No test changes it."""
    folder = tmp_path_factory.mktemp("hostile")
    with lake(folder, evil=EVIL) as config:
        yield Lake(folder, config)


@pytest.fixture
def copied(hostile: Lake, tmp_path: Path) -> Lake:
    """The same lake, for a test to change."""
    shutil.copytree(hostile.folder / "lakehouse", tmp_path / "lakehouse")
    config = tmp_path / "plant.yaml"
    config.write_text(hostile.config.read_text().replace(str(hostile.folder), str(tmp_path)))
    return Lake(tmp_path, config)
