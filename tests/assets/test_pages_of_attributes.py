"""Attributes that come in pages, in any order and some of them twice, make the same rows as all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.asset_attributes import AttributeRows
from engine.datasets.asset_framework import _ATTRIBUTES
from engine.datasets.asset_reader import Beside, Turn
from engine.piweb.assets import (
    Named,
    attribute_rows,
    compact_element,
    element_rows,
    path_above,
    reference_rows,
)
from tests.assets.site import in_memory, served
from tests.assets.test_assets_trouble import changed, rule, unread
from tests.examples import examples

PLANT = Named("I1RD" + "x" * 44, "Plant", r"\\AF\Plant")
ELEMENTS = {rf"\\AF\Plant\E{n}".casefold(): f"I1Em{n}" for n in range(3)}
# Where attributes lie: element, name, name of one below it, and so on; also in another case than the one above writes it.
places = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.sampled_from(["A", "B", "a", "b"]), min_size=1, max_size=3)),
    min_size=1,
    max_size=20,
    unique_by=lambda place: (place[0], "|".join(place[1]).casefold()),
)


def item(number: int, place: tuple[int, list[str]], *, linked: bool) -> dict[str, Any]:
    element, names = place
    return {
        "WebId": f"I1AbE{number}",
        "Name": names[-1],
        "Path": "|".join([rf"\\AF\Plant\E{element}", *names]),
        "Type": "Double",
        "DataReferencePlugIn": "PI Point" if number % 3 == 0 else "",
        "HasChildren": number % 2 == 0,
        "CategoryNames": ["c"] * (number % 3),
        **({"Links": {"Element": f"https://h/elements/I1Em{element}"}} if linked else {}),
    }


@examples(60)
@given(places, st.randoms(use_true_random=False), st.integers(1, 6), st.booleans())
def test_pages_make_the_rows_of_the_whole_list(
    found: list[tuple[int, list[str]]], dice: Any, size: int, linked: bool
) -> None:
    """Pages that shift under our feet show things twice: as they were, and as they are."""
    items = [item(number, place, linked=linked) for number, place in enumerate(found)]
    values = {one["WebId"]: {"Value": n / 2, "Good": True} for n, one in enumerate(items)}
    shown = [{**one, "Description": "as it was"} for one in items if dice.random() < 0.3] + dice.sample(
        items, len(items)
    )
    rows = AttributeRows(_ATTRIBUTES.collect(), ELEMENTS, PLANT)
    for first in range(0, len(shown), size):
        page = shown[first : first + size]
        rows.note(page)
        rows.take(page, values)
    unshown, again = rows.unshown(), rows.unshown()
    rows.close()
    wanted = sorted(attribute_rows(items, values, ELEMENTS, PLANT).to_pylist(), key=lambda row: row["attribute_webid"])
    seen = rows.seen.take(np.arange(rows.seen.rows.num_rows)).to_pylist()
    assert sorted(seen, key=lambda row: row["attribute_webid"]) == wanted
    with_some = {path_above(one) for one in items}
    assert sorted(unshown) == sorted(o["WebId"] for o in items if o["HasChildren"] and o["Path"] not in with_some)
    assert again == [], "what has none below it although it says so is asked for once"


odd = st.none() | st.booleans() | st.text(max_size=3) | st.lists(st.text(max_size=3) | st.none(), max_size=3)
paths = st.sampled_from([r"\\AF\Plant\E1", r"\\AF\Plant\e1", r"\\AF\Plant\E1\E2", r"\\AF\Plant\E2"])
shown_elements = st.lists(
    st.fixed_dictionaries(
        {"WebId": st.sampled_from(["I1Em1", "I1Em2", "I1Em3"]), "Path": paths},
        optional={
            "Name": odd,
            "Description": odd,
            "TemplateName": odd,
            "HasChildren": odd,
            "CategoryNames": odd,
            "Paths": odd | st.lists(paths, max_size=3),
            "Links": st.none() | st.dictionaries(st.just("Parent"), odd | st.just("https://h/elements/I1Em2/")),
        },
    ),
    max_size=5,
    unique_by=lambda one: one["WebId"],
)


@examples(100)
@given(shown_elements)
def test_compact_elements_make_the_same_rows(items: list[dict[str, Any]]) -> None:
    shared: dict[Any, Any] = {}
    compact = [compact_element(one, shared) for one in items]
    rows = element_rows(items, PLANT)
    assert element_rows(compact, PLANT).to_pylist() == rows.to_pylist()
    found, wanted = (reference_rows(some, rows, PLANT) for some in (compact, items))
    assert (found and found.to_pylist()) == (wanted and wanted.to_pylist())


async def test_a_tree_of_many_pages_is_the_tree(tmp_path: Path) -> None:
    async with in_memory(tmp_path, elements=200, switches={"page_cap": 60}) as site:
        assert (await site.run()).exit_code == 0
        site.assert_exact()
        before = site.versions()
        assert (await site.run()).exit_code == 0
        assert site.versions() == before


async def test_a_crawl_that_fails_midway_leaves_the_table_and_no_file(tmp_path: Path) -> None:
    async with served(tmp_path, elements=200, switches={"page_cap": 60}) as site:
        assert (await site.run()).exit_code == 0
        held = site.stored("pi_asset_attributes")
    files = on_disk(tmp_path)
    rules = [rule("assetdatabases/*/elementattributes", after=4)]
    async with served(tmp_path, elements=200, switches={"page_cap": 60}, rules=rules) as site:
        changed(site)
        report = await site.run()
        assert (report.exit_code, unread(report)) == (1, ["attributes of Plant"])
        assert site.last["assetdatabases/*/elementattributes"] > 4
        assert site.stored("pi_asset_attributes") == held
        assert on_disk(tmp_path) == files, "nothing was staged for what was not seen whole"


def on_disk(root: Path) -> set[str]:
    return {path.name for path in (root / "main/bronze/pi_asset_attributes").rglob("*.parquet")}


# --- work beside the reading ----------------------------------------------------------------


def piece(log: list[str], name: str, *, until: asyncio.Event | None = None) -> Callable[[Turn], Awaitable[None]]:
    async def work(turn: Turn) -> None:
        log.append(f"{name} begins")
        if until is not None:
            await until.wait()
        await turn()
        log.append(f"{name} ends")

    return work


async def test_work_beside_ends_in_its_order_and_so_many_at_a_time() -> None:
    log: list[str] = []
    go = asyncio.Event()
    asyncio.get_running_loop().call_later(0, go.set)
    async with Beside(2) as beside:
        await beside.start(piece(log, "first", until=go))
        await beside.start(piece(log, "second"))
        await beside.start(piece(log, "third"))
    assert [line for line in log if line.endswith("ends")] == ["first ends", "second ends", "third ends"]
    assert log.index("third begins") > log.index("first ends")


@pytest.mark.parametrize("most", [1, 3])
async def test_an_error_of_work_beside_ends_it_all(most: int) -> None:
    log: list[str] = []

    async def fails(_turn: Turn) -> None:
        raise ValueError("no")

    async def feed(calls: Sequence[Callable[[Turn], Awaitable[None]]]) -> None:
        async with Beside(most) as beside:
            for call in calls:
                await beside.start(call)

    with pytest.raises(ValueError, match="no"):
        await feed([fails, piece(log, "waiting", until=asyncio.Event())])
    assert "waiting ends" not in log
