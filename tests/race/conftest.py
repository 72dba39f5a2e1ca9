"""Runs of this folder are processes; see process.py."""

from __future__ import annotations

import pytest

from tests.crash.process import at_once


@pytest.fixture(scope="session", autouse=True)
def _forks() -> None:
    at_once()


@pytest.fixture(autouse=True)
def no_wait_for_rival_starters() -> None:
    """Here they are rivals: everyone waits as it does in life."""
