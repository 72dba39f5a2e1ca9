"""Attributes of points in pi_tags, chosen in the configuration; and pi_data_servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from config import from_mapping
from config.errors import UnavailableError
from engine.piweb.point_attributes import decode_point_attributes
from engine.piweb.points import listed_servers
from engine.run import run
from engine.simulator.archive.edits import Edit
from engine.simulator.replies import Reply, json_reply
from engine.simulator.routes.catalog import _attribute_values
from engine.telemetry.report import RunReport
from tests.assets.site import Site, served
from tests.assets.test_odd_servers import Answer, as_before, changed_by
from tests.exactness.plant import settings
from tests.exactness.reading import is_table, read_table, version_of

CHOSEN = ["compdev", "PointSource", "location4", "changedate", "exdesc"]


async def brought(site: Site, chosen: Any, *, datasets: Any = "point_attributes", **more: Any) -> RunReport:
    extraction = {"datasets": datasets, **({"point_attributes": chosen} if chosen else {}), **more}
    return await run(from_mapping(settings(site.root, site.url, extraction=extraction), env={}).config)


def stored(site: Site, table: str = "pi_tags") -> list[dict[str, Any]]:
    return read_table(site.root / "main/bronze" / table).to_pylist()


def attributes(site: Site) -> dict[str, dict[str, str | None] | None]:
    return {row["name"]: None if row["attributes"] is None else dict(row["attributes"]) for row in stored(site)}


def web_id_of(site: Site, number: int) -> str:
    plant = site.simulator._site
    return plant.web_id("I", plant.point(number))


def truth(site: Site, names: list[str]) -> dict[str, dict[str, str]]:
    """What the simulator holds. A state and a number are text; a name that a class of points lacks is not there."""
    registry = site.simulator._site.registry
    found = {}
    for number in range(registry.size):
        values = _attribute_values(registry.state(number))
        wanted = {name.lower() for name in names}
        found[registry.state(number).point.name] = {k: str(v) for k, v in values.items() if k in wanted}
    return found


@pytest.mark.parametrize("batch", [True, False])
async def test_the_chosen_attributes_of_each_point_are_in_pi_tags(tmp_path: Path, batch: bool) -> None:
    async with served(tmp_path, switches={"batch": batch}, elements=0, future_tags=4) as site:
        report = await brought(site, CHOSEN)
        assert report.status == "succeeded"
        assert attributes(site) == truth(site, CHOSEN)
        # Forecasts are of a class without location4.
        assert {len(found or ()) for found in attributes(site).values()} == {len(CHOSEN), len(CHOSEN) - 1}
        if batch:
            # 20 points, and 4 of them again.
            assert site.simulator.requests.routes["batch"] <= 4
            assert site.simulator.requests.sub_routes["points/*/attributes"] == 24


async def test_only_what_has_changed_is_written(tmp_path: Path) -> None:
    async with served(tmp_path, elements=0) as site:
        await brought(site, CHOSEN, datasets="all")
        before = version_of(tmp_path / "main/bronze/pi_tags")
        report = await brought(site, CHOSEN, datasets="all")
        assert version_of(tmp_path / "main/bronze/pi_tags") == before
        assert report.datasets["point_attributes"].changed == 0
        # A run that does not ask for them leaves them as they are, also where a row of a point is written.
        site.simulator._site.registry.change(Edit(action="rename", tag=0, name="Another name"), 0, int(1.7096e15))
        await brought(site, None, datasets="all")
        assert {tuple(sorted(found or ())) for found in attributes(site).values()} == {
            tuple(sorted(name.lower() for name in CHOSEN))
        }
        assert "Another name" in attributes(site)
        # Another choice replaces the first one.
        await brought(site, ["scan"], datasets="all")
        assert attributes(site) == truth(site, ["scan"])
        await brought(site, "comp*")
        assert attributes(site) == truth(site, ["compdev", "compmax", "compmin", "compressing"])


async def test_a_point_that_cannot_be_read_keeps_its_attributes_and_costs_no_other(tmp_path: Path) -> None:
    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        denied, odd = (web_id_of(site, number) for number in (2, 3))
        if f"/points/{denied}/attributes" in target:
            return json_reply({"Errors": ["Access is denied."]}, 403)
        reply = as_before(real, target, more)
        if f"/points/{odd}/attributes" not in target:
            return reply
        items = [one for one in json.loads(reply.body())["Items"] if one["Name"] != "compdev"]
        bad = [None, 7, {"Name": None}, {"Name": "compdev", "Errors": ["It is broken."]}]
        return json_reply({"Items": [*bad, *items, {"Name": "scan", "Value": 9}]})

    async with served(tmp_path, elements=0) as site:
        await brought(site, ["compdev", "scan"])
        before = attributes(site)
        with changed_by(site, change):
            report = await brought(site, ["compdev", "scan", "zero"])
        found, wanted = attributes(site), truth(site, ["compdev", "scan", "zero"])
        third, fourth = list(wanted)[2:4]
        assert found[third] == before[third]
        assert found[fourth] == {"scan": "1", "zero": "0.0"}
        assert {name: one for name, one in found.items() if name not in {third, fourth}} == {
            name: one for name, one in wanted.items() if name not in {third, fourth}
        }
        said = {why for _, why in report.datasets["point_attributes"].unread}
        denied = "asking for the attributes of points: the server answered 403: Access is denied."
        assert said == {denied, "compdev: It is broken.", "an item of the list has no name"}
        assert {part for part, _ in report.datasets["point_attributes"].unread} == {"attributes of 1 point"}


async def test_a_name_that_no_point_has_is_said(tmp_path: Path) -> None:
    async with served(tmp_path, elements=0) as site:
        report = await brought(site, ["compdev", "colour"])
        assert report.datasets["point_attributes"].unread == (
            ("attribute 'colour'", "no point has an attribute of this name"),
        )
        assert attributes(site) == truth(site, ["compdev"])


async def test_attributes_of_points_are_not_asked_for_without_being_chosen(tmp_path: Path) -> None:
    async with served(tmp_path, elements=0) as site:
        await brought(site, None, datasets="all")
        assert not site.simulator.requests.sub_routes["points/*/attributes"]
        assert not site.simulator.requests.routes["points/*/attributes"]
        assert set(attributes(site).values()) == {None}


def test_values_are_text_as_they_were_sent() -> None:
    values = [0.1, 5, 5.0, True, None, "x", {"Name": "On", "Value": 1, "IsSystem": False}, [1, 2], 2**70]
    body = json.dumps({"Items": [{"Name": f"A{n}", "Value": value} for n, value in enumerate(values)]}).encode()
    found = decode_point_attributes(body, ("*",))
    texts = ["0.1", "5", "5.0", "true", None, "x", "On", "[1,2]", str(2**70)]
    assert found.texts == {f"a{n}": text for n, text in enumerate(texts)}
    assert found.unread == ()
    assert decode_point_attributes(b'{"Items": [{"Name": "a", "Value": NaN}]}', ("a",)).texts == {"a": "NaN"}
    for bad in (b"", b"[]", b'{"Items": 3}', b'{"Items": [], "WebException": {"Errors": ["Cut."]}}'):
        with pytest.raises(UnavailableError):
            decode_point_attributes(bad, ("*",))


# --- data servers -----------------------------------------------------------------


async def test_the_data_servers_have_their_rows_and_what_is_gone_is_marked(tmp_path: Path) -> None:
    extra = {"WebId": "F1DSother", "Name": "OTHER", "Path": "\\\\PIServers[OTHER]", "IsConnected": False}
    shown: list[Any] = [extra]

    def change(real: Answer, target: str, more: tuple[Any, ...]) -> Reply:
        reply = as_before(real, target, more)
        if "/dataservers?" not in target:
            return reply
        body = json.loads(reply.body())
        body["Items"] += shown
        return json_reply(body)

    async def look() -> dict[str, dict[str, Any]]:
        await brought(site, None, datasets="data_servers", data_server="SIMDA")
        return {row["name"]: row for row in stored(site, "pi_data_servers")}

    async with served(tmp_path, elements=0) as site:
        with changed_by(site, change):
            rows = await look()
            assert {name: row["is_connected"] for name, row in rows.items()} == {"SIMDA": True, "OTHER": False}
            assert rows["SIMDA"]["server_version"] == "3.4.440.477"
            assert rows["SIMDA"]["path"] == "\\\\PIServers[SIMDA]"
            assert rows["SIMDA"]["web_api_host"] == "127.0.0.1"
            version = version_of(tmp_path / "main/bronze/pi_data_servers")
            await look()
            assert version_of(tmp_path / "main/bronze/pi_data_servers") == version, "no change, no commit"
            # An item that cannot be read may be the one that is missing.
            shown[:] = [None, {"Errors": ["It is broken."]}, {"WebId": 3}]
            assert (await look())["OTHER"]["deleted_at"] is None
            shown[:] = []
            rows = await look()
            assert rows["OTHER"]["deleted_at"] is not None
            assert rows["SIMDA"]["deleted_at"] is None
            shown[:] = [extra, extra]
            assert (await look())["OTHER"]["deleted_at"] is None


async def test_a_run_of_everything_brings_the_data_servers(tmp_path: Path) -> None:
    async with served(tmp_path, elements=0) as site:
        report = await brought(site, None, datasets="all")
        assert report.status == "succeeded"
        assert is_table(tmp_path / "main/bronze/pi_data_servers")


def test_a_list_of_servers_is_read_item_by_item() -> None:
    good = {"WebId": "x", "Name": "A"}
    assert listed_servers(json.dumps({"Items": [good]}).encode())[1] is True
    servers, whole = listed_servers(json.dumps({"Items": [7, good, None]}).encode())
    assert ([one.Name for one in servers], whole) == (["A"], False)
    for bad in (b'{"Items": [7]}', b'{"Items": 7}', b"<html>"):
        with pytest.raises(UnavailableError):
            listed_servers(bad)
