"""Attributes that are chosen by what they are, or by a query, are read like tags, in lists and not element by element."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from config import from_mapping
from config.model_source import AssetFrameworkConfig
from engine.commands.selection import Selection, known_tags
from engine.datasets.attribute_choice import is_chosen
from engine.run import run
from engine.simulator.assets.templates import lineage
from engine.simulator.replies import Reply, json_reply
from engine.telemetry.report import RunReport
from tests.assets.site import Site, served
from tests.assets.test_odd_servers import Answer, as_before, changed_by
from tests.exactness.plant import settings
from tests.exactness.reading import read_table

VALUES: dict[str, Any] = {"enabled": True}
START = "2024-03-05T11:00:00Z"


async def brought(site: Site, values: dict[str, Any] | None = None, **more: Any) -> RunReport:
    """A run that reads attributes, and no point unless `more` says so."""
    extraction = {"tag_name_filter": [], "start_date": START, **more.pop("extraction", {})}
    assets = {**({"values": {**VALUES, **values}} if values is not None else {}), **more.pop("assets", {})}
    document = settings(site.root, site.url, extraction=extraction, asset_framework=assets, **more)
    before = dict(site.simulator.requests.routes)
    report = await run(from_mapping(document, env={}).config)
    site.last.clear()
    site.last.update({k: n - before.get(k, 0) for k, n in site.simulator.requests.routes.items()})
    return report


def tags(site: Site) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in read_table(site.root / "main/bronze/pi_tags").to_pylist()}


def living(site: Site) -> set[str]:
    return {name for name, row in tags(site).items() if row["deleted_at"] is None}


def there(site: Site, *, template: str = "", name: str = "", reference: str = "", category: str = "") -> set[str]:
    """Attributes as the plant itself has them, by the path below the database. Hidden ones are in no list."""
    plant = site.simulator._site.plant
    found = set()
    for number in plant.numbers():
        kinds = {one.name for one in lineage(plant.element(number).template, plant.templates)}
        for one in plant.attributes(number):
            if (
                not (one.hidden or one.excluded)
                and one.reference in ({reference} if reference else {"PI Point", "Formula", "Table Lookup"})
                and (not template or template in kinds)
                and (not name or plant.names_of(one) == name)
                and (not category or category in one.categories)
            ):
                found.add(plant.attribute_path(one).split("\\", 4)[-1])
    return found


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"templates": "Pump", "attributes": "Flow"}, {"template": "Pump", "name": "Flow"}),
        ({"templates": "Equipment", "data_references": "Form*"}, {"template": "Equipment", "reference": "Formula"}),
        ({"attribute_categories": "measurement"}, {"category": "Measurement"}),
        ({"attributes": ["*doubled"]}, {"reference": "Formula"}),
    ],
    ids=["template and name", "base template and reference", "category of attributes", "a name that ends so"],
)
@pytest.mark.parametrize("nested", [True, False], ids=["all in the list", "only the top in the list"])
async def test_what_is_chosen_is_read_and_has_its_row(
    tmp_path: Path, values: dict[str, Any], wanted: dict[str, str], nested: bool
) -> None:
    async with served(tmp_path, switches={"bulk_nested_attributes": nested}) as site:
        report = await brought(site, values)
        assert (report.status, report.tags_requested) == ("succeeded", len(there(site, **wanted)))
        assert living(site) == there(site, **wanted) != set()
        assert {row["point_class"] for row in tags(site).values()} == {"attribute"}
        assert site.last["assetdatabases/*/elementattributes"] == 1, "one list, and not one for each element"
        series = read_table(tmp_path / "main/bronze/pi_timeseries")
        assert set(series["tag_name"].to_pylist()) == living(site)
        again = await brought(site, values)
        assert (again.status, again.records_written) == ("succeeded", 0)


async def test_formulas_lookups_and_states_are_read_and_what_the_server_refuses_costs_no_other(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        registry = site.simulator._site.registry
        digital = next(n for n in range(20) if registry.state(n).point.type == "Digital")
        unit = r"Site 01\Unit 02"
        site.change("create_attribute", element=unit, attribute="Valve", type="EnumerationValue", tag=digital)
        chosen = {"templates": ["Tank", "Unit"], "attributes": ["Capacity", "Feed doubled", "Title", "Valve"]}
        report = await brought(site, {**chosen, "data_references": "*"})
        rows = tags(site)
        # Texts that are built have no history: their streams are refused.
        refused = {name for name, _ in report.tags_failed}
        assert refused == there(site, name="Title", reference="String Builder") != set()
        assert report.exit_code == 1
        series = read_table(tmp_path / "main/bronze/pi_timeseries").to_pylist()
        assert {row["tag_name"] for row in series} == set(rows) - refused
        assert {row["units"] for row in series if row["tag_name"].endswith("Feed doubled")} == {"m3/h"}
        assert rows[rf"{unit}|Feed doubled"]["engineering_units"] == "m3/h"
        valve = [row for row in series if row["tag_name"] == rf"{unit}|Valve"]
        assert {row["value_kind"] for row in valve} <= {"digital", "system"}
        assert all(row["value_string"] and row["state_code"] is not None for row in valve)
        assert any(row["value_kind"] == "digital" for row in valve)
        assert any(row["tag_name"].endswith("|Capacity") for row in series)


async def test_a_query_chooses_what_it_says(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        report = await brought(site, extraction={"af_query": "Name:='Flow doubled' Element:{Template:='Pump'}"})
        assert report.status == "succeeded"
        assert living(site) == there(site, template="Pump", name="Flow doubled") != set()
        assert site.last["attributes/search"] == 1


async def test_a_query_that_is_wrong_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        report = await brought(site, extraction={"af_query": ["Colour:=red", "Name:='Flow doubled'"]})
        [(name, why)] = report.tags_failed
        assert "Colour:=red" in name
        assert "'colour' is not valid" in why
        assert report.exit_code == 1
        assert living(site) == there(site, name="Flow doubled")


async def test_an_unknown_template_or_database_is_named_and_the_points_are_read(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        report = await brought(site, {"templates": ["Rocket", "Pump"]}, extraction={"tag_name_filter": "*"})
        assert [name for name, _ in report.tags_failed] == ["asset_framework.values template 'Rocket' in Plant"]
        assert report.tags_extracted > 20
        report = await brought(site, {}, assets={"database": "Nowhere"}, extraction={"tag_name_filter": "*"})
        assert [name for name, _ in report.tags_failed] == ["AF database Nowhere"]
        assert (report.exit_code, report.tags_extracted) == (1, 20)


async def test_an_attribute_whose_point_is_read_is_not_read_twice_and_one_sentence_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        report = await brought(site, {"data_references": "PI Point"}, extraction={"tag_name_filter": "*"})
        assert (report.status, report.tags_requested) == ("succeeded", 20)
        [said] = [one for one in report.warnings if "not read twice" in one]
        assert said.startswith(f"{len(there(site, reference='PI Point')):,} attributes show tags that are read")


async def test_an_attribute_that_is_deleted_is_marked_and_one_that_is_chosen_no_longer_is_not(tmp_path: Path) -> None:
    values = {"templates": "Pump", "attributes": "Flow*"}
    async with served(tmp_path) as site:
        await brought(site, values)
        before = living(site)
        pumps = sorted(name.partition("|")[0] for name in before if name.endswith("|Flow doubled"))
        site.change("delete_attribute", element=pumps[0], attribute="Flow doubled")
        site.change("edit_attribute", element=pumps[1], attribute="Flow doubled", name="Current doubled")
        report = await brought(site, values)
        assert report.status == "succeeded"
        assert before - living(site) == {f"{pumps[0]}|Flow doubled", f"{pumps[1]}|Flow doubled"}
        assert tags(site)[f"{pumps[0]}|Flow doubled"]["deleted_at"] is not None
        assert tags(site)[f"{pumps[1]}|Current doubled"]["deleted_at"] is None
        # What is not chosen now is not asked for, and not taken for deleted.
        await brought(site, {"templates": "Pump", "attributes": "Flow"})
        assert {name for name in living(site) if name.endswith("|Flow doubled")} == {
            name for name in before if name.endswith("|Flow doubled")
        } - {f"{pumps[0]}|Flow doubled", f"{pumps[1]}|Flow doubled"}


async def test_items_that_are_none_cost_no_other_one(tmp_path: Path) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        if "/elementattributes" not in target:
            return reply
        body = json.loads(reply.body())
        first = body["Items"][0]
        body["Items"] = [None, {"Name": "Bad", "Errors": ["It is broken."]}, first, *body["Items"], 3, {"WebId": 7}]
        return json_reply(body)

    values = {"templates": "Pump", "attributes": "Flow doubled"}
    async with served(tmp_path) as site:
        with changed_by(site, change):
            report = await brought(site, values)
        assert living(site) == there(site, template="Pump", name="Flow doubled")
        assert report.tags_requested == len(living(site)) + 4
        assert any("It is broken." in why for _, why in report.tags_failed)
        assert report.exit_code == 1


async def test_a_list_that_fails_deletes_nothing(tmp_path: Path) -> None:
    values = {"templates": "Pump", "attributes": "Flow doubled"}

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        if "/elementattributes" in target:
            return json_reply({"Errors": ["Out of order."]}, 500)
        return as_before(real, target, more)

    async with served(tmp_path) as site:
        await brought(site, values)
        before = living(site)
        with changed_by(site, change):
            report = await brought(site, values, extraction={"tag_name_filter": "*"})
        assert report.exit_code == 1
        assert before <= living(site)


async def test_attributes_below_a_root_and_below_attributes_are_found(tmp_path: Path) -> None:
    async with served(tmp_path, switches={"bulk_nested_attributes": False}) as site:
        unit = r"Site 01\Unit 02"
        site.change("create_attribute", element=unit, attribute="Feed|Backup", type="Double", tag=3)
        site.change("create_attribute", element=unit, attribute="Feed|Value", type="Double", value=2.5)
        site.change("create_attribute", element=r"Site 01\Unit 01", attribute="Feed|Backup", type="Double", tag=4)
        report = await brought(site, {"attributes": "Feed|B*"}, assets={"root": unit})
        assert report.status == "succeeded"
        assert living(site) == {rf"{unit}|Feed|Backup"}
        await brought(site, {}, assets={"root": unit})
        assert rf"{unit}|Feed|Backup" in living(site)
        assert not {name for name in living(site) if not name.startswith(unit)}


async def test_nothing_that_is_chosen_is_said(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        report = await brought(site, {"attributes": "Nothing"}, extraction={"tag_name_filter": "*"})
        assert report.status == "succeeded"
        assert "asset_framework.values in Plant: no attribute that we may see is chosen" in report.warnings


async def test_status_takes_a_chosen_attribute_for_selected_and_no_pattern_selects_one(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        await brought(site, {"attributes": "Flow doubled"})
        for values, expected in (({"enabled": True}, None), ({"enabled": False}, False)):
            document = settings(tmp_path, site.url, asset_framework={"values": values})
            config = from_mapping(document, env={}).config
            known = {one.web_id: one for one in known_tags(config)}
            selected = Selection(config, known)
            assert {selected.has(one) for one in known.values() if one.is_attribute} == {expected}


async def test_lists_are_filtered_by_the_server_where_it_can(tmp_path: Path) -> None:
    asked: list[dict[str, list[str]]] = []

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        if "/elementattributes" in target:
            asked.append(parse_qs(urlsplit(target).query))
        return as_before(real, target, more)

    async with served(tmp_path) as site:
        with changed_by(site, change):
            await brought(site, {"templates": ["Pump", "Tank"], "attributes": ["Flow*", "Lev?l"]})
        filters = sorted((one["elementTemplate"][0], one["attributeNameFilter"][0]) for one in asked)
        assert filters == [("Pump", "Flow*"), ("Pump", "Lev*"), ("Tank", "Flow*"), ("Tank", "Lev*")]
        assert {name.partition("|")[2] for name in living(site)} == {"Flow", "Flow doubled", "Level"}


def test_what_has_no_reference_is_never_chosen() -> None:
    settings_ = AssetFrameworkConfig.model_validate({"values": {"enabled": True, "data_references": "*"}})
    for plug_in in ("", None, 3):
        assert not is_chosen({"WebId": "x", "Path": r"\\S\D\E|A", "DataReferencePlugIn": plug_in}, settings_)
    assert is_chosen({"WebId": "x", "Path": r"\\S\D\E|A", "DataReferencePlugIn": "Custom"}, settings_)
