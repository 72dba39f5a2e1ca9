"""Counts as they are asked for and answered: a number for every day, or none."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import (
    ExtractError,
    TagForbiddenError,
    TagGoneError,
    UnavailableError,
    UndecodableError,
)
from engine.datasets.counts import asks_for, packs
from engine.datasets.request_mode import Mode
from engine.model import Ask, Tag, Window
from engine.piweb import requests
from engine.piweb.counts import NO_DATA, NOT_COUNTED, days_of, decode_counts, decode_times
from engine.piweb.times import iso_text
from engine.piweb.wire import Shape
from engine.plan.tag_cursor import RequestLimits
from engine.plan.timeline import DAY, HOUR

MIDNIGHT = 1_709_596_800_000_000  # 2024-03-05T00:00:00Z
A, B = (Tag(f"I1DPcQo8XkQrbk-dEAx74aLzAQEgQAA{sign}", f"Unit1.{sign}") for sign in "AB")


def ask(tag: Tag = A, days: float = 3, start: int = MIDNIGHT) -> Ask:
    return Ask(tag, start, start + int(days * DAY), 3)


def item(day: int, value: object, kind: str = "Count", start: int = MIDNIGHT) -> dict:
    return {"Type": kind, "Value": {"Timestamp": iso_text(start + day * DAY), "Value": value, "Good": True}}


def body(*items: dict, **more: object) -> bytes:
    return json.dumps({"Links": {}, "Items": list(items), **more}).encode()


def days(content: bytes, asked: Ask | None = None) -> tuple[int, ...]:
    [found] = decode_counts(content, [asked or ask()], Shape.STREAM)
    assert found.error is None
    return found.days


def error(content: bytes, shape: Shape = Shape.STREAM) -> Exception | None:
    [found] = decode_counts(content, [ask()], shape)
    assert found.days == ()
    return found.error


def query(path: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(path).query)


def test_a_count_is_asked_for_in_days_of_24_hours_that_end_before_midnight():
    asked = query(requests.count(ask()).path)
    assert asked["summaryType"] == ["Count"]
    assert asked["calculationBasis"] == ["EventWeighted"]
    assert asked["summaryDuration"] == ["24h"], "1d would follow the clocks of the server"
    assert asked["startTime"] == ["2024-03-05T00:00:00Z"]
    assert asked["endTime"] == ["2024-03-07T23:59:59.9999999Z"]
    assert "summaryDuration" not in query(requests.count(ask(days=1)).path)
    assert query(requests.count(ask(), of_anything=True).path)["summaryType"] == ["AllForNonNumeric"]


def test_a_batch_and_a_streamset_ask_the_same():
    asks = [ask(A), ask(B)]
    sub = json.loads(requests.count_batch(asks, "https://pi.example/piwebapi").body or b"")
    assert sub["1"]["Resource"] == "https://pi.example/piwebapi" + requests.count(asks[1]).path
    together, alone = query(requests.count_streamset(asks).path), query(requests.count(asks[0]).path)
    assert together.pop("webId") == [A.web_id, B.web_id]
    assert together.pop("webIdType") == ["IDOnly"]
    assert together.pop("selectedFields") != alone.pop("selectedFields")
    assert together == alone


def test_a_number_for_every_day_in_any_order_and_other_summaries_left_out():
    assert days(body(item(0, 5), item(1, 0), item(2, 7.0))) == (5, 0, 7)
    mixed = (item(2, 7), item(0, 99.5, "PercentGood"), item(0, 5), item(1, 0))
    assert days(body(*mixed)) == (5, 0, 7)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ({"Name": "No Data", "Value": 248, "IsSystem": True}, NO_DATA),
        ({"Name": "Keine Daten", "Value": 248, "IsSystem": True}, NO_DATA),
        ({"Name": "Calc Failed", "Value": 249, "IsSystem": True}, NOT_COUNTED),
        ({"Errors": ["no"]}, NOT_COUNTED),
        (None, NOT_COUNTED), ("7", NOT_COUNTED), (True, NOT_COUNTED), (-1, NOT_COUNTED), (0.5, NOT_COUNTED),
        (2**31 - 1, 2**31 - 1), (2**31, NOT_COUNTED), (2**63, NOT_COUNTED), (10**500, NOT_COUNTED), (1e300, NOT_COUNTED),
        ({"Value": True}, NOT_COUNTED), ([7], NOT_COUNTED), ("\ud800", NOT_COUNTED),
    ],
)  # fmt: skip
def test_what_is_no_count_is_not_taken_for_one(value: object, count: int):
    assert days(body(item(0, 5), item(1, value), item(2, 7))) == (5, count, 7)


def test_bare_nan_and_missing_days_are_no_counts():
    assert days(body(item(0, 5), item(1, float("nan")), item(2, 7))) == (5, NOT_COUNTED, 7)
    assert days(body(item(2, 7))) == (NOT_COUNTED, NOT_COUNTED, 7)
    assert days(body()) == (NOT_COUNTED,) * 3


@given(
    st.integers(0, DAY - 1).map(lambda rest: MIDNIGHT + rest), st.lists(st.integers(0, 10**6), min_size=1, max_size=9)
)
def test_days_begin_where_the_ask_does_to_the_microsecond(start: int, counts: list[int]):
    asked = Ask(A, start, start + len(counts) * DAY - 1, 0)
    assert days_of(asked) == len(counts)
    assert days(body(*(item(n, count, start=start) for n, count in enumerate(counts))), asked) == tuple(counts)


@pytest.mark.parametrize(
    "stamp",
    ["2024-03-05T01:00:00Z", "2024-03-04T00:00:00Z", "2024-03-09T00:00:00Z", "2024-03-05T00:00:00.0000001Z", "soon",
     "\ud800", "9" * 5_000],
)  # fmt: skip
def test_a_server_that_cuts_other_days_is_not_understood(stamp: str):
    wrong = {"Type": "Count", "Value": {"Timestamp": stamp, "Value": 1}}
    found = error(body(wrong))
    assert isinstance(found, UndecodableError)
    assert str(found).isprintable()


def test_a_count_of_what_follows_the_ask_is_left_out():
    """A server that rounds the end to the next midnight has one day more to count."""
    assert days(body(item(0, 5), item(1, 0), item(2, 7), item(3, 1))) == (5, 0, 7)


def test_a_start_between_two_minutes_may_be_rounded():
    start = MIDNIGHT + 10 * HOUR + 31_000_001
    for stamp in (start // 1_000_000 * 1_000_000, (start // 60_000_000 + 1) * 60_000_000):
        figure = {"Type": "Count", "Value": {"Timestamp": iso_text(stamp), "Value": 4}}
        assert days(body(figure), Ask(A, start, MIDNIGHT + DAY, 1)) == (4,)


ODD = [
    5, "no", [], None, True, {}, {"Items": 5}, {"Items": [5]}, {"Items": [{"Type": 7, "Value": {"Timestamp": "x"}}]},
    {"Items": [{"Value": None}]}, {"Items": [{"Value": {"Timestamp": None}}]}, {"Items": {"0": 1}},
    {"Items": [], "WebException": {"StatusCode": 2**70}}, {"Items": [], "WebException": "\ud800"},
    {"Errors": ["\ud800" * 9]}, {"Errors": {"a": {"b": []}}}, {"Items": None, "Message": 7},
    {"Items": [{"Value": {"Timestamp": "2024-03-05T00:00:00+99:99", "Value": 1}}]},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_the_others_are_counted_for_any_answer_to_one_tag(odd: object):
    right = json.loads(body(item(0, 1), item(1, 2), item(2, 3)))
    parts = {str(n): {"Status": 200, "Content": content} for n, content in enumerate([right, odd, right])}
    found = decode_counts(json.dumps(parts).encode(), [ask()] * 3, Shape.BATCH)
    assert [each.days for each in found] == [(1, 2, 3), (), (1, 2, 3)]
    assert isinstance(found[1].error, ExtractError)
    assert str(found[1].error).encode()
    if isinstance(odd, dict):
        streams = [{**odd, "WebId": A.web_id}, {**right, "WebId": B.web_id}]
        [one, other] = decode_counts(json.dumps({"Items": streams}).encode(), [ask(A), ask(B)], Shape.STREAMSET)
        assert isinstance(one.error, ExtractError)
        assert other.days == (1, 2, 3)


@pytest.mark.parametrize(
    "part",
    [5, [], {"Status": "200"}, {"Status": 2**70}, {"Status": 503, "Headers": {"Date": "\ud800", "Retry-After": "x"}}],
)
def test_a_part_of_a_batch_that_is_none_is_its_tags_error(part: object):
    right = {"Status": 200, "Content": json.loads(body(item(0, 1), item(1, 2), item(2, 3)))}
    found = decode_counts(json.dumps({"0": part, "1": right}).encode(), [ask()] * 2, Shape.BATCH)
    assert isinstance(found[0].error, ExtractError)
    assert found[1].days == (1, 2, 3)


def test_a_stray_byte_in_one_tag_leaves_the_counts_of_the_others():
    right = body(item(0, 1), item(1, 2), item(2, 3)).decode()
    raw = f'{{"0":{{"Status":200,"Content":{right}}},"1":{{"Status":404,"Content":{{"Errors":["\xff"]}}}}}}'
    found = decode_counts(raw.encode("latin-1"), [ask()] * 2, Shape.BATCH)
    assert found[0].days == (1, 2, 3)
    assert isinstance(found[1].error, TagGoneError)


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["Items", "Value", "Timestamp", "Status", "Content", "0", "WebId", "Errors", "WebException"]), inner
    ),
    max_leaves=12,
).map(lambda made: json.dumps(made).encode()), st.sampled_from(Shape))  # fmt: skip
def test_any_bytes_bring_counts_or_our_errors(content: bytes, shape: Shape):
    for decode in (decode_counts, decode_times):
        try:
            found = decode(content, [ask()], shape)
        except UnavailableError:
            continue
        assert len(found) == 1
        assert found[0].error is None or isinstance(found[0].error, ExtractError)


def test_refusals_of_one_tag_are_its_own():
    parts = {"0": {"Status": 200, "Content": json.loads(body(item(0, 1), item(1, 2), item(2, 3)))}}
    refusals = [(404, TagGoneError), (403, TagForbiddenError), (503, UnavailableError)]
    for number, (status, _) in enumerate(refusals, start=1):
        parts[str(number)] = {"Status": status, "Headers": {}, "Content": {"Errors": ["no"]}}
    found = decode_counts(json.dumps(parts).encode(), [ask()] * 5, Shape.BATCH)
    assert found[0].days == (1, 2, 3)
    assert [type(each.error) for each in found[1:4]] == [kind for _, kind in refusals]
    assert isinstance(found[4].error, UnavailableError), "a part that is missing may come another time"


def test_streams_of_a_set_are_matched_by_their_web_ids():
    streams = [{"WebId": tag.web_id, "Items": [item(0, n)]} for n, tag in ((2, B), (1, A))]
    content = json.dumps({"Items": streams}).encode()
    found = decode_counts(content, [ask(A, 1), ask(B, 1)], Shape.STREAMSET)
    assert [each.days for each in found] == [(1,), (2,)]
    [missing] = decode_counts(content, [ask(Tag("I1DPother", "other"))], Shape.STREAMSET)
    assert isinstance(missing.error, UnavailableError)


def test_a_stream_that_broke_off_or_failed_gives_no_counts():
    broken = body(item(0, 5), WebException={"StatusCode": 500, "Errors": ["cut"]})
    assert isinstance(error(broken), UnavailableError)
    assert error(b'{"Errors": ["nothing for you"]}') is not None
    assert isinstance(error(b'{"0": {"Status": 200, "Content": {"Items": 5}}}', Shape.BATCH), UndecodableError)
    with pytest.raises(UnavailableError):
        decode_counts(b'{"Items": [{"Type": "Cou', [ask()], Shape.STREAM)


@given(st.integers(0, 40 * 24), st.integers(1, 40 * 24), st.integers(1, 9))
def test_asks_cover_a_window_and_whole_days_are_days_of_utc(start: int, length: int, most: int):
    window = Window(MIDNIGHT + start * HOUR, MIDNIGHT + (start + length) * HOUR)
    asks = list(asks_for(A, window, RequestLimits(max_count_per_tag=most)))
    assert [a.start for a in asks] == [window.start, *(a.end for a in asks[:-1])]
    assert asks[-1].end == window.end
    assert all(a.start % DAY == 0 or a.end <= -(-a.start // DAY) * DAY for a in asks)
    assert all(0 < a.max_count == days_of(a) <= most for a in asks)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 50), st.integers(1, 40)), max_size=60),
    st.integers(1, 20), st.integers(1, 100), st.sampled_from(Mode),
)  # fmt: skip
def test_a_request_keeps_the_limits_and_every_ask_goes_once(wanted, tags: int, values: int, mode: Mode):
    limits = RequestLimits(tags_per_request=tags, values_per_answer=values)
    asks = [Ask(Tag(f"I1DP{n:028}", "t"), s * DAY, (s + d) * DAY, d) for n, (_, s, d) in enumerate(wanted)]
    found = list(packs(asks, limits, mode))
    assert sorted(a.tag.web_id for pack in found for a in pack) == [a.tag.web_id for a in asks]
    for pack in found:
        assert 0 < len(pack) <= (1 if mode is Mode.SINGLE else tags)
        assert len(pack) == 1 or sum(a.max_count for a in pack) <= values
        if mode is Mode.STREAMSET:
            assert len({(a.start, a.end) for a in pack}) == 1
