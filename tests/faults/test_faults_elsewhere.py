"""Faults of places where tables lie, and signals, with every dataset. By default each has a turn on one dataset where it takes
no process; all cells: `make test-faults`.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.crash.process import at_once
from tests.faults import acts
from tests.faults.destinations import (
    STORE_500,
    STORE_503,
    Place,
    Turn,
    in_bucket,
    in_catalog,
    in_crowd,
    in_turns,
    on_full_disk,
    on_read_only_disk,
)
from tests.faults.matrix import DATASETS, ELSEWHERE
from tests.faults.rig import Ended, Prepared, assert_nothing_wrong, assert_points_right
from tests.faults.rounds import cells_of
from tests.faults.subjects import SUBJECTS

Prepare = Callable[[str], Awaitable[Prepared]]
# Where a signal comes, as shares of all turns of the event loop.
SHARES = (0.15, 0.35, 0.5, 0.65, 0.8, 0.95)


def _cells(faults: tuple[str, ...], *, by_default: bool = False) -> Iterator[tuple[bool, tuple[Any, ...], str]]:
    for fault in faults:
        for name in DATASETS:
            yield by_default and name == "data_servers", (fault, name), f"{name}-{fault}"


FOLDERS = {"read-only folder": on_read_only_disk, "full disk": on_full_disk, "other writers": in_crowd}


@pytest.mark.parametrize(("fault", "name"), cells_of(_cells(tuple(FOLDERS), by_default=True)))
async def test_a_fault_of_a_folder(tmp_path: Path, prepared: Prepare, fault: str, name: str) -> None:
    at_once()
    lake = await prepared(name)
    await _tried(FOLDERS[fault](SUBJECTS[name], lake, tmp_path), fault, lake)


STORES: dict[str, dict[str, Any]] = {
    "object store 500, passing": {"act": STORE_500, "hits": "^PUT", "left": 2},
    "object store 500": {"act": STORE_500, "hits": "^PUT", "left": None},
    "object store 503, passing": {"act": STORE_503, "hits": ".", "left": 2},
    "object store 503": {"act": STORE_503, "hits": "^GET", "left": None},
    "object store slow": {"act": acts.slow, "hits": "^PUT", "left": None},
}


@pytest.mark.parametrize(("fault", "name"), cells_of(_cells(tuple(STORES))))
async def test_a_fault_of_an_object_store(
    tmp_path: Path, prepared: Prepare, s3: dict[str, str], fault: str, name: str
) -> None:
    at_once()
    given = STORES[fault]
    place = in_bucket(SUBJECTS[name], tmp_path, s3, given["act"], hits=given["hits"], left=given["left"])
    await _tried(place, fault, _from_nothing(await prepared(name)))


@pytest.mark.parametrize(("fault", "name"), cells_of(_cells(("catalog away, passing", "catalog away"))))
async def test_a_catalog_that_goes_away(tmp_path: Path, prepared: Prepare, fault: str, name: str) -> None:
    at_once()
    place = in_catalog(SUBJECTS[name], tmp_path, stays=fault == "catalog away")
    await _tried(place, fault, _from_nothing(await prepared(name)))


def _turns() -> Iterator[tuple[bool, tuple[Any, ...], str]]:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for share in SHARES:
            for name in DATASETS:
                yield False, (Turn(share, number), name), f"{name}-{number.name}-{share}"


@pytest.mark.parametrize(("turn", "name"), cells_of(_turns()))
async def test_a_signal_at_a_turn_of_the_event_loop(tmp_path: Path, prepared: Prepare, turn: Turn, name: str) -> None:
    at_once()
    lake = await prepared(name)
    await _tried(in_turns(SUBJECTS[name], lake, tmp_path, turn), turn.number.name, lake, has_words=False)


def _from_nothing(lake: Prepared) -> Prepared:
    """A place that no run has written to."""
    return Prepared(lake.lake, {table: type(rows)() for table, rows in lake.before.items()}, lake.after)


async def _tried(
    place: AbstractAsyncContextManager[Place], fault: str, lake: Prepared, *, has_words: bool = True
) -> None:
    wanted = ELSEWHERE[fault]
    async with place as at:
        ended: Ended = await at.faulty()
        assert ended.code in wanted.codes, ended
        if ended.code != 0 and has_words:
            assert re.search(wanted.says, ended.said), ended.said
        content = at.content()
        if ended.code == -signal.SIGTERM:
            assert content == lake.after, "the signal came when all was done"
        # The tags land before their attributes.
        right = assert_points_right if "pi_tags" in content else assert_nothing_wrong
        right(content, lake, Ended(ended.code, "told" if ended.code else ""))
        healed: Ended = await at.healed()
        assert healed.code == 0, healed
        assert at.content() == lake.after
