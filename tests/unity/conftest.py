"""A catalog of its own for each test, on the stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import s3
from tests.unity.server import server
from tests.unity.stand_in import TOKEN, StandIn
from writers import Lakehouse
from writers.unity import open_unity

__all__ = ["catalog", "opened", "s3", "server"]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(f"file://{tmp_path}") as stand_in:
        yield stand_in


@pytest.fixture
def opened(catalog: StandIn, tmp_path: Path) -> Callable[..., Lakehouse]:
    """Open the catalog as a new run would."""

    def make(kind: str = "managed", **options) -> Lakehouse:
        options = {"token": TOKEN, "location": f"file://{tmp_path}/external", **options}
        return open_unity(host=catalog.host, table_type=kind, **options)

    return make
