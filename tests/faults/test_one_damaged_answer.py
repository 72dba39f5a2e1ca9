"""One damaged answer, to any request of a run, is asked for again: nothing is to be seen of it.

For every kind of request (a list, an object, a batch, values) the run ends with 0, says nothing, and has all rows.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.faults import acts
from tests.faults.acts import LOGIN_PAGE, Act
from tests.faults.chaos import ChaosProxy, Request
from tests.faults.matrix import DATASETS
from tests.faults.rig import Ended, Prepared, in_cell, prepare
from tests.faults.subjects import SUBJECTS

DAMAGES: Mapping[str, Act] = {
    "cut short": acts.cut_short,
    "a web page": acts.answered(LOGIN_PAGE, "text/html"),
    "gzip garbage": acts.encoded(lambda _: b"\x1f\x8b" + b"\x99" * 200),
    "no bytes": acts.answered(b""),
    "no JSON": acts.answered(b"\x00\xff\x00", "application/octet-stream"),
    "null": acts.answered(b"null"),
    "a list": acts.answered(b"[]"),
}
PLACES = st.floats(0, 1, exclude_max=True)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Prepared, int]]:
    """By dataset the lake that a run begins with, and how many requests it sends where all goes well."""

    @cache
    def of(name: str) -> tuple[Prepared, int]:
        async def made() -> tuple[Prepared, int]:
            lake = await prepare(SUBJECTS[name], tmp_path_factory.mktemp(f"one-{name}"))
            return lake, (await _run(name, lake, None, 0))[1]

        return asyncio.run(made())

    return of


@pytest.mark.slow
@settings(examples(400), print_blob=True)
@given(name=st.sampled_from(DATASETS), damage=st.sampled_from(sorted(DAMAGES)), place=PLACES)
def test_nothing_is_to_be_seen_of_one_damaged_answer(
    lakes: Callable[[str], tuple[Prepared, int]], name: str, damage: str, place: float
) -> None:
    _assert_unseen(*lakes(name), name, damage, place)


@settings(examples(40))
@given(damage=st.sampled_from(sorted(DAMAGES)), place=PLACES)
def test_nothing_is_to_be_seen_of_one_damaged_answer_about_data_servers(
    lakes: Callable[[str], tuple[Prepared, int]], damage: str, place: float
) -> None:
    _assert_unseen(*lakes("data_servers"), "data_servers", damage, place)


def _assert_unseen(lake: Prepared, requests: int, name: str, damage: str, place: float) -> None:
    """`place`: which request meets it, as a share of all."""
    ended, asked = asyncio.run(_run(name, lake, DAMAGES[damage], 1 + int(place * requests)))
    assert ended == Ended(0, "")
    assert asked > requests, "nothing was asked again"


async def _run(name: str, lake: Prepared, damage: Act | None, number: int) -> tuple[Ended, int]:
    """How a run ends whose request of this number meets the damage, and how many it has sent."""
    subject = SUBJECTS[name]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "lake")
        shutil.copytree(lake.lake, root)
        async with in_cell(subject, root) as cell:
            subject.change(cell.server)
            cell.proxy.trouble(damage, _the(number, cell.proxy), None)
            ended = await cell.run()
            assert cell.content() == lake.after
            return ended, cell.proxy.seen


def _the(number: int, proxy: ChaosProxy) -> Callable[[Request], bool]:
    def hits(_request: Request) -> bool:
        return proxy.seen == number

    return hits
