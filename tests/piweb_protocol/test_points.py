"""Points and data servers, out of the server's lists."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UnavailableError
from engine.model import Tag
from engine.piweb.paging import PageLinks
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
    assert not {"first_seen", "last_seen", "deleted_at", "replaces"} & set(found.rows.schema.names)
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
        }
    ]


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ({"Links": {"First": "x", "Next": "https://sim/next"}}, PageLinks.NEXT),
        ({"Links": {"Next": "https://sim/next"}}, PageLinks.NEXT),
        ({"Links": {"First": "x"}}, PageLinks.NO_NEXT),
        ({"Links": {}}, PageLinks.EMPTY),
        ({"Links": None}, PageLinks.ABSENT),
        ({}, PageLinks.ABSENT),
    ],
)
@pytest.mark.parametrize("odd", [{}, {"Span": "wide"}])
def test_what_the_links_of_a_page_say_is_kept_apart_from_what_they_do_not_say(
    links: dict[str, Any], said: PageLinks, odd: dict[str, Any]
) -> None:
    found = decode_page(page(point(1), point(2, **odd), **links))
    assert (found.count, found.links) == (2, said)
    assert found.keys == tuple(tag.web_id for tag in found.tags)


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


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"Items":[{"WebId"', b"[]", b"{}", b'{"Items":null}', b'{"Links":{}}']
)
def test_a_list_that_cannot_be_read_is_no_empty_list(body: bytes) -> None:
    with pytest.raises(UnavailableError, match="list of points cannot be read"):
        decode_page(body)


def test_a_page_that_broke_off_is_no_page() -> None:
    broken = {"WebException": {"Errors": ["writing failed"], "StatusCode": 500}}
    with pytest.raises(UnavailableError, match="broke off: writing failed"):
        decode_page(page(point(1), Links={}, **broken))
    with pytest.raises(UnavailableError, match="broke off: too much"):
        decode_page(page(point(1), Links={}, Errors=["too much"]))
    assert len(decode_page(page(point(1), Links={}, WebException=None)).tags) == 1


DENIED = {"WebException": {"Errors": ["Security read access denied."], "StatusCode": 403}}


@pytest.mark.parametrize(
    ("item", "name", "why"),
    [
        ({"WebId": "F1DPx", **DENIED}, "F1DPx", r"an error in its place \(403\): Security read access denied"),
        ({"WebId": "F1DPx", "Name": None, "Exception": {"Errors": ["Gone."]}}, "F1DPx", "error in its place: Gone"),
        ({"Name": "Lost", "Errors": ["No WebID."]}, "Lost", "error in its place: No WebID"),
        ({"WebException": {"StatusCode": 500}}, "item 12 of the list of points", r"an error in its place \(500\)$"),
        (
            {"WebException": {"StatusCode": "odd", "Errors": 7}},
            "item 12 of the list of points",
            "an error in its place$",
        ),
        (None, "item 12 of the list of points", "no point in its place"),
        (["x"], "item 12 of the list of points", "no point in its place"),
        ({"WebId": "F1DPx"}, "F1DPx", "no name that can be used"),
        ({"WebId": "F1DPx", "Name": ""}, "F1DPx", "no name that can be used"),
        ({"WebId": "F1DPx", "Name": {"a": 1}}, "F1DPx", "no name that can be used"),
        ({"Name": "no id"}, "no id", "no WebID that can be used"),
        ({"WebId": 7, "Name": "number"}, "number", "no WebID that can be used"),
        ({"WebId": "F1\ud800", "Name": "half"}, "half", "no WebID that can be used"),
        ({"WebId": "F1\ud800"}, "F1\ufffd", "no WebID that can be used"),
    ],
)
def test_an_item_that_is_no_point_is_named_and_costs_no_other(item: Any, name: str, why: str) -> None:
    found = decode_page(page(point(1), item, point(2)), start=10)
    assert [tag.name for tag in found.tags] == ["Unit1.Flow1", "Unit1.Flow2"]
    [(label, reason)] = found.failures
    assert label == name
    assert re.search(why, reason)
    assert found.count == 3


@pytest.mark.parametrize(
    ("field", "value", "column", "expected"),
    [
        ("Span", "100", "span", 100.0),
        ("Span", "wide", "span", None),
        ("Span", 10**400, "span", math.inf),
        ("Zero", [1], "zero", None),
        ("Zero", True, "zero", None),
        ("Future", "False", "future", False),
        ("Future", "TRUE", "future", True),
        ("Step", 1, "step", True),
        ("Step", "perhaps", "step", None),
        ("Descriptor", 5, "descriptor", "5"),
        ("Descriptor", {"en": "flow"}, "descriptor", None),
        ("EngineeringUnits", "m\ud800", "engineering_units", "m\ufffd"),
        ("PointType", "\udc00", "point_type", "\ufffd"),
        ("Path", 3.5, "data_server", None),
    ],
)
def test_a_field_of_an_odd_type_costs_no_point(field: str, value: Any, column: str, expected: Any) -> None:
    found = decode_page(page(point(1, **{field: value}), point(2)))
    assert [tag.name for tag in found.tags] == ["Unit1.Flow1", "Unit1.Flow2"]
    assert found.rows.to_pylist()[0][column] == expected
    assert found.rows.to_pylist()[1]["span"] == 100.0
    assert found.failures == ()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()), st.lists, max_leaves=5
    )
)
@pytest.mark.parametrize("field", ["WebId", "Name", "Span", "Future", "Path", "WebException"])
def test_the_others_are_read_for_any_content_of_a_field(field: str, value: Any) -> None:
    found = decode_page(page(point(1), point(2, **{field: value})))
    assert found.tags[0].name == "Unit1.Flow1"
    assert len(found.tags) + len(found.failures) == 2
    for name, why in found.failures:
        (name + why).encode()


@pytest.mark.parametrize(
    ("wrong", "gone"),
    [
        ({"Errors": ["PI Point not found 'x'."]}, True),
        ({"Errors": ["Unknown or invalid WebID format or a PI Point not found."]}, True),
        ({"Errors": ["whatever"], "StatusCode": 404}, True),
        ({"Errors": ["Security read access denied."], "StatusCode": 403}, False),
        ({"Errors": ["PI Point not found: [-10401] No Read Access - Secure Object"]}, False),
        ({"Errors": ["The server is not available."], "StatusCode": 503}, False),
        ({"Errors": ["PI Point not found"], "StatusCode": 502}, False),
        ({"Errors": []}, False),
        (None, False),
        (["PI Point not found 'x'."], True),
    ],
)
def test_only_a_server_that_says_so_makes_a_point_gone(wrong: Any, gone: bool) -> None:
    found = decode_multiple(page({"Identifier": "I1DPx", "Object": None, "Exception": wrong}), ["I1DPx", "I1DPy"])
    assert found.gone == (frozenset({"I1DPx"}) if gone else frozenset())
    assert [name for name, _ in found.failures] == ["I1DPx", "I1DPy"]


@pytest.mark.parametrize("odd", [None, 7, {"Identifier": None}, {"Object": {"WebId": "I1DPz", "Span": "x"}}])
def test_an_odd_item_of_a_lookup_costs_no_other(odd: Any) -> None:
    body = page(odd, {"Identifier": "I1DPx", "Object": point(1, Span="100"), "Exception": None})
    assert [tag.name for tag in decode_multiple(body, ["I1DPx"]).tags] == ["Unit1.Flow1"]


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
