from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.spark.session import Spark, started


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    with started(tmp_path_factory.mktemp("spark")) as session:
        session.sql("SELECT 1")
        yield session
