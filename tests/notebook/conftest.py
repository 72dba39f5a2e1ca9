from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.notebook.kernel import Kernel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """The wheel, put where Python finds it, metadata included: what a job's library is."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(site)
    return site


@pytest.fixture(scope="session")
def kernel(installed, tmp_path_factory):
    """One kernel for all tests, as one notebook runs many cells: each begins where the others have ended."""
    started = Kernel(tmp_path_factory.mktemp("kernel"), str(installed))
    yield started
    started.close()
