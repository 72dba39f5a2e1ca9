"""How series on a grid are asked for, and what their answers mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import TagUnsupportedError, UnavailableError
from engine.datasets.sampled import SampledSource, series_id, series_of_tag
from engine.model import Ask, DecodedAnswer, Sampling, Tag
from engine.piweb.decode import decode
from engine.piweb.requests import stream_call, stream_calls, streamset_call, streamset_calls_capacity
from engine.piweb.sampled import calls_of, decode_sampled
from engine.piweb.wire import Shape

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_709_596_800 * SECOND  # 2024-03-05T00:00:00Z
BASE = "https://pi.example.com/piwebapi"


def ask(kind: str, web_id: str = "P1", *, start: int = START, end: int = START + 30 * MINUTE, count: int = 100) -> Ask:
    interval = 10 * MINUTE
    sampling = Sampling(web_id, kind, interval, 0 if kind == "interpolated" else interval)
    return Ask(
        Tag(series_id(web_id, interval, kind), f"tag {web_id}", "kW", "Float32", sampling=sampling), start, end, count
    )


def event(minute: int, value: Any, **more: Any) -> dict[str, Any]:
    at = f"2024-03-05T00:{minute:02}:00Z"
    return {"Timestamp": at, "Value": value, "Good": True, "Questionable": False, "Substituted": False, **more}


def interpolated(*minutes: int) -> dict[str, Any]:
    return {"Items": [event(minute, minute + 0.5) for minute in minutes], "UnitsAbbreviation": "kW"}


def summaries(kind: str, *minutes: int, **more: Any) -> list[dict[str, Any]]:
    return [{"Type": kind, "Value": event(minute, minute + 0.25, UnitsAbbreviation="MW", **more)} for minute in minutes]


def batch(*contents: Any, status: int = 200) -> bytes:
    return json.dumps(
        {str(n): {"Status": status, "Headers": {}, "Content": one} for n, one in enumerate(contents)}
    ).encode()


def decoded(body: bytes, asks: Sequence[Ask], shape: Shape = Shape.BATCH) -> DecodedAnswer:
    return decode_sampled(decode, body, asks, shape, ingested_at=START)


def query_of(path: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(path).query)


# --- asking ------------------------------------------------------------------------------


def test_interpolated_values_are_asked_from_the_first_point_to_the_last():
    [call] = calls_of([ask("interpolated", start=START - 3, end=START + 20 * MINUTE + 1)])
    query = query_of(stream_call(call).path)
    assert stream_call(call).path.startswith("/streams/P1/interpolated?")
    assert query["startTime"] == ["2024-03-05T00:00:00Z"]
    assert query["endTime"] == ["2024-03-05T00:20:00Z"]
    assert query["interval"] == ["600s"]


def test_a_single_point_is_asked_with_a_range_that_is_not_empty():
    [call] = calls_of([ask("interpolated", end=START + MINUTE)])
    assert query_of(stream_call(call).path)["endTime"] == ["2024-03-05T00:05:00Z"]


def test_a_window_between_two_points_asks_nothing():
    assert calls_of([ask("interpolated", start=START + 1, end=START + 10 * MINUTE)]) == []


def test_summaries_of_one_tag_share_a_call_and_counts_have_their_own():
    calls = calls_of([ask("average"), ask("count"), ask("maximum"), ask("percent_good"), ask("average", "P2")])
    assert [(call.web_id, call.places) for call in calls] == [
        *(("P1", (0, 2)), ("P1", (1,)), ("P1", (3,)), ("P2", (4,))),
    ]
    query = query_of(stream_call(calls[0]).path)
    assert query["summaryType"] == ["Average", "Maximum", "PercentGood"]
    assert query["calculationBasis"] == ["TimeWeighted"]
    assert query["timeType"] == ["EarliestTime"]
    assert query["summaryDuration"] == ["600s"]
    # The end of the last interval: nothing is weighed there.
    assert query["endTime"] == ["2024-03-05T00:30:00Z"]
    counted = query_of(stream_call(calls[1]).path)
    assert (counted["summaryType"], counted["calculationBasis"]) == (["Count"], ["EventWeighted"])
    # Servers count an event at the end of the range, and it belongs to the next interval.
    assert counted["endTime"] == ["2024-03-05T00:29:59.9999999Z"]


def test_calls_travel_in_a_batch_or_in_a_streamset():
    calls = calls_of([ask("average", "I1DPa"), ask("average", "I1DPb")])
    body = json.loads(stream_calls(calls, BASE).body or b"")
    assert [sub["Resource"].split("?")[0] for sub in body.values()] == [
        *(f"{BASE}/streams/I1DPa/summary", f"{BASE}/streams/I1DPb/summary"),
    ]
    path = streamset_call(calls).path
    assert path.startswith("/streamsets/summary?")
    assert query_of(path)["webId"] == ["I1DPa", "I1DPb"]
    assert streamset_calls_capacity(calls) == 2
    assert streamset_calls_capacity([calls[0], calls[0]]) == 1
    assert streamset_calls_capacity(calls_of([ask("average", "I1DPa"), ask("count", "I1DPb")])) == 1


# --- what answers mean ---------------------------------------------------------------------


def test_each_kind_gets_its_values_and_the_share_of_good_ones():
    asks = [ask("average"), ask("maximum")]
    items = summaries("Average", 0, 10, 20) + summaries("Maximum", 0, 10, 20)
    items += [{"Type": "PercentGood", "Value": event(minute, 90.5)} for minute in (0, 20)]
    answer = decoded(batch({"Items": items}), asks)
    rows = answer.rows.to_pylist()
    assert [(row["kind"], row["value"]) for row in rows] == [
        *((kind, minute + 0.25) for kind in ("average", "maximum") for minute in (0, 10, 20)),
    ]
    assert [row["percent_good"] for row in rows] == [90.5, None, 90.5] * 2
    assert {(row["units"], row["tag_webid"], row["tag_name"], row["interval_seconds"]) for row in rows} == {
        ("MW", "P1", "tag P1", 600)
    }
    assert [row["series_id"] for row in rows] == ["P1/600/average"] * 3 + ["P1/600/maximum"] * 3
    assert answer.outcomes.untils.tolist() == [START + 30 * MINUTE] * 2


def test_more_points_than_may_be_asked_for_at_once_are_cut_after_the_last_one():
    answer = decoded(batch(interpolated(0, 10)), [ask("interpolated", count=2)])
    assert answer.outcomes.untils.tolist() == [START + 20 * MINUTE]
    assert answer.outcomes.rows.tolist() == [2]


def test_values_beside_the_grid_are_left_out_if_all_points_have_theirs():
    answer = decoded(batch(interpolated(0, 10, 20, 25)), [ask("interpolated")])
    assert answer.rows.column("value").to_pylist() == [0.5, 10.5, 20.5]


@pytest.mark.parametrize("minutes", [(0, 20), (0,), (5, 15, 25), (0, 10, 10, 20)], ids=str)
def test_an_answer_for_another_grid_is_the_error_of_its_series_alone(minutes):
    answer = decoded(
        batch(interpolated(*minutes), interpolated(0, 10, 20)), [ask("interpolated"), ask("interpolated", "P2")]
    )
    assert {n: type(error) for n, error in answer.outcomes.errors.items()} == {0: TagUnsupportedError}
    assert answer.outcomes.rows.tolist() == [0, 3]
    assert answer.outcomes.untils.tolist() == [START, START + 30 * MINUTE]
    assert set(answer.rows.column("tag_webid").to_pylist()) == {"P2"}


@given(
    st.sampled_from(["interpolated", "average", "count"]),
    st.lists(st.sampled_from([0, 5, 10, 20, 25]), max_size=6) | st.just([0, 10, 20]) | st.just([20, 10, 0]),
)
def test_whatever_times_are_sent_a_series_has_one_value_for_each_point_or_an_error(kind, minutes):
    sent = interpolated(*minutes)
    if kind != "interpolated":
        sent = {"Items": summaries(kind.capitalize(), *minutes)}
    answer = decoded(batch(sent), [ask(kind)])
    on_grid = [minute for minute in minutes if minute % 10 == 0]
    complete = on_grid == [0, 10, 20] or not minutes
    nothing_to_count = kind == "count" and minutes == sorted(set(on_grid))
    if answer.outcomes.errors:
        assert not complete
        assert not nothing_to_count
        assert (answer.rows.num_rows, answer.outcomes.untils.tolist()) == (0, [START])
    else:
        more = 0.5 if kind == "interpolated" else 0.25
        assert sorted(answer.rows.column("value").to_pylist()) == [minute + more for minute in sorted(set(on_grid))]
        assert len(on_grid) in {0, 3} if kind != "count" else len(on_grid) == len(set(on_grid))


def test_an_answer_without_values_says_that_there_are_none():
    answer = decoded(batch({"Items": []}), [ask("interpolated")])
    assert (answer.outcomes.rows.tolist(), answer.outcomes.untils.tolist()) == ([0], [START + 30 * MINUTE])
    assert not answer.outcomes.errors


def test_a_count_may_be_left_out_where_there_is_nothing_to_count():
    answer = decoded(batch({"Items": summaries("Count", 10)}), [ask("count")])
    # What ends early may be a page.
    assert answer.outcomes.untils.tolist() == [START + 20 * MINUTE]
    assert [(row["value"], row["units"]) for row in answer.rows.to_pylist()] == [(10.25, "MW")]
    rest = decoded(batch({"Items": []}), [ask("count", start=START + 20 * MINUTE)])
    assert (rest.outcomes.untils.tolist(), rest.outcomes.errors) == ([START + 30 * MINUTE], {})


def test_a_refusal_is_that_of_the_series_it_is_about():
    body = {
        "0": {"Status": 409, "Headers": {}, "Content": {"Errors": ["not supported"]}},
        "1": {"Status": 200, "Headers": {}, "Content": {"Items": summaries("Average", 0, 10, 20)}},
    }
    answer = decoded(json.dumps(body).encode(), [ask("average"), ask("average", "P2")])
    [(n, error)] = answer.outcomes.errors.items()
    assert (n, type(error)) == (0, TagUnsupportedError)
    assert "tag P1 (average every 600s)" in error.message
    assert answer.outcomes.rows.tolist() == [0, 3]


def test_a_streamset_is_matched_by_web_id():
    items = [{"WebId": web_id, "Name": web_id, "Items": summaries("Average", 0, 10, 20)} for web_id in ("P2", "P1")]
    for item in items:
        for each in item["Items"]:
            each["Value"]["Good"] = item["WebId"] == "P1"
    answer = decoded(json.dumps({"Items": items}).encode(), [ask("average"), ask("average", "P2")], Shape.STREAMSET)
    assert answer.rows.column("good").to_pylist() == [True] * 3 + [False] * 3


def test_states_keep_their_meaning():
    state = {"Name": "Calc Failed", "Value": 249, "IsSystem": True}
    items = [{"Type": "Average", "Value": event(minute, state)} for minute in (0, 10, 20)]
    rows = decoded(batch({"Items": items}), [ask("average")]).rows.to_pylist()
    assert {(row["value"], row["value_string"], row["state_code"], row["value_kind"]) for row in rows} == {
        (None, "Calc Failed", 249, "system")
    }


@pytest.mark.parametrize("kind", ["average", "interpolated"])
def test_a_body_that_was_cut_is_no_answer(kind):
    with pytest.raises(UnavailableError):
        decoded(batch({"Items": summaries("Average", 0, 10, 20)})[:-9], [ask(kind), ask(kind, "P2")])


def test_how_to_ask_is_found_out_with_the_tags_behind_the_series() -> None:
    tags = [Tag("F1a", "one"), Tag("F1b", "two")]
    series = [series_of_tag(tag, 600_000_000, kind) for tag in tags for kind in ("interpolated", "average")]
    asked = SampledSource._first_asks([Ask(one, 0, 600_000_000, 5) for one in series])
    assert sorted((ask.tag.web_id, ask.tag.name, ask.end, ask.max_count) for ask in asked) == [
        ("F1a", "one", 600_000_000, 5),
        ("F1b", "two", 600_000_000, 5),
    ]
