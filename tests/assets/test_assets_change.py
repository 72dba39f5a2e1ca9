"""What becomes of the tree between runs becomes of the tables: things keep their one row, whatever happens to them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.assets import truth
from tests.assets.site import NAMES, Site, served
from tests.examples import examples


async def test_moved_and_renamed_elements_keep_their_rows_and_deleted_ones_are_marked(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        first = {row["element_webid"]: row["first_seen"] for row in site.stored("pi_asset_hierarchy")}
        site.simulator.set_clock(site.simulator.now() + 10_000_000)
        moved = site.change("move_element", element=r"Site 01\Unit 03\Pump 00031", to=r"Site 01\Unit 05")
        site.change("edit_element", element=r"Site 01\Unit 05", name="Unit 5 (renamed)", description="new")
        site.change("delete_element", element=r"Site 01\Unit 02")
        report = await site.run()
        assert report.exit_code == 0
        site.assert_exact()
        rows = {row["element_webid"]: row for row in site.stored("pi_asset_hierarchy")}
        assert rows.keys() == first.keys(), "nobody has a second row"
        now = site.simulator.now() // 10
        gone = [row for row in rows.values() if row["deleted_at"] is not None]
        assert len(gone) == 11
        assert all(r"\Unit 02" in row["element_path"] for row in gone)
        assert {round(row["deleted_at"].timestamp() * 1e6) for row in gone} == {now}
        mine = rows[truth.element_web_id(moved)]
        assert mine["element_path"] == r"\\SIMAF\Plant\Site 01\Unit 5 (renamed)\Pump 00031"
        assert mine["first_seen"] == first[mine["element_webid"]] < mine["last_updated"]
        untouched = [row for row in rows.values() if r"\Unit 07" in row["element_path"]]
        assert all(row["last_updated"] == row["first_seen"] for row in untouched)
        below = [row for row in site.stored("pi_asset_attributes") if "\\Unit 02\\" in row["attribute_path"]]
        assert below
        assert all(row["deleted_at"] for row in below)
        assert report.as_dict()["datasets"]["assets"]["missing"] >= 11


async def test_a_list_that_leaves_out_what_exists_deletes_nothing(tmp_path: Path) -> None:
    """Hidden since: the list of all attributes does not show it any more."""
    async with served(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        plant = truth.plant_of(site.simulator)
        one = next(one for one in plant.attributes(0) if one.name == "Region")
        plant._attributes[0, one.place] = replace(one, hidden=True)
        plant.changed()
        assert (await site.run()).exit_code == 0
        [row] = [r for r in site.living("pi_asset_attributes") if r["attribute_webid"] == truth.attribute_web_id(one)]
        assert row["is_hidden"] is True
        before = site.versions()
        assert (await site.run()).exit_code == 0
        assert site.versions() == before


# --- random histories -----------------------------------------------------------------

Change = tuple[str, int, int]
_KINDS = (
    "create_element", "rename", "describe", "move_element", "delete_element", "refer_element", "release_element",
    "create_attribute", "edit_attribute", "rename_attribute", "delete_attribute", "put_template",
)  # fmt: skip
changes = st.tuples(st.sampled_from(_KINDS), st.integers(0, 10_000), st.integers(0, 10_000))


def apply(site: Site, change: Change, number: int) -> None:
    """Make a change of the things there are; one that makes no sense as things stand is left out."""
    kind, first, second = change
    plant = truth.plant_of(site.simulator)
    numbers = list(plant.numbers())
    one, other = numbers[first % len(numbers)], numbers[second % len(numbers)]
    element = plant.element(one)
    attributes = plant.attributes(one)
    attribute = plant.names_of(attributes[second % len(attributes)]) if attributes else None
    edits: dict[str, dict[str, Any] | None] = {
        "create_element": {"name": f"New {number}", "to": other, "template": "Pump"},
        "rename": {"element": one, "name": f"Renamed {number}"},
        "describe": {"element": one, "description": f"described {number}", "categories": ["Process", "Geography"]},
        "move_element": {"element": one, "to": other},
        "delete_element": {"element": one} if len(numbers) - len(plant.below(one)) > 40 else None,
        "refer_element": {"element": one, "to": other},
        "release_element": {"element": one, "to": element.also[0]} if element.also else None,
        "create_attribute": {"element": one, "attribute": f"Added {number}", "type": "Int32", "value": number},
        "edit_attribute": {"element": one, "attribute": attribute, "tag": second % 20} if attribute else None,
        "rename_attribute": {"element": one, "attribute": attribute, "name": f"Other {number}"} if attribute else None,
        "delete_attribute": {"element": one, "attribute": attribute} if attribute else None,
        "put_template": {"template": f"Template {first % 3}", "to": "Equipment", "description": f"no. {number}"},
    }
    edit = edits[kind]
    if edit is None or (kind in {"move_element", "refer_element"} and not makes_sense(site, kind, one, other)):
        return
    if kind == "move_element":  # a name occurs once below one parent
        site.change("edit_element", element=one, name=f"Moved {number}")
    site.change(
        "edit_element" if kind in {"rename", "describe"} else "edit_attribute" if kind == "rename_attribute" else kind,
        **edit,
    )


def makes_sense(site: Site, kind: str, one: int, other: int) -> bool:
    plant = truth.plant_of(site.simulator)
    if one == other or other in plant.below(one) or (one in plant.below(other) and kind == "refer_element"):
        return False
    element = plant.element(one)
    siblings = {plant.element(child).name for child in plant.children(other) + plant.referred(other) if child != one}
    return other not in element.also and element.parent != other and element.name not in siblings


class Killed(BaseException):
    """The process is gone."""


def killer(after: int) -> Callable[[str], None]:
    """Dies at the n-th step of writing."""
    steps = iter(range(after))

    def on_step(step: str) -> None:
        if next(steps, None) is None:
            raise Killed(step)

    return on_step


@examples(20)
@given(
    st.lists(st.tuples(st.lists(changes, max_size=6), st.none() | st.integers(0, 12)), min_size=1, max_size=4),
    st.booleans(),
)
async def test_after_each_run_the_tables_equal_the_source(
    rounds: list[tuple[list[Change], int | None]], nested: bool
) -> None:
    """Also after runs that were killed at any step."""
    with tempfile.TemporaryDirectory() as folder:
        async with served(Path(folder), elements=60, switches={"bulk_nested_attributes": nested}) as site:
            number = 0
            for some, dies_after in [([], None), *rounds, ([], None)]:
                for change in some:
                    number += 1
                    apply(site, change, number)
                if dies_after is not None:
                    with contextlib.suppress(Killed):
                        await site.run(on_step=killer(dies_after))
                report = await site.run()
                assert (report.exit_code, report.as_dict()["datasets"]["assets"]["unread"]) == (0, [])
                site.assert_exact()
            before = site.versions()
            assert (await site.run()).exit_code == 0
            assert site.versions() == before, NAMES
