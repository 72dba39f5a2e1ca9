"""Stream updates on the wire: what is asked, and how answers of every kind are read."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UnavailableError
from engine.piweb.http import Response
from engine.piweb.requests import MAX_PATH_CHARS
from engine.piweb.updates import (
    Registration,
    Retrieval,
    decode_registrations,
    decode_retrievals,
    is_too_long,
    is_unsupported,
    registrations,
    retrievals,
)

MARKER = "a1b2c3d4e5f60718293a4b5c6d7e8f90_0"
NEXT = "a1b2c3d4e5f60718293a4b5c6d7e8f90_2"
TEN = 1_709_632_800_000_000  # 2024-03-05T10:00:00Z


def web_id(n: int) -> str:
    return f"I1DPcQo8XkQrbk-dEAx74aLzAQ{n:06d}"


def answer(*items: Any, **more: Any) -> bytes:
    return json.dumps({"Links": {}, "Items": list(items), **more}).encode()


def query(path: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(path).query)


def item(**more: Any) -> dict[str, Any]:
    return {
        "RequestedMarker": MARKER,
        "LatestMarker": NEXT,
        "Status": "Updated",
        "Events": [],
        "Exception": None,
    } | more


def event(action: Any, timestamp: Any, **more: Any) -> dict[str, Any]:
    return {
        "Action": action,
        "PreviousEventAction": "PreviousEventArchived",
        "Timestamp": timestamp,
        "Value": 1,
        **more,
    }


def retrieved(*items: Any) -> Retrieval:
    (found,) = decode_retrievals(answer(*items), [MARKER])
    return found


# --- what is asked ---------------------------------------------------------------


def test_signing_up_names_the_tags_and_the_form_they_come_back_in():
    (one,) = registrations([web_id(1), web_id(2)])
    request, named = one
    assert (request.method, request.body, request.safe) == ("POST", None, True)
    assert request.path.startswith("/streamsets/updates?")
    assert query(request.path) == [
        ("selectedFields", "Items.Source;Items.LatestMarker;Items.Status;Items.Exception"),
        ("webIdType", "IDOnly"),
        ("webId", web_id(1)),
        ("webId", web_id(2)),
    ]
    assert list(named) == [web_id(1), web_id(2)]


def test_asking_names_the_markers_and_is_not_repeated():
    ((request, named),) = retrievals([MARKER, "odd&marker=+"])
    assert (request.method, request.safe) == ("GET", False)
    assert query(request.path)[1:] == [("marker", MARKER), ("marker", "odd&marker=+")]
    assert list(named) == [MARKER, "odd&marker=+"]
    assert "Value" not in request.path


def test_forms_of_web_ids_do_not_share_a_request():
    full = "F1DPcQo8XkQrbk-dEAx74aLzAQEgQAAAU0lNREFcVU5JVDEuRkxPVw"
    old = "P0cQo8XkQrbk-dEAx74aLzAQEgQAAAU0lNREFcVU5JVDEuRkxPVw"
    asked = [
        (dict(query(request.path)).get("webIdType"), list(named))
        for request, named in registrations([web_id(1), full, old, web_id(2)])
    ]
    assert sorted(asked, key=str) == [("Full", [full]), ("IDOnly", [web_id(1), web_id(2)]), (None, [old])]


@given(st.lists(st.text("aZ09_-&/é", min_size=1, max_size=600), max_size=250, unique=True), st.integers(1, 120))
def test_every_marker_is_asked_once_in_sets_a_url_can_hold(markers, most):
    found = list(retrievals(markers, most=most))
    assert [marker for _, named in found for marker in named] == markers
    for request, named in found:
        assert 1 <= len(named) <= most
        assert len(request.path) <= MAX_PATH_CHARS
        assert [text for name, text in query(request.path) if name == "marker"] == list(named)


def test_thirty_thousand_tags_are_three_hundred_requests():
    web_ids = [web_id(n) for n in range(30_000)]
    assert [len(named) for _, named in registrations(web_ids)] == [100] * 300
    assert len(list(retrievals([f"{n:032x}_{n}" for n in range(30_000)]))) == 300


# --- signing up --------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Succeeded", "Succeded", "AlreadyRegistered", "succeeded"])
def test_a_tag_that_is_signed_up_has_a_marker(status):
    body = answer({"Source": web_id(1), "LatestMarker": MARKER, "Status": status, "Exception": None})
    assert decode_registrations(body, [web_id(1)]) == [Registration(web_id(1), MARKER)]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"LatestMarker": "", "Status": "Failed", "Exception": {"Errors": ["PI Point not found."]}}, "PI Point not found."),
        ({"LatestMarker": MARKER, "Status": "Postponed"}, "the server says 'Postponed' and not why"),
        ({"LatestMarker": MARKER}, "the server says 'None' and not why"),
        ({"LatestMarker": "", "Status": "Succeeded"}, "the server gives no marker"),
        ({"Status": "AlreadyRegistered", "LatestMarker": None}, "the server gives no marker"),
        ({"Status": "Succeeded", "LatestMarker": 17}, "the answer holds nothing for it"),
    ],
)  # fmt: skip
def test_everything_else_is_a_failure_with_a_reason(found, reason):
    body = answer({"Source": web_id(1), **found}, {"Source": web_id(2), "LatestMarker": MARKER, "Status": "Succeeded"})
    assert decode_registrations(body, [web_id(1), web_id(2), web_id(3)]) == [
        Registration(web_id(1), reason=reason),
        Registration(web_id(2), MARKER),
        Registration(web_id(3), reason="the answer holds nothing for it"),
    ]


# --- asking ------------------------------------------------------------------------


def test_messages_are_actions_and_whole_microseconds():
    found = retrieved(
        item(
            Events=[
                event("Add", "2024-03-05T10:00:00Z"),
                event("Insert", "2024-03-05T10:00:00.0000019Z", Value={"Name": "Bad", "Value": 307}, Good=False),
                event("Delete", "2024-03-05T12:00:00.0000001+02:00", Errors=[{"FieldName": "Value"}]),
                event("Refresh", "1601-01-01T00:00:00Z"),
                event("Whatever", "9999-12-31T23:59:59.9999999Z"),
                event(None, "2024-03-05T10:00:00Z"),
            ]
        )
    )
    assert (found.marker, found.reason) == (NEXT, "")
    assert [(action, at) for action, at in found.messages] == [
        ("Add", TEN),
        ("Insert", TEN + 1),
        ("Delete", TEN),
        ("Refresh", -11_644_473_600_000_000),
        ("Whatever", 253_402_300_799_999_999),
        ("", TEN),
    ]


@pytest.mark.parametrize("events", [[], None])
def test_nothing_happened(events):
    assert retrieved(item(Events=events, LatestMarker=MARKER)) == Retrieval(MARKER, MARKER)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (item(Status="Failed", LatestMarker="", Exception={"Errors": ["The cache was not found."]}), "The cache was not found."),
        (item(Status="Failed", Exception=None), "the server says 'Failed' and not why"),
        (item(Status="Succeeded"), "the server says 'Succeeded' and not why"),
        (item(Exception={"Errors": ["The signup was updated."]}), "The signup was updated."),
        (item(LatestMarker=""), "the server gives no marker"),
        (item(RequestedMarker="another"), "the answer holds nothing for it"),
        (item(Events=[event("Add", "yesterday")]), "a message has no time that can be read"),
        (item(Events=[event("Add", "2024-03-05T10:00:00")]), "a message has no time that can be read"),
        (item(Events=[event(0, "2024-03-05T10:00:00Z")]), "the answer holds nothing for it"),
        (item(Events=[{"Action": "Add"}]), "the answer holds nothing for it"),
        ("text", "the answer holds nothing for it"),
    ],
)  # fmt: skip
def test_a_marker_that_brings_nothing_certain_is_lost_alone(found, reason):
    good = item(RequestedMarker="second", LatestMarker="third", Events=[event("Add", "2024-03-05T10:00:00Z")])
    assert decode_retrievals(answer(found, good), [MARKER, "second"]) == [
        Retrieval(MARKER, reason=reason),
        Retrieval("second", "third", (("Add", TEN),)),
    ]


def test_an_exception_without_words_is_none():
    assert retrieved(item(Exception={"Errors": []})).marker == NEXT


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"Errors":["no"]}', b'{"Items":', b"[]", b'{"Items":null}', b"\xff"]
)
@pytest.mark.parametrize("decode", [decode_registrations, decode_retrievals])
def test_what_is_no_answer_at_all_is_said_to_be_unreadable(body, decode):
    with pytest.raises(UnavailableError, match="stream updates cannot be read"):
        decode(body, [MARKER])


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b'{"Message":"No HTTP resource was found that matches the request URI."}', True),
        (404, b"<html>not here</html>", True),
        (404, b"", True),
        (404, b'{"Errors":["PI Point not found."]}', False),
        (405, b'{"Message":"The requested resource does not support http method \'POST\'."}', True),
        (501, b"", True),
        (403, b'{"Errors":["Writes are disabled."]}', True),
        (403, b'{"Errors":["Access denied."]}', False),
        (400, b'{"Errors":["Invalid webId."]}', False),
        (200, b'{"Items":[]}', False),
    ],
)
def test_a_server_without_the_feature_is_told_from_a_tag_that_is_not_there(status, body, expected):
    assert is_unsupported(Response(status, body)) is expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [(414, b"", True), (431, b"", True), (400, b" <h2>Bad Request - Request Too Long</h2>", True), (400, b'{"Errors":[]}', False), (404, b"<", False)],
)  # fmt: skip
def test_a_url_that_was_too_long_is_recognised(status, body, expected):
    assert is_too_long(Response(status, body)) is expected
