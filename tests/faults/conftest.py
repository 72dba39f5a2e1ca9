"""The lakes that the cells of the matrix begin with, made once for each dataset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.rig import Prepared, prepare
from tests.faults.subjects import SUBJECTS
from tests.network.conftest import certificates
from tests.servers import s3

__all__ = ["certificates", "prepared", "s3"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Awaitable[Prepared]]:
    made: dict[str, Prepared] = {}

    async def of(name: str) -> Prepared:
        if name not in made:
            folder: Path = tmp_path_factory.mktemp(f"prepared-{name}")
            made[name] = await prepare(SUBJECTS[name], folder)
        return made[name]

    return of
