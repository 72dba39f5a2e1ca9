"""Servers that give less than the reference says, and several that hold databases of one name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

import pytest

from config.errors import ConfigurationError
from engine.simulator import SimulatorOptions
from engine.simulator.assets.ids import ASSET_SERVER, encode
from engine.simulator.dispatch import Dispatch
from engine.simulator.replies import Reply, json_reply
from engine.simulator.site import Site as Plant
from tests.assets import truth
from tests.assets.site import NOW, Site, in_memory
from tests.variants import first_of

Answer = Callable[..., Reply]


def changed_by(site: Site, change: Callable[[Answer, str, tuple[Any, ...]], Reply]) -> Any:
    """Put `change` between the server and its answers: it gets the real answer, the target, and the other arguments."""
    dispatch = site.simulator._dispatch
    real = dispatch.answer
    return patch.object(dispatch, "answer", lambda method, target, *more: change(real, target, (method, *more)))


def as_before(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
    method, *others = more
    return real(method, target, *others)


def refused() -> Reply:
    return json_reply({"Errors": ["Parameter (searchFullHierarchy) is not supported."]}, 400)


@pytest.mark.parametrize("batch", first_of([True, False]))
@pytest.mark.parametrize(
    "assets", [{}, {"root": r"Site 01\Unit 02"}, {"templates": "Equipment", "categories": "Rotating equipment"}]
)
async def test_a_server_that_refuses_the_whole_hierarchy_is_walked_level_by_level(
    tmp_path: Path, assets: dict[str, str], batch: bool
) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        return (
            refused()
            if "searchFullHierarchy" in target and "/attributes" not in target
            else as_before(real, target, more)
        )

    async with in_memory(tmp_path / "walked", switches={"batch": batch}) as site:
        with changed_by(site, change):
            assert (await site.run(assets=assets)).exit_code == 0
        asked = site.last["elements/*/elements"] + site.last["sub elements/*/elements"]
        assert 0 < asked <= 40, "only those that have children are asked for them"
        if batch:
            assert site.last["batch"] <= 12
        if not assets:
            site.assert_exact()
        walked = site.tables()
    async with in_memory(tmp_path / "bulk") as site:
        assert (await site.run(assets=assets)).exit_code == 0
        assert site.tables() == walked


async def test_levels_that_break_off_leave_the_tree_as_it_was(tmp_path: Path) -> None:
    async with in_memory(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        before = site.versions()
        site.change("delete_element", element=r"Site 01\Unit 02")
        wanted = truth.element_web_id(3)

        def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
            broken = f"elements/{wanted}/elements" in target
            return refused() if "searchFullHierarchy" in target or broken else as_before(real, target, more)

        with changed_by(site, change):
            report = await site.run()
        assert report.exit_code == 1
        assert site.versions()["pi_asset_hierarchy"] == before["pi_asset_hierarchy"]


def without(*names: str) -> Callable[[Any], Any]:
    """Take members out of every object of an answer."""

    def stripped(content: Any) -> Any:
        if isinstance(content, dict):
            return {name: stripped(one) for name, one in content.items() if name not in names}
        return [stripped(one) for one in content] if isinstance(content, list) else content

    return stripped


async def test_without_links_parents_and_elements_are_found_by_their_paths(tmp_path: Path) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        return json_reply(without("Links")(json.loads(reply.body())), reply.status)

    async with in_memory(tmp_path) as site:
        with changed_by(site, change):
            assert (await site.run()).exit_code == 0
        site.assert_exact()


async def test_without_associations_points_are_known_by_their_links_and_references_are_left_alone(
    tmp_path: Path,
) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        return json_reply(without("Paths", "DataReference")(json.loads(reply.body())), reply.status)

    async with in_memory(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        before = site.versions()["pi_asset_references"]
        with changed_by(site, change):
            assert (await site.run()).exit_code == 0
        assert site.versions()["pi_asset_references"] == before
        points = {row["attribute_webid"]: row["tag_webid"] for row in site.living("pi_asset_attributes")}
        assert points == {row["attribute_webid"]: row["tag_webid"] for row in truth.attributes(site.simulator)}


@pytest.mark.parametrize("what", ["elements", "elementattributes"])
async def test_one_bad_item_harms_no_other_and_keeps_its_row(tmp_path: Path, what: str) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        if f"/{what}?" not in target:
            return reply
        content = json.loads(reply.body())
        content["Items"][5] = {"Name": "Bad", "WebId": None, "Errors": ["It is damaged."]}
        return json_reply(content)

    async with in_memory(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        site.change("edit_element", element=r"Site 01\Unit 02", name="Renamed")
        with changed_by(site, change):
            report = await site.run()
        assert report.exit_code == 1
        [told] = report.as_dict()["datasets"]["assets"]["unread"]
        assert told["part"] in {"elements of Plant", "attributes of Plant"}
        assert told["reason"] == "Bad: It is damaged."
        site.assert_exact()


@pytest.mark.parametrize("status", first_of(["500", "cut"]))
@pytest.mark.parametrize("what", ["elements", "elementattributes"])
async def test_an_item_for_which_the_server_gives_no_list_harms_no_other_and_keeps_its_row(
    tmp_path: Path, what: str, status: str
) -> None:
    bad: list[str] = []
    asked = 0

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        nonlocal asked
        reply = as_before(real, target, more)
        if f"/{what}?" not in target or reply.status >= 300:
            return reply
        asked += 1
        items = json.loads(reply.body())["Items"]
        bad[:] = bad or [items[5]["WebId"], items[-1]["WebId"]]
        if not {one["WebId"] for one in items} & set(bad):
            return reply
        failure = {"Errors": ["It is damaged."]}
        return json_reply(failure, 500) if status == "500" else json_reply({"Items": items[:5], **failure})

    async with in_memory(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        site.change("edit_element", element=r"Site 01\Unit 02", name="Renamed")
        with changed_by(site, change):
            report = await site.run()
        assert report.exit_code == 1
        reasons = [one["reason"] for one in report.as_dict()["datasets"]["assets"]["unread"]]
        assert len(reasons) == len(set(bad))
        assert all(
            re.fullmatch(r"item [\d,]+ of the list, after [^:]+: .*It is damaged\..*", reason) for reason in reasons
        )
        assert asked <= 2 + 2 * (4 + 13)
        site.assert_exact()


async def test_a_list_that_has_no_pages_and_fails_is_told_of_in_the_words_of_the_server(tmp_path: Path) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        if "/elementtemplates?" not in target or len(json.loads(reply.body())["Items"]) < 5:
            return reply
        return json_reply({"Errors": ["It is damaged."]}, 500)

    async with in_memory(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        with changed_by(site, change):
            report = await site.run()
        assert report.exit_code == 1
        [told] = report.as_dict()["datasets"]["assets"]["unread"]
        assert "It is damaged." in told["reason"]
        site.assert_exact()


def in_lists(what: str, change: Callable[[list[Any]], list[Any]]) -> Callable[..., Reply]:
    """Change the items of the lists of a kind."""

    def changed(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        if f"/{what}?" not in target or reply.status >= 300:
            return reply
        content = json.loads(reply.body())
        return json_reply({**content, "Items": change(content["Items"])})

    return changed


ERRORS_WITH_A_WEB_ID: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    lambda one: {"WebId": one["WebId"], "Errors": ["It is damaged."]},
    lambda one: {**one, "Path": None, "Errors": ["It is damaged."]},
    lambda one: {**one, "Links": None, "WebException": {"StatusCode": 500, "Errors": ["It is damaged."]}},
)


@pytest.mark.parametrize("shape", first_of(range(3)))
@pytest.mark.parametrize("wholly", first_of([False, True]))
@pytest.mark.parametrize("what", ["elements", "elementattributes", "elementtemplates"])
async def test_an_item_that_is_an_error_keeps_its_row_though_it_has_a_web_id(
    tmp_path: Path, what: str, wholly: bool, shape: int
) -> None:
    """`wholly`: the thing alone is an error, too."""
    async with in_memory(tmp_path, elements=40) as site:
        assert (await site.run()).exit_code == 0
        bad: list[str] = []

        def change(items: list[Any]) -> list[Any]:
            depth = max((one["Path"].count("|") for one in items), default=0)
            at = next((place for place, one in enumerate(items) if one["Path"].count("|") == depth), None)
            if at is None:
                return items
            bad.append(items[at]["WebId"])
            return [*items[:at], ERRORS_WITH_A_WEB_ID[shape](items[at]), *items[at + 1 :]]

        def damaged(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
            reply = in_lists(what, change)(real, target, more)
            alone = wholly and any(f"/{web_id}?" in target for web_id in bad)
            return json_reply(ERRORS_WITH_A_WEB_ID[shape](json.loads(reply.body()))) if alone else reply

        with changed_by(site, damaged):
            report = await site.run()
        assert bad
        assert report.exit_code == 1
        assert {one["reason"].partition(": ")[2] for one in report.as_dict()["datasets"]["assets"]["unread"]} == {
            "It is damaged."
        }
        site.assert_exact()


async def test_an_item_with_an_error_of_one_field_is_read(tmp_path: Path) -> None:
    def change(items: list[Any]) -> list[Any]:
        return [{**one, "Errors": [{"FieldName": "ExtendedProperties", "Message": ["x"]}]} for one in items]

    async with in_memory(tmp_path, elements=40) as site:
        with changed_by(site, in_lists("elements", change)):
            assert (await site.run()).exit_code == 0
        site.assert_exact()


async def test_lists_that_show_everything_twice_make_the_same_rows(tmp_path: Path) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        content = json.loads(reply.body())
        if target.endswith("/batch") or "streamsets" in target or not isinstance(content.get("Items"), list):
            return reply
        return json_reply({**content, "Items": [one for one in content["Items"] for _ in range(2)]}, reply.status)

    async with in_memory(tmp_path, elements=40) as site:
        with changed_by(site, change):
            for assets in ({}, {"databases": "Plant"}):
                assert (await site.run(assets=assets)).exit_code == 0
                site.assert_exact()


@pytest.mark.parametrize("last", first_of([True, False]))
async def test_an_element_that_is_listed_once_for_each_path_lies_at_the_first_one(tmp_path: Path, last: bool) -> None:
    def change(items: list[Any]) -> list[Any]:
        found: list[Any] = []
        for one in items:
            others = [{**one, "Path": path} for path in one["Paths"][1:]]
            found += [one, *others] if last else [*others, one]
        assert len(found) > len(items)
        return found

    async with in_memory(tmp_path) as site:
        with changed_by(site, in_lists("elements", change)):
            assert (await site.run()).exit_code == 0
            site.assert_exact()
            before = site.versions()
            assert (await site.run()).exit_code == 0
        assert site.versions() == before


async def test_where_elements_are_asked_one_by_one_a_bad_one_harms_no_other(tmp_path: Path) -> None:
    """Its attributes keep their rows, and are named as unread; where none has any, the list is not read."""
    bad = truth.element_web_id(7)

    def refusing(of_all: bool) -> Callable[..., Reply]:
        def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
            if "/elementattributes?" in target:
                return refused()
            is_bad = of_all or f"/elements/{bad}/attributes" in target
            broken = is_bad and "/attributes?" in target
            return json_reply({"Errors": ["It is damaged."]}, 500) if broken else as_before(real, target, more)

        return change

    async with in_memory(tmp_path, elements=40) as site:
        with changed_by(site, refusing(False)):
            report = await site.run()
        assert report.exit_code == 1
        [told] = report.as_dict()["datasets"]["assets"]["unread"]
        assert told["part"] == "attributes of Plant"
        assert "It is damaged." in told["reason"]
        found = {row["attribute_webid"] for row in site.living("pi_asset_attributes")}
        wanted = {row["attribute_webid"]: row["element_webid"] for row in truth.attributes(site.simulator)}
        assert found == {one for one, of in wanted.items() if of != bad}
        assert (await site.run()).exit_code == 0
        site.assert_exact()
        before = site.versions()
        for of_all in (False, True):
            with changed_by(site, refusing(of_all)):
                assert (await site.run()).exit_code == 1
            assert site.versions()["pi_asset_attributes"] == before["pi_asset_attributes"]


async def test_full_web_ids_that_come_unasked_make_the_same_rows(tmp_path: Path) -> None:
    """A server that does not know webIdType: such WebIDs hold the path, and change when a thing is moved or renamed."""

    def full(content: Any) -> Any:
        if isinstance(content, list):
            return [full(one) for one in content]
        if isinstance(content, str) and content.rpartition("/")[2][:4] in {"I1RD", "I1Em", "I1Ab"}:
            head, slash, web_id = content.rpartition("/")
            return f"{head}{slash}F{web_id[1:]}UEFUSDA{site.last.total()}"
        return {name: full(one) for name, one in content.items()} if isinstance(content, dict) else content

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        return reply if target.endswith("/batch") else json_reply(full(json.loads(reply.body())), reply.status)

    async with in_memory(tmp_path) as site:
        with changed_by(site, change):
            assert (await site.run()).exit_code == 0
            site.assert_exact()
            site.change("edit_element", element=r"Site 01\Unit 02", name="Renamed")
            assert (await site.run()).exit_code == 0
        site.assert_exact()


async def test_a_tree_that_is_all_empty_is_not_believed(tmp_path: Path) -> None:
    """So it looks to an account that has lost its rights: 404 for everything."""

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        if "/elements?" in target:
            return json_reply({"Links": {"First": "x"}, "Items": []})
        return json_reply({"Errors": ["Not found."]}, 404) if "/elements/" in target else as_before(real, target, more)

    async with in_memory(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        with changed_by(site, change):
            report = await site.run()
        assert report.exit_code == 1
        [told] = report.as_dict()["datasets"]["assets"]["unread"]
        assert told["reason"] == "the server shows none of 130 elements of Plant: may the account read them?"
        site.assert_exact()


async def test_a_renamed_database_keeps_its_rows_and_what_was_deleted_meanwhile_is_found(tmp_path: Path) -> None:
    def renamed(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target.replace("Works", "Plant"), more)
        body = reply.body().replace(rb"\\SIMAF\\Plant", rb"\\SIMAF\\Works")
        return Reply(reply.status, [body.replace(b'"Name":"Plant"', b'"Name":"Works"')])

    async with in_memory(tmp_path) as site:
        assert (await site.run()).exit_code == 0
        first = {row["element_webid"] for row in site.stored("pi_asset_hierarchy")}
        site.change("delete_element", element=r"Site 01\Unit 02")
        with changed_by(site, renamed):
            assert (await site.run()).exit_code == 0
        rows = site.stored("pi_asset_hierarchy")
        assert {row["element_webid"] for row in rows} == first
        assert {row["database"] for row in rows if row["deleted_at"] is None} == {"Works"}
        gone = [row for row in rows if row["deleted_at"] is not None]
        assert len(gone) == 11
        assert {row["database"] for row in gone} == {"Plant"}
        below = [row for row in site.stored("pi_asset_attributes") if "\\Unit 02\\" in row["attribute_path"]]
        assert below
        assert all(row["deleted_at"] for row in below)


# --- several databases -----------------------------------------------------------------

_FIRST = encode("I", "RS", (), "")[4:]
_SECOND = "Zl98DQ5qV0yb5WCx9KXAAQ"
assert len(_FIRST) == len(_SECOND)
assert ASSET_SERVER.bytes


async def test_databases_of_one_name_on_two_servers_are_two(tmp_path: Path) -> None:
    """And what is deleted in one is not missing in the other."""
    options = SimulatorOptions(tags=20, elements=60, now=NOW, begin="2024-03-05T00:00:00Z", asset_server="SIMAF2")
    other = Plant(options)
    second = Dispatch(other)

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        if _SECOND not in target and "SIMAF2" not in unquote(target):
            if "/assetservers?" not in target or "path=" in target:
                return reply
            theirs = as_before(second.answer, target, more).body().replace(_FIRST.encode(), _SECOND.encode())
            content = json.loads(reply.body())
            content["Items"] += json.loads(theirs)["Items"]
            return json_reply(content)
        theirs_reply = as_before(second.answer, target.replace(_SECOND, _FIRST), more)
        return Reply(theirs_reply.status, [theirs_reply.body().replace(_FIRST.encode(), _SECOND.encode())])

    async with in_memory(tmp_path, elements=40) as site:
        with changed_by(site, change):
            with pytest.raises(ConfigurationError, match="there are 2 AF databases, and none is named"):
                await site.run()
            report = await site.run(assets={"database": "Plant"})
            [told] = report.as_dict()["datasets"]["assets"]["unread"]
            assert told["reason"] == "$.asset_framework.databases: 2 AF databases are called 'Plant'"
            both = {"databases": [r"\\SIMAF\Plant", r"\\SIMAF2\Plant", r"\\simaf\plant"]}
            assert (await site.run(assets=both)).exit_code == 0
            paths = {row["element_path"] for row in site.living("pi_asset_hierarchy")}
            assert len(paths) == 100
            assert len([path for path in paths if path.startswith(r"\\SIMAF2" + "\\")]) == 60
            before = site.versions()
            assert (await site.run(assets=both)).exit_code == 0
            assert site.versions() == before
            site.change("delete_template", template="Heater")
            site.change("delete_element", element=r"Site 01\Unit 02")
            assert (await site.run(assets=both)).exit_code == 0
            gone = [row["element_path"] for row in site.stored("pi_asset_hierarchy") if row["deleted_at"]]
            assert gone
            assert all(path.startswith(r"\\SIMAF" + "\\") for path in gone)
            names = [row["template_name"] for row in site.living("pi_asset_templates")]
            assert (names.count("Heater"), names.count("Pump")) == (1, 2)
