"""Attributes as series, attributes of points and data servers, as odd servers give them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.simulator.replies import Reply, json_reply
from tests.assets.site import Site, served
from tests.assets.test_choosing_attributes import brought, living, tags, there
from tests.assets.test_odd_servers import Answer, as_before, changed_by
from tests.exactness.reading import read_table

Item = dict[str, Any]


def shown(site: Site, of: str, change: Callable[[list[Item]], list[Any]]) -> Any:
    """Change the items of the lists whose address holds a text."""

    def changed(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        if of not in target or reply.status >= 300 or target.endswith("/batch"):
            return reply
        content = json.loads(reply.body())
        return json_reply({**content, "Items": change(content["Items"])}, reply.status)

    return changed_by(site, changed)


def with_members(**members: Any) -> Callable[[list[Item]], list[Any]]:
    return lambda items: [{**one, **{name: value for name, value in members.items() if name in one}} for one in items]


ODD_BUT_RIGHT: dict[str, Callable[[list[Item]], list[Any]]] = {
    "spans_that_are_no_numbers": with_members(Span="NaN", Zero=None),
    "types_in_capitals": lambda items: [{**one, "Type": str(one.get("Type")).upper()} for one in items],
    "no_units_and_descriptions": with_members(DefaultUnitsName=None, DefaultUnitsNameAbbreviation=None, Description=None),
    "each_item_twice": lambda items: [one for one in items for _ in range(2)],
    "steps_as_text": with_members(Step="false"),
    "links_that_are_null": with_members(Links=None),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_BUT_RIGHT)
async def test_attributes_that_are_shown_oddly_are_read_all_the_same(tmp_path: Path, name: str) -> None:
    async with served(tmp_path, elements=40) as site:
        with shown(site, "/elementattributes?", ODD_BUT_RIGHT[name]):
            report = await brought(site, {"attributes": "Feed doubled"})
            assert (report.status, report.tags_failed) == ("succeeded", ()), name
            first = living(site)
            assert first == there(site, name="Feed doubled")
            assert report.records_written > 0
            again = await brought(site, {"attributes": "Feed doubled"})
        assert (again.status, again.records_written) == ("succeeded", 0)
        assert living(site) == first


async def test_an_attribute_whose_item_is_bad_keeps_its_row_and_costs_no_other(tmp_path: Path) -> None:
    async with served(tmp_path, elements=40) as site:
        assert (await brought(site, {"attributes": "Feed doubled"})).status == "succeeded"
        before = living(site)

        def change(items: list[Item]) -> list[Any]:
            return [None, {"Name": "Bad", "Errors": ["It is damaged."]}, *items[1:]] if items else items

        with shown(site, "/elementattributes?", change):
            report = await brought(site, {"attributes": "Feed doubled"})
        assert report.exit_code == 1
        assert living(site) == before
        assert not any(row["deleted_at"] for row in tags(site).values())
        assert (await brought(site, {"attributes": "Feed doubled"})).exit_code == 0


async def test_data_servers_of_one_name_and_half_known_ones_are_rows_of_their_own(tmp_path: Path) -> None:
    def change(items: list[Item]) -> list[Any]:
        [mine] = items
        twin = {**mine, "WebId": mine["WebId"][:-1] + ("A" if mine["WebId"][-1] != "A" else "B"), "Name": "OTHER"}
        bare = {"WebId": twin["WebId"] + "C", "Name": "BARE", "IsConnected": None, "ServerVersion": None}
        return [mine, twin, bare, {**twin, "WebId": twin["WebId"] + "D"}]

    async with served(tmp_path, elements=0) as site:
        with shown(site, "/dataservers?", change):
            more = {"data_server": "SIMDA", "datasets": ["tags", "data_servers"]}
            for _ in range(2):
                report = await brought(site, extraction={"tag_name_filter": "*", **more})
                assert report.status == "succeeded"
        rows = read_table(tmp_path / "main/bronze/pi_data_servers").to_pylist()
        assert sorted(row["name"] for row in rows)[:3] == ["BARE", "OTHER", "OTHER"]
        assert len({row["data_server_webid"] for row in rows}) == len(rows) == 4
        assert not any(row["deleted_at"] for row in rows)
        [bare] = [row for row in rows if row["name"] == "BARE"]
        assert (bare["is_connected"], bare["server_version"], bare["path"]) == (None, None, None)
        report = await brought(site, extraction={"tag_name_filter": "*", **more})
        rows = read_table(tmp_path / "main/bronze/pi_data_servers").to_pylist()
        assert sum(row["deleted_at"] is not None for row in rows) == 3
