"""`rebuild-watermarks` asks before it replaces: what an answer at a terminal does."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from deltalake import DeltaTable

from tests.command_line.conftest import Called, environment, written


@contextlib.contextmanager
def typed(answer: bytes) -> Iterator[TextIO]:
    """A terminal at which an answer was typed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        with os.fdopen(theirs) as terminal:
            yield terminal
    finally:
        os.close(ours)


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"no\n"])
def test_to_answer_no_is_no_error_and_changes_nothing(
    called: Called, here: Path, site: str, monkeypatch: pytest.MonkeyPatch, answer: bytes
):
    written(here, site, extraction={"tag_name_filter": "*00001"})
    assert called("run", "-c", "plant.yaml").code == 0
    table = here / "lakehouse/main/checkpoints/pi_watermarks"
    before = DeltaTable(str(table)).version()
    with typed(answer) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        done = called("rebuild-watermarks", "-c", "plant.yaml", "--all")
    assert (done.code, done.out) == (0, "Nothing was changed.\n"), done.err
    assert "error: " not in done.err
    assert DeltaTable(str(table)).version() == before


def test_to_answer_yes_rebuilds(called: Called, here: Path, site: str):
    """In a process of its own, as at a terminal."""
    written(here, site, extraction={"tag_name_filter": "*00001"})
    assert called("run", "-c", "plant.yaml").code == 0
    command = [sys.executable, "-m", "engine", "rebuild-watermarks", "-c", "plant.yaml", "--all"]
    with typed(b"y\n") as terminal:
        done = subprocess.run(
            command, stdin=terminal, capture_output=True, text=True, cwd=here, env=environment(), check=False
        )
    assert done.returncode == 0, done.stderr
    assert "Watermarks of 1 tag rebuilt from" in done.stdout
