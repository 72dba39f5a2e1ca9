"""`verify` says of assets what the next run would write, and writes nothing itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from engine.commands.verify.assets import AssetsCheck, assets_as_dict, assets_failure
from tests.assets.site import NAMES, Site, files_below, served
from tests.assets.test_assets_change import Change, apply, changes
from tests.examples import examples

TREE = "pi_asset_hierarchy"


def other(site: Site, table: str = TREE) -> DeltaTable:
    """The table in the hands of someone else."""
    return DeltaTable(str(site.root / "main/bronze" / table))


def found_of(check: AssetsCheck, table: str = TREE) -> dict[str, list[str]]:
    """The names of what differs, without kinds of which there is nothing."""
    [one] = [one for one in check.tables if one.table == table]
    assert all(len(found.names) == found.count for found in one.kinds.values())
    return {kind: found.names for kind, found in one.kinds.items() if found.count}


def named(row: dict[str, Any]) -> str:
    return f"{row['element_path']} ({row['element_webid']})"


def row_of(site: Site, path: str) -> dict[str, Any]:
    [row] = [row for row in site.stored(TREE) if row["element_path"] == rf"\\SIMAF\Plant\{path}"]
    return row


async def test_before_a_run_all_is_missing_and_after_it_all_agrees(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        check = await site.verify()
        assert not files_below(tmp_path), "no table is created"
        assert (check.agrees, len(check.tables)) == (False, len(NAMES))
        assert all(one.missing.count == one.source > one.held == 0 for one in check.tables if one.source)
        assert (await site.run()).exit_code == 0
        check = await site.verify()
        assert check.agrees
        assert assets_failure(check) is None
        rows = {one.table: (one.source, one.held) for one in check.tables}
        assert rows == {name: (len(site.living(name)), len(site.living(name))) for name in NAMES}
        assert rows[TREE] == (130, 130)


async def test_what_someone_else_did_to_a_table_is_found_and_named_until_a_run_puts_it_right(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        changed = row_of(site, r"Site 01\Unit 02")
        marked = row_of(site, r"Site 01\Unit 05")
        removed = row_of(site, r"Site 01\Unit 03")
        table = other(site)
        table.update(predicate=f"element_webid = '{changed['element_webid']}'", updates={"description": "'by hand'"})
        table.update(predicate=f"element_webid = '{marked['element_webid']}'", updates={"deleted_at": "first_seen"})
        table.delete(f"element_webid = '{removed['element_webid']}'")
        check = await site.verify()
        assert found_of(check) == {
            "missing": [named(removed)],
            "different": sorted((named(changed), named(marked)), key=found_of(check)["different"].index),
        }
        [tree] = [one for one in check.tables if one.table == TREE]
        assert (tree.source, tree.held) == (130, 128)
        assert assets_failure(check) == "verify: pi_asset_hierarchy differ from PI"
        assert (await site.run()).exit_code == 0
        site.assert_exact()
        assert (await site.verify()).agrees


async def test_a_row_that_the_source_does_not_have_is_found(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        site.change("delete_element", element=r"Site 01\Unit 02")
        check = await site.verify()
        gone = found_of(check)["extra"]
        assert len(gone) == 11
        assert all(r"\\SIMAF\Plant\Site 01\Unit 02" in name for name in gone)
        assert all(r"\Unit 02" in name for name in found_of(check, "pi_asset_attributes")["extra"])
        assert (await site.run()).exit_code == 0
        assert (await site.verify()).agrees, "they are marked now"


async def test_a_row_that_the_source_neither_shows_nor_denies_is_no_pass(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        row = row_of(site, r"Site 01\Unit 02")
        invented = {**row, "element_webid": row["element_webid"] + "!", "element_path": r"\\SIMAF\Plant\Invented"}
        write_deltalake(other(site), pa.Table.from_pylist([invented], _schema(site)), mode="append")
        check = await site.verify()
        assert found_of(check) == {"undecided": [named(invented)]}
        assert assets_failure(check) == "verify: pi_asset_hierarchy differ from PI"


async def test_a_row_that_is_there_twice_is_found(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        row = row_of(site, r"Site 01\Unit 02")
        write_deltalake(other(site), pa.Table.from_pylist([row], _schema(site)), mode="append")
        assert found_of(await site.verify()) == {"doubled": [named(row)]}


async def test_a_value_of_an_enumeration_that_is_left_harms_no_other_value_of_its_set(tmp_path: Path) -> None:
    """The key has two columns, and only one value of the set is not there."""
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        row = {**site.stored("pi_enumeration_values")[0], "value_code": 4711, "value_name": "Invented"}
        table = other(site, "pi_enumeration_values")
        write_deltalake(table, pa.Table.from_pylist([row], _schema(site, "pi_enumeration_values")), mode="append")
        name = f"{row['set_name']}, Invented ({row['set_webid']}, 4711)"
        assert found_of(await site.verify(), "pi_enumeration_values") == {"extra": [name]}
        assert (await site.run()).exit_code == 0
        assert (await site.verify()).agrees


@pytest.mark.parametrize(
    ("route", "what", "left"),
    [
        ("assetdatabases/*/elements", "elements of Plant", {TREE, "pi_asset_attributes", "pi_asset_references"}),
        ("assetdatabases/*/elementcategories", "categories of Plant", {"pi_asset_categories"}),
    ],
)
async def test_what_could_not_be_read_is_named_and_is_no_pass(
    tmp_path: Path, route: str, what: str, left: set[str]
) -> None:
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
    rules = [{"match": {"route": one}, "do": {"status": 500}} for one in (route, "elements/*/elements")]
    async with served(tmp_path, rules=rules) as site:
        check = await site.verify()
        assert [one for one, _ in check.unread] == [what]
        assert not check.agrees
        assert {one.table for one in check.tables} == set(NAMES) - left
        assert all(one.agrees for one in check.tables)
        assert assets_failure(check) == f"verify: {what} could not be compared"
        assert assets_as_dict(check)["unread"][0]["what"] == what


@examples(20)
@given(st.lists(st.lists(changes, max_size=6), min_size=1, max_size=3))
async def test_it_says_what_the_next_run_writes(rounds: list[list[Change]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with served(Path(folder), elements=60) as site:
            number = 0
            for some in [[], *rounds]:
                for change in some:
                    number += 1
                    apply(site, change, number)
                check = await site.verify()
                report = (await site.run()).as_dict()["datasets"]["assets"]
                said = {
                    kind: sum(one.kinds[kind].count for one in check.tables)
                    for kind in ("missing", "different", "extra")
                }
                assert said == {
                    "missing": report["rows_written"],
                    "different": report["changed"],
                    "extra": report["missing"],
                }
                assert (await site.verify()).agrees


def _schema(site: Site, table: str = TREE) -> pa.Schema:
    return pa.schema(other(site, table).schema().to_arrow())
