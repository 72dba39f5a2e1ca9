"""What goes over the wire, to the character."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SplitError
from engine.model import Ask, Tag
from engine.piweb import requests
from engine.piweb.http import Request
from tests.piweb_protocol.piweb_answers import END, START, ask, at, tag


def query_of(request: Request) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.path).query, strict_parsing=True)


def test_a_stream_is_asked_for_its_half_open_window() -> None:
    request = requests.stream(ask(max_count=500))
    assert request.path == (
        f"/streams/{tag().web_id}/recorded"
        "?startTime=2024-03-05T10:00:00Z&endTime=2024-03-05T10:59:59.9999999Z&boundaryType=Inside&maxCount=500"
        "&selectedFields=Items.Timestamp%3BItems.Value%3BItems.Good%3BItems.Questionable%3BItems.Substituted"
        "%3BItems.Annotated%3BItems.Errors%3BItems.WebException%3BUnitsAbbreviation%3BErrors%3BWebException"
    )
    assert (request.method, request.body, request.safe) == ("GET", None, True)


def test_a_window_bound_keeps_its_microseconds() -> None:
    one = Ask(tag(), at("10:00:00.000001"), at("10:00:00.000002"), 1)
    query = query_of(requests.stream(one))
    assert query["startTime"] == ["2024-03-05T10:00:00.000001Z"]
    assert query["endTime"] == ["2024-03-05T10:00:00.0000019Z"]


def test_a_batch_holds_one_get_for_each_ask_in_order() -> None:
    asks = [ask(n, max_count=n + 1) for n in range(12)]
    request = requests.batch(asks, "https://pi.example/piwebapi/")
    assert (request.method, request.path, request.safe) == ("POST", "/batch", True)
    body = json.loads(request.body or b"")
    assert list(body) == [str(n) for n in range(12)]
    for one, sub in zip(asks, body.values(), strict=True):
        assert sub == {"Method": "GET", "Resource": "https://pi.example/piwebapi" + requests.stream(one).path}


def test_a_batch_no_server_would_take_says_to_split() -> None:
    with pytest.raises(SplitError):
        requests.batch([ask()] * 20_000, "https://pi.example/piwebapi")
    assert len(requests.batch([ask()] * 5_000, "https://pi.example/piwebapi").body or b"") <= requests.MAX_BATCH_BYTES


class TestStreamset:
    def test_names_all_tags_and_the_form_of_their_webids(self) -> None:
        query = query_of(requests.streamset([ask(n) for n in range(3)]))
        assert query["webId"] == [tag(n).web_id for n in range(3)]
        assert query["webIdType"] == ["IDOnly"]
        assert query["maxCount"] == ["1000"]
        fields = query["selectedFields"][0].split(";")
        assert {
            "Items.WebId",
            "Items.Items.Timestamp",
            "Items.Items.Errors",
            "Items.WebException",
            "WebException",
        } <= set(fields)

    def test_holds_what_fits_into_a_url(self) -> None:
        asks = [ask(n) for n in range(500)]
        room = requests.streamset_capacity(asks)
        assert 150 < room < 250
        assert len(requests.streamset(asks[:room]).path) <= requests.MAX_PATH_CHARS
        with pytest.raises(ValueError, match="one streamset"):
            requests.streamset(asks[: room + 1])

    def test_is_of_one_window_count_form_and_no_tag_twice(self) -> None:
        first = ask(0)
        full = Ask(Tag("F1DP" + tag(1).web_id[4:], "x"), START, END, first.max_count)
        for other in (ask(1, max_count=5), ask(1, end=END + 1), ask(1, start=START + 1), full, ask(0)):
            assert requests.streamset_capacity([first, other, ask(2)]) == 1
        assert requests.streamset_capacity([first, ask(1)]) == 2
        assert requests.streamset_capacity([]) == 0

    def test_of_webid_1_asks_for_no_form(self) -> None:
        old = Ask(Tag("P0abcdefghijklmnopqrst", "x"), START, END, 10)
        assert "webIdType" not in query_of(requests.streamset([old]))


class TestInventory:
    def test_a_page_of_points(self) -> None:
        request = requests.points_page("S1", name_filter="Unit?.*#&+", start_index=3000, max_count=10)
        assert request.path.startswith(
            "/dataservers/S1/points?nameFilter=Unit%3F.*%23%26%2B&startIndex=3000&maxCount=10&"
        )
        assert query_of(request)["webIdType"] == ["IDOnly"]

    def test_special_characters_of_a_path_are_encoded(self) -> None:
        path = "\\\\SRV\\a b#c&d+e%f;g?h/ü"
        [(request, _)] = requests.points_by_path([path])
        assert "path=%5C%5CSRV%5Ca%20b%23c%26d%2Be%25f%3Bg%3Fh%2F%C3%BC" in request.path
        assert query_of(request)["path"] == [path]

    @given(st.lists(st.text(min_size=1, max_size=300), max_size=60))
    def test_lookups_name_each_identifier_once_within_the_budget(self, paths: list[str]) -> None:
        asked: list[str] = []
        for request, chunk in requests.points_by_path(paths):
            assert len(request.path) <= requests.MAX_PATH_CHARS or len(chunk) == 1
            assert query_of(request)["path"] == list(chunk)
            asked += chunk
        assert asked == paths

    def test_lookups_by_webid_fill_the_url(self) -> None:
        web_ids = [tag(n).web_id for n in range(1000)]
        chunks = list(requests.points_by_web_id(web_ids))
        assert len(chunks) == 6
        assert all(dict(parse_qsl(urlsplit(request.path).query))["includeMode"] == "All" for request, _ in chunks)

    def test_the_rest_is_plain(self) -> None:
        assert requests.home() == Request("GET", "/")
        assert requests.system().path == "/system?selectedFields=ProductTitle%3BProductVersion"
        assert unquote(requests.data_servers().path).startswith("/dataservers?selectedFields=Items.WebId;Items.Name")
