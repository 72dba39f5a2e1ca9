"""Where `make unity-jars` and `make spark` put what runs on a Java machine, and what a test does where it is not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["cached", "jars"]


def jars(name: str, target: str = "unity-jars") -> Path:
    """Find a folder that a target of the Makefile fills, or end the test with the reason why there is none.

    With CI=true that is a failure, but for what nobody can have.
    """
    found = cached(name)
    if shutil.which("java") is None:
        _missing("java is not installed")
    if (found / "unpublished").exists():
        pytest.skip(f"{name} is not published where `make {target}` fetches it from")
    if not (found / "complete").exists():
        _missing(f"{name} could not be fetched (make {target} says why)")
    return found


def cached(name: str) -> Path:
    """Where such a folder is, if it is there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "osipi" / name


def _missing(reason: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
