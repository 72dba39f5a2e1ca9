"""Trouble: the last complete tree stands, the exit code is 1, and the report says what is stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import from_mapping
from engine.simulator.replies import Reply, json_reply
from engine.telemetry.report import facts
from tests.assets import truth
from tests.assets.site import Site, served
from tests.assets.test_odd_servers import Answer, as_before, changed_by
from tests.contract.conftest import of_whole_runs
from tests.exactness.plant import settings
from tests.monitoring.plants import metrics
from tests.variants import first_of

FAILS = {"status": 500}


def rule(route: str, do: dict[str, Any] = FAILS, **match: Any) -> dict[str, Any]:
    return {"match": {"route": route, **match}, "do": do}


async def first_run(root: Path) -> None:
    async with served(root, elements=200) as site:
        assert (await site.run()).exit_code == 0


def unread(report: Any) -> list[str]:
    return [one["part"] for one in report.as_dict()["datasets"]["assets"]["unread"]]


@pytest.mark.parametrize(
    ("route", "stale", "tables"),
    first_of([
        ("assetdatabases/*/elements", "elements of Plant", {"pi_asset_hierarchy", "pi_asset_references", "pi_asset_attributes"}),
        ("assetdatabases/*/elementtemplates", "templates of Plant", {"pi_asset_templates", "pi_asset_template_attributes"}),
        ("elementtemplates/*/attributetemplates", "templates of Plant", {"pi_asset_templates", "pi_asset_template_attributes"}),
        ("assetdatabases/*/enumerationsets", "enumeration sets of Plant", {"pi_enumeration_values"}),
        ("enumerationsets/*/enumerationvalues", "enumeration sets of Plant", {"pi_enumeration_values"}),
        ("assetdatabases/*/attributecategories", "categories of Plant", {"pi_asset_categories"}),
        ("assetservers/*/unitclasses", "units of measure of Plant", {"pi_units_of_measure"}),
    ]),
)  # fmt: skip
async def test_a_list_that_never_comes_leaves_its_tables_as_they_were(
    tmp_path: Path, route: str, stale: str, tables: set[str]
) -> None:
    await first_run(tmp_path)
    async with served(tmp_path, elements=200, rules=[rule(route)]) as site:
        changed(site)
        before, held = site.versions(), site.tables()
        report = await site.run()
        assert (report.status, report.exit_code) == ("incomplete", 1)
        assert stale in unread(report)
        assert f"not read: {stale}: " in dict(facts(report))["assets"]
        for name in tables:
            assert site.versions()[name] == before[name], name
        for name in ("pi_asset_templates", "pi_asset_hierarchy"):
            if name not in tables:
                assert site.tables()[name] == truth.everything(site.simulator)[name] != held[name], "the others go on"


def changed(site: Site) -> None:
    """Something new in every table that can be changed."""
    site.change("create_element", name="New", to="Site 01", template="Pump")
    site.change("put_template", template="New", to="Pump", description="d")
    site.change("delete_element", element=r"Site 01\Unit 04")


@pytest.mark.parametrize("do", first_of([FAILS, {"status": 503}, {"truncate_bytes": 400}, {"drop_connection": True}]))
async def test_a_page_in_the_middle_that_never_comes_deletes_nothing(tmp_path: Path, do: dict[str, Any]) -> None:
    async with served(tmp_path, elements=200, switches={"page_cap": 60}) as site:
        assert (await site.run()).exit_code == 0
        held = site.tables()
    rules = [rule("assetdatabases/*/elements", do, after=1)]
    async with served(tmp_path, elements=200, switches={"page_cap": 60}, rules=rules) as site:
        changed(site)
        report = await site.run()
        assert (report.exit_code, unread(report)) == (1, ["elements of Plant"])
        assert site.tables()["pi_asset_hierarchy"] == held["pi_asset_hierarchy"]
        assert not [row for row in site.stored("pi_asset_hierarchy") if row["deleted_at"]]
    async with served(tmp_path, elements=200, switches={"page_cap": 60}) as site:
        changed(site)
        assert (await site.run()).exit_code == 0
        site.assert_exact()


@pytest.mark.parametrize(("element", "most"), [(50, 10), (700, 18)])
async def test_what_can_never_be_listed_is_given_up_after_a_few_requests(
    tmp_path: Path, element: int, most: int
) -> None:
    """Each of them may take a time-out. Pages that came beside one that did not are not asked for again."""
    async with served(tmp_path, elements=1200) as site:
        bad = truth.element_web_id(element)

        def slow(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
            reply = as_before(real, target, more)
            is_slow = "/elements?" in target and bad.encode() in reply.body()
            return json_reply("<html><title>504 Gateway Time-out</title></html>", 504) if is_slow else reply

        with changed_by(site, slow):
            report = await site.run()
        assert (report.exit_code, unread(report)) == (1, ["elements of Plant"])
        assert site.stored("pi_asset_hierarchy") == []
        assert site.last["assetdatabases/*/elements"] <= most


async def test_a_page_of_attributes_that_fails_leaves_attributes_and_brings_elements(tmp_path: Path) -> None:
    await first_run(tmp_path)
    rules = [rule("assetdatabases/*/elementattributes"), rule("elements/*/attributes")]
    async with served(tmp_path, elements=200, rules=rules) as site:
        changed(site)
        before = site.versions()["pi_asset_attributes"]
        report = await site.run()
        assert (report.exit_code, unread(report)) == (1, ["attributes of Plant"])
        assert site.versions()["pi_asset_attributes"] == before
        assert site.tables()["pi_asset_hierarchy"] == truth.everything(site.simulator)["pi_asset_hierarchy"]


async def test_a_server_that_refuses_lists_of_all_attributes_is_asked_element_by_element(tmp_path: Path) -> None:
    refused = rule("assetdatabases/*/elementattributes", {"status": 400, "body": {"Errors": ["Not supported."]}})
    async with served(tmp_path, rules=[refused]) as site:
        assert (await site.run()).exit_code == 0
        site.assert_exact()


async def test_a_database_that_vanished_is_named_and_its_rows_stand(tmp_path: Path) -> None:
    await first_run(tmp_path)
    async with served(tmp_path, elements=200, asset_database="Other") as site:
        report = await site.run(assets={"databases": ["Plant", r"\\SIMAF\Gone"], "database": "Other"})
        assert report.exit_code == 1
        assert unread(report) == ["AF database Plant", r"AF database \\SIMAF\Gone"]
        [why, _] = [one["reason"] for one in report.as_dict()["datasets"]["assets"]["unread"]]
        assert why == "there is no AF database 'Plant'"
        rows = site.stored("pi_asset_hierarchy")
        assert not [row for row in rows if row["deleted_at"]]


@pytest.mark.parametrize(
    ("assets", "why"),
    [
        ({"templates": ["Pump", "Nothing"]}, "element template was not found"),
        ({"categories": "Nothing"}, "element category was not found"),
        ({"root": r"Site 01\Nowhere"}, "Element not found"),
    ],
)
async def test_a_name_that_the_database_does_not_know_is_told(tmp_path: Path, assets: dict[str, Any], why: str) -> None:
    async with served(tmp_path) as site:
        report = await site.run(assets=assets)
        assert (report.exit_code, unread(report)) == (1, ["elements of Plant"])
        assert why in report.as_dict()["datasets"]["assets"]["unread"][0]["reason"]
        assert not site.stored("pi_asset_hierarchy")


async def test_values_that_cannot_be_read_harm_no_other(tmp_path: Path) -> None:
    """One bad attribute spoils the answer for its neighbours: they are asked for again without it."""
    async with served(tmp_path, elements=40, rules=[rule("streamsets/value", nth=1)]) as site:
        assert (await site.run()).exit_code == 0
        found, wanted = site.tables()["pi_asset_attributes"], truth.everything(site.simulator)["pi_asset_attributes"]
        assert found == wanted


async def test_the_metrics_row_names_the_dataset(tmp_path: Path) -> None:
    async with served(tmp_path, rules=[rule("assetdatabases/*/elementcategories")]) as site:
        await site.run()
        document = settings(tmp_path, site.url)
        [row] = metrics(from_mapping(document, env={}).config)
        assert (row["status"], row["datasets"]) == ("incomplete", "assets")
        assert "assets could not be read whole: categories of Plant" in row["error"]


@of_whole_runs
async def test_every_kind_of_table(tmp_path: Path, destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, in folders, in object stores, and external and managed tables of a catalog."""
    monkeypatch.setattr("engine.run.connect.lakehouse_of", lambda _config, **_kinds: destination.lakehouse())
    async with served(tmp_path, elements=40, lakehouse=destination.lakehouse()) as site:
        assert (await site.run()).exit_code == 0
        site.lakehouse = destination.lakehouse()
        site.assert_exact()
        site.change("edit_element", element=r"Site 01\Unit 05", name="Renamed")
        site.change("delete_element", element=r"Site 01\Unit 02")
        told = (await site.run()).as_dict()["datasets"]["assets"]
        assert told["missing"] > 0
        site.lakehouse = destination.lakehouse()
        site.assert_exact()
        told = (await site.run()).as_dict()["datasets"]["assets"]
        assert (told["rows_written"], told["changed"], told["missing"]) == (0, 0, 0)
