"""The source changes while it is read, between pages: nothing that exists is marked as deleted, and the next run is exact.

Also where a database is renamed, and runs are killed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.datasets.asset_reader
from engine.simulator.replies import Reply
from tests.assets import truth
from tests.assets.site import Site, in_memory, served
from tests.assets.test_assets_change import Killed, apply, changes, killer
from tests.assets.test_odd_servers import Answer, as_before, changed_by
from tests.examples import examples
from tests.variants import first_of

_PAGE = 25


@contextlib.contextmanager
def changing(site: Site, edits: dict[int, Any]) -> Iterator[None]:
    """Make a change before the n-th page of elements or attributes is answered."""
    pages = iter(range(1_000))

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        if "/elements?" in target or "/elementattributes?" in target:
            edit = edits.get(next(pages))
            if edit is not None:
                edit()
        return as_before(real, target, more)

    with patch.object(engine.datasets.asset_reader, "PAGE_SIZE", _PAGE), changed_by(site, change):
        yield


def assert_nothing_wrongly_deleted(site: Site) -> None:
    there = {row["element_webid"] for row in truth.everything(site.simulator)["pi_asset_hierarchy"]}
    attributes = {row["attribute_webid"] for row in truth.everything(site.simulator)["pi_asset_attributes"]}
    for table, key, exist in (
        ("pi_asset_hierarchy", "element_webid", there),
        ("pi_asset_attributes", "attribute_webid", attributes),
    ):
        marked = {row[key] for row in site.stored(table) if row["deleted_at"] is not None}
        assert not marked & exist, table


@examples(20)
@given(st.dictionaries(st.integers(0, 12), st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=5))
async def test_what_changes_between_pages_deletes_nothing_that_exists(found: dict[int, list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with in_memory(Path(folder), elements=60) as site:
            assert (await site.run()).exit_code == 0

            def edits(page: int, some: list[Any]) -> Any:
                return lambda: [apply(site, one, 100 * page + n) for n, one in enumerate(some)]

            with changing(site, {page: edits(page, some) for page, some in found.items()}):
                await site.run()
            assert_nothing_wrongly_deleted(site)
            assert (await site.run()).exit_code == 0
            site.assert_exact()


@pytest.mark.parametrize(
    "edit",
    [
        {"action": "move_element", "element": r"Site 01\Unit 02", "to": r"Site 01\Unit 05"},
        {"action": "edit_element", "element": r"Site 01\Unit 02", "name": "Renamed"},
        {"action": "delete_element", "element": r"Site 01\Unit 02"},
    ],
    ids=lambda edit: str(edit["action"]),
)
@pytest.mark.parametrize("page", first_of([1, 0, 2, 4, 6]))
async def test_a_unit_that_changes_between_pages(tmp_path: Path, edit: dict[str, Any], page: int) -> None:
    async with in_memory(tmp_path, elements=80) as site:
        assert (await site.run()).exit_code == 0
        before = len(site.stored("pi_asset_hierarchy"))
        with changing(site, {page: lambda: site.change(**edit)}):
            await site.run()
        assert_nothing_wrongly_deleted(site)
        assert len(site.stored("pi_asset_hierarchy")) == before
        assert (await site.run()).exit_code == 0
        site.assert_exact()


async def test_a_database_is_renamed_there_and_back_while_runs_are_killed(tmp_path: Path) -> None:
    def renamed(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target.replace("Works", "Plant"), more)
        body = reply.body().replace(rb"\\SIMAF\\Plant", rb"\\SIMAF\\Works")
        return Reply(reply.status, [body.replace(b'"Name":"Plant"', b'"Name":"Works"')])

    async with served(tmp_path, elements=60) as site:
        assert (await site.run()).exit_code == 0
        keys = {row["element_webid"] for row in site.stored("pi_asset_hierarchy")}
        for dies_after in (0, 3, 7):
            site.change("edit_element", element=r"Site 01\Unit 03", description=f"no. {dies_after}")
            with changed_by(site, renamed):
                with contextlib.suppress(Killed):
                    await site.run(on_step=killer(dies_after))
                assert (await site.run()).exit_code == 0
                assert {row["database"] for row in site.living("pi_asset_hierarchy")} == {"Works"}
                assert {row["element_webid"] for row in site.living("pi_asset_hierarchy")} == keys
            with contextlib.suppress(Killed):
                await site.run(on_step=killer(dies_after))
            assert (await site.run()).exit_code == 0
            site.assert_exact()
