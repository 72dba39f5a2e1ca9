"""The asset tables equal the plant, cost few requests, and are not written to when nothing has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.plan.shards import Shard
from tests.assets import truth
from tests.assets.site import NAMES, served
from tests.variants import crossed, first_of


@pytest.mark.parametrize(("nested", "mode"), crossed([False, True], ["auto", "single"]))
async def test_the_tables_equal_the_plant_and_a_run_without_news_commits_nothing(
    tmp_path: Path, nested: bool, mode: str
) -> None:
    async with served(tmp_path, switches={"bulk_nested_attributes": nested, "batch": mode == "auto"}) as site:
        report = await site.run(extraction={"request_mode": mode})
        assert (report.status, report.exit_code) == ("succeeded", 0)
        site.assert_exact()
        before = site.versions()
        report = await site.run(extraction={"request_mode": mode})
        assert report.exit_code == 0
        assert report.as_dict()["datasets"]["assets"] == {
            "rows_written": 0, "changed": 0, "missing": 0, "requests_failed": 0, "unread": [], "problem": None
        }  # fmt: skip
        assert site.versions() == before
        site.assert_exact()


async def test_elements_and_attributes_come_in_bulk(tmp_path: Path) -> None:
    """Requests grow with pages and batches, not with elements."""
    async with served(tmp_path, elements=800, switches={"bulk_nested_attributes": True}) as site:
        for _ in range(2):
            assert (await site.run(performance={"optimize_after_write": False})).exit_code == 0
            assert site.last["assetdatabases/*/elements"] == 1
            assert site.last["assetdatabases/*/elementattributes"] <= 4
            assert not [
                route for route in site.last if route.removeprefix("sub ").startswith(("elements", "attributes"))
            ]
            assert sum(n for route, n in site.last.items() if not route.startswith("sub ")) < 30
        site.assert_exact()


@pytest.mark.parametrize("links", first_of(["absent", "empty", "null"]))
async def test_a_gateway_that_strips_the_links_of_pages_changes_nothing(tmp_path: Path, links: str) -> None:
    async with served(tmp_path, switches={"page_links": links, "page_cap": 50}) as site:
        assert (await site.run()).exit_code == 0
        site.assert_exact()


async def test_hidden_and_excluded_attributes_come_as_configured_and_keep_their_rows_afterwards(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        assert (await site.run(assets={"hidden_attributes": True})).exit_code == 0
        whole = truth.ordered(truth.attributes(site.simulator, hidden=True))
        assert any(row["is_hidden"] for row in whole)
        assert any(row["is_excluded"] for row in whole)
        assert site.tables()["pi_asset_attributes"] == whole
        before = site.versions()
        assert (await site.run()).exit_code == 0, "the list of all attributes shows none of them"
        assert site.versions() == before


@pytest.mark.parametrize(
    ("assets", "elements", "attributes"),
    [
        ({"root": r"Site 01\Unit 02"}, lambda row: r"\Unit 02" in row["element_path"], None),
        ({"root": r"\\SIMAF\Plant\Site 01\Unit 02"}, lambda row: r"\Unit 02" in row["element_path"], None),
        (
            {"templates": ["Equipment", "site"]},
            lambda row: row["template_name"] in {"Pump", "Compressor", "Tank", "Heater", "Site"},
            None,
        ),
        ({"categories": ["Process"]}, lambda row: row["category_names"] == ["Process"], None),
        (
            {"templates": "Component", "categories": "Instruments", "root": "Site 01"},
            lambda row: row["template_name"] in {"Sensor", "Motor"} or row["element_name"] == "Site 01",
            None,
        ),
        ({"attributes": ["Fl?w*"]}, lambda _row: True, lambda row: row["attribute_name"].startswith("Flow")),
        ({"attributes": "Limits|High"}, lambda _row: True, lambda row: row["attribute_path"].endswith("|Limits|High")),
        ({"attributes": "limits"}, lambda _row: True, lambda row: "|Limits" in row["attribute_path"]),
    ],
    ids=["root", "root by path", "templates", "categories", "all three", "attributes", "nested", "with those below"],
)
@pytest.mark.parametrize("bulk", first_of([True, False]))
async def test_filters_choose(tmp_path: Path, assets, elements, attributes, bulk: bool) -> None:
    refused = [{"match": {"route": "*/elementattributes"}, "do": {"status": 400}}]
    async with served(tmp_path, rules=[] if bulk else refused) as site:
        assert (await site.run(assets=assets)).exit_code == 0
        wanted = [row for row in truth.elements(site.simulator) if elements(row)]
        assert len(wanted) > 0
        found = site.tables()
        assert found["pi_asset_hierarchy"] == truth.ordered(wanted)
        chosen = {row["element_webid"] for row in wanted}
        owned = [row for row in truth.attributes(site.simulator) if row["element_webid"] in chosen]
        owned = [row for row in owned if attributes is None or attributes(row)]
        known = {row["attribute_webid"] for row in owned}
        for row in owned:  # the attribute above it is left out
            if row["parent_attribute_webid"] not in known:
                row["parent_attribute_webid"] = None
        assert owned
        assert found["pi_asset_attributes"] == truth.ordered(owned)


async def test_of_several_shards_the_first_does_the_tree(tmp_path: Path) -> None:
    async with served(tmp_path) as site:
        assert (await site.run(shard=Shard(1, 2))).exit_code == 0
        assert not any(site.stored(name) for name in NAMES)
        assert not [route for route in site.last if "asset" in route]
        assert (await site.run(shard=Shard(0, 2))).exit_code == 0
        site.assert_exact()
