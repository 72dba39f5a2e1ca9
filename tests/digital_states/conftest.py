"""Runs of this folder start one after another in one process: nobody else can be at the lease."""

from __future__ import annotations

import pytest

from writers import lease


@pytest.fixture(autouse=True)
def no_wait_for_rival_starters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_SETTLE_SECS", 0.0)
