"""`rebuild-watermarks` asks before it replaces: what an answer at a terminal does."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from .conftest import Called, environment, written


def answered(here: Path, answer: bytes) -> subprocess.CompletedProcess[str]:
    """Run the command at a terminal, and type an answer."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        command = [sys.executable, "-m", "engine", "rebuild-watermarks", "-c", "plant.yaml", "--all"]
        return subprocess.run(
            command, stdin=theirs, capture_output=True, text=True, cwd=here, env=environment(), check=False, timeout=60
        )
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"no\n"])
def test_to_answer_no_is_no_error_and_changes_nothing(called: Called, here: Path, site: str, answer: bytes):
    written(here, site, extraction={"tag_name_filter": "*00001"})
    assert called("run", "-c", "plant.yaml").code == 0
    table = here / "lakehouse/main/checkpoints/pi_watermarks"
    before = DeltaTable(str(table)).version()
    done = answered(here, answer)
    assert (done.returncode, done.stdout) == (0, "Nothing was changed.\n"), done.stderr
    assert "error: " not in done.stderr
    assert DeltaTable(str(table)).version() == before


def test_to_answer_yes_rebuilds(called: Called, here: Path, site: str):
    written(here, site, extraction={"tag_name_filter": "*00001"})
    assert called("run", "-c", "plant.yaml").code == 0
    done = answered(here, b"y\n")
    assert done.returncode == 0, done.stderr
    assert "Watermarks of 1 tag rebuilt from" in done.stdout
