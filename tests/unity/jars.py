"""Where `make unity-jars` puts what runs on a Java machine, and what a test does where it is not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["jars"]


def jars(name: str) -> Path:
    """Find a folder of jars, or end the test with the reason why there is none.

    With CI=true that is a failure, but for jars that nobody can have.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "osipi" / name
    if shutil.which("java") is None:
        _missing("java is not installed")
    if (found / "unpublished").exists():
        pytest.skip(f"{name} is not published where jars are fetched from")
    if not (found / "complete").exists():
        _missing(f"the jars of {name} could not be fetched (make unity-jars says why)")
    return found


def _missing(reason: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
