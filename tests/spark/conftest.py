from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.spark.session import Spark, started
from writers import lease


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    with started(tmp_path_factory.mktemp("spark")) as session:
        session.sql("SELECT 1")
        yield session


@pytest.fixture(autouse=True)
def no_wait_for_rival_starters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this folder start one after another in one process."""
    monkeypatch.setattr(lease, "_SETTLE_SECS", 0.0)
