"""What all tests share: how many examples a property test tries, and what nobody needs to wait for.

By default a quarter of what it deserves; `make test-slow` and CI try them all once more, with the profile
`thorough`. A test that asks for another number than the usual hundred says so with `tests.examples.examples`.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from writers import lease

# How long an example takes is the affair of the machine, which may be busy with other things.
settings.register_profile("thorough", settings(deadline=None, max_examples=100))
settings.register_profile("default", settings(deadline=None, max_examples=25))
settings.load_profile("default")

# Compiling our modules again is half of what the start of a process takes; hundreds are started.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def no_wait_for_rival_starters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a test start one after another in its process. Those in processes of their own do wait."""
    monkeypatch.setattr(lease, "_SETTLE_SECS", 0.0)
