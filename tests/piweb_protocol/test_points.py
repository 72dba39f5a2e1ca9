"""Points and data servers, out of the server's lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from config.errors import UnavailableError
from engine.model import Tag
from engine.piweb.points import TAGS_SCHEMA, data_servers, decode_multiple, decode_page, decode_point


def point(n: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "WebId": f"I1DPcQo8XkQrbk-dEAx74aLzAQ{n:06d}",
        "Id": n,
        "Name": f"Unit1.Flow{n}",
        "Path": f"\\\\SIMDA\\Unit1.Flow{n}",
        "Descriptor": "Feed flow",
        "PointClass": "classic",
        "PointType": "Float32",
        "DigitalSetName": "",
        "EngineeringUnits": "m3/h",
        "Span": 100.0,
        "Zero": 0,
        "Step": False,
        "Future": False,
        "DisplayDigits": -5,
        "Links": {},
        **more,
    }


def page(*items: Any, **more: Any) -> bytes:
    return json.dumps({"Items": list(items), **more}).encode()


def test_a_point_becomes_a_tag_and_a_row() -> None:
    found = decode_page(page(point(1)))
    assert found.tags == (Tag("I1DPcQo8XkQrbk-dEAx74aLzAQ000001", "Unit1.Flow1", "m3/h", "Float32"),)
    assert found.rows.schema == TAGS_SCHEMA
    assert not {"first_seen", "last_seen", "deleted_at"} & set(found.rows.schema.names)
    assert found.rows.to_pylist() == [
        {
            "tag_webid": "I1DPcQo8XkQrbk-dEAx74aLzAQ000001",
            "name": "Unit1.Flow1",
            "path": "\\\\SIMDA\\Unit1.Flow1",
            "descriptor": "Feed flow",
            "point_type": "Float32",
            "point_class": "classic",
            "engineering_units": "m3/h",
            "digital_set": "",
            "span": 100.0,
            "zero": 0.0,
            "step": False,
            "future": False,
            "data_server": "SIMDA",
            "attributes": None,
        }
    ]


@pytest.mark.parametrize(
    ("links", "items", "more"),
    [
        ({"Links": {"Next": "https://sim/next"}}, 2, True),
        ({"Links": {}}, 2, False),
        ({"Links": {"First": "x"}}, 2, False),
        ({}, 2, True),
        ({}, 0, False),
        ({"Links": {"Next": "https://sim/next"}}, 0, False),
    ],
)
def test_pages_go_on_until_no_link_or_nothing_more(links: dict[str, Any], items: int, more: bool) -> None:
    found = decode_page(page(*(point(n) for n in range(items)), **links))
    assert (len(found.tags), found.more) == (items, more)


def test_what_may_be_missing_may_be_missing() -> None:
    found = decode_page(
        page({"WebId": "I1DPx", "Name": "x"}, {"WebId": "I1DPy", "Name": "y", "Path": None, "Span": None})
    )
    assert [tag.units for tag in found.tags] == ["", ""]
    assert [row["data_server"] for row in found.rows.to_pylist()] == [None, None]


@pytest.mark.parametrize("nan", [b"NaN", b'"NaN"'])
def test_a_list_that_is_not_quite_json_is_read_all_the_same(nan: bytes) -> None:
    body = page(point(1, Span="HERE", Descriptor="\ud800x")).replace(b'"HERE"', nan)
    [row] = decode_page(body).rows.to_pylist()
    assert row["span"] != row["span"]
    assert row["descriptor"] == "\ufffdx"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"Items":[{"WebId"', b"[]", b'{"Items":[{"Name":"no id"}]}'])
def test_a_list_that_cannot_be_read_is_no_empty_list(body: bytes) -> None:
    with pytest.raises(UnavailableError, match="list of points cannot be read"):
        decode_page(body)


def test_a_page_that_broke_off_is_no_page() -> None:
    broken = {"WebException": {"Errors": ["writing failed"], "StatusCode": 500}}
    with pytest.raises(UnavailableError, match="broke off: writing failed"):
        decode_page(page(point(1), Links={}, **broken))
    assert len(decode_page(page(point(1), Links={}, WebException=None)).tags) == 1


def test_a_lookup_gives_points_and_reasons() -> None:
    found = decode_multiple(
        page(
            {"Identifier": "\\\\SIMDA\\Unit1.Flow1", "IdentifierType": "Path", "Object": point(1), "Exception": None},
            {"Identifier": "\\\\SIMDA\\Nope", "Object": None, "Exception": {"Errors": ["PI Point not found 'Nope'."]}},
            {"Identifier": "\\\\SIMDA\\Mute", "Object": None, "Exception": None},
        ),
        ["\\\\simda\\unit1.flow1", "\\\\SIMDA\\Nope", "\\\\SIMDA\\Mute", "\\\\SIMDA\\Lost"],
    )
    assert [tag.name for tag in found.tags] == ["Unit1.Flow1"]
    assert dict(found.failures) == {
        "\\\\SIMDA\\Nope": "PI Point not found 'Nope'.",
        "\\\\SIMDA\\Mute": "the server does not say why",
        "\\\\SIMDA\\Lost": "the answer holds nothing for it",
    }


def test_one_point() -> None:
    assert [tag.name for tag in decode_point(json.dumps(point(7)).encode()).tags] == ["Unit1.Flow7"]


def test_data_servers() -> None:
    [server] = data_servers(page({"WebId": "I1DSx", "Name": "SIMDA", "IsConnected": True, "ServerVersion": "3.4"}))
    assert (server.WebId, server.Name, server.IsConnected) == ("I1DSx", "SIMDA", True)
