"""Runs of this folder are processes; see process.py."""

from __future__ import annotations

import pytest

from tests.crash import process
from tests.crash.process import at_once


@pytest.fixture(scope="session", autouse=True)
def _forks() -> None:
    at_once()


@pytest.fixture
def no_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests whose processes start one after another: they do not wait for a rival that starts together with them."""
    monkeypatch.setattr(process, "rivals", False)
