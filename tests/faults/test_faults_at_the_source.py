"""Every fault at the source, or on the way to it, with every dataset: tables, exit code and message are as the matrix says.

By default each fault passes by once, on the dataset that is read fastest, and each dataset meets one that stays. All cells:
`make test-faults`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.datasets.registry import DATASETS as REGISTRY
from tests.faults.matrix import ALL_WELL, DATASETS, FAULTS, Fault
from tests.faults.rig import Prepared, assert_as_said, assert_healed, met
from tests.faults.rounds import cells_of
from tests.faults.subjects import SUBJECTS

FASTEST = "data_servers"
ALL = [fault for group in FAULTS.values() for fault in group]
# By default each family of refusals has one turn.
SAMPLES = {fault.name for fault in ALL if not fault.name.startswith(("status", "page"))} | {
    "status 503",
    "page with 502",
}


def test_the_matrix_has_every_dataset() -> None:
    assert set(DATASETS) == set(SUBJECTS) == set(REGISTRY.names)


def _passing() -> Iterator[tuple[bool, tuple[Any, ...], str]]:
    for fault in ALL:
        for name in DATASETS:
            yield (
                name == FASTEST and fault.name in SAMPLES and fault.passes is ALL_WELL,
                (fault, name),
                f"{name}-{fault.name}",
            )


def _staying() -> Iterator[tuple[bool, tuple[Any, ...], str]]:
    for fault in ALL:
        for name in DATASETS:
            yield fault.name == "reset in the body", (fault, name), f"{name}-{fault.name}"


@pytest.mark.parametrize(("fault", "name"), cells_of(_passing()))
async def test_a_fault_that_passes(
    tmp_path: Path, prepared: Callable[[str], Awaitable[Prepared]], fault: Fault, name: str
) -> None:
    lake = await prepared(name)
    async with met(name, fault, lake, tmp_path, stays=False) as (cell, ended):
        assert_as_said(cell, lake, ended, fault.passes[name], fault.says)
        await assert_healed(cell, lake)


@pytest.mark.parametrize(("fault", "name"), cells_of(_staying()))
async def test_a_fault_that_stays(
    tmp_path: Path, prepared: Callable[[str], Awaitable[Prepared]], fault: Fault, name: str
) -> None:
    lake = await prepared(name)
    async with met(name, fault, lake, tmp_path, stays=True) as (cell, ended):
        assert_as_said(cell, lake, ended, fault.stays[name], fault.says)
        await assert_healed(cell, lake)
