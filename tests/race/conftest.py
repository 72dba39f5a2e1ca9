"""Runs of this folder are processes; see process.py."""

from __future__ import annotations

import pytest

from tests.crash.process import at_once


@pytest.fixture(scope="session", autouse=True)
def _forks() -> None:
    at_once()
