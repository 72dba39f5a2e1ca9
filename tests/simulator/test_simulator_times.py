"""Time strings of AF, to the tick."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.simulator.replies import Refusal
from engine.simulator.times import DAY, HOUR, SECOND, iso, parse_span, parse_time, ticks_of

NOW = ticks_of("2024-03-05T12:34:56.7654321Z")  # a Tuesday


@given(st.integers(ticks_of("0001-01-01T00:00:00Z"), ticks_of("9999-12-31T23:59:59.9999999Z")))
def test_text_and_ticks_lead_back_to_each_other(ticks):
    assert parse_time(iso(ticks)).at(NOW) == ticks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", "2024-03-05T12:34:56.7654321Z"),
        ("", "2024-03-05T12:34:56.7654321Z"),
        ("*-1d", "2024-03-04T12:34:56.7654321Z"),
        ("*+10m", "2024-03-05T12:44:56.7654321Z"),
        ("*-1mo", "2024-02-05T12:34:56.7654321Z"),
        ("*-500ms", "2024-03-05T12:34:56.2654321Z"),
        ("-2h", "2024-03-05T10:34:56.7654321Z"),
        ("t", "2024-03-05T00:00:00Z"),
        ("t+8h", "2024-03-05T08:00:00Z"),
        ("y", "2024-03-04T00:00:00Z"),
        ("Saturday", "2024-03-02T00:00:00Z"),
        ("tue+1h30m".replace("30m", "") + "+30m", "2024-03-05T01:30:00Z"),
        ("2024-01-02T03:04:05.0000001Z", "2024-01-02T03:04:05.0000001Z"),
        ("2024-01-02T03:04:05+02:00", "2024-01-02T01:04:05Z"),
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("'2024-01-31T00:00:00Z'+1mo", "2024-02-29T00:00:00Z"),
        ("'2024-01-02T00:00:00Z'+8h", "2024-01-02T08:00:00Z"),
    ],
)
def test_time_strings(text, expected):
    assert iso(parse_time(text).at(NOW)) == expected


def test_text_without_a_zone_is_read_in_the_zone_given():
    assert iso(parse_time("2024-07-01T12:00:00", "Europe/Berlin").at(NOW)) == "2024-07-01T10:00:00Z"
    assert iso(parse_time("t", "Europe/Berlin").at(NOW)) == "2024-03-04T23:00:00Z"


@pytest.mark.parametrize(
    "text", ["nonsense", "*-1x", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00 02:00", "*-", f"*-{'9' * 400}d"]
)
def test_other_text_is_a_400_that_quotes_it(text):
    with pytest.raises(Refusal) as caught:
        parse_time(text)
    assert caught.value.status == 400
    assert caught.value.payload == {"Errors": [f"The time string '{text}' is not valid."]}


@pytest.mark.parametrize("text", ["*-9999y", "*-999999999d", "'9999-12-31T23:59:59Z'+1d", "*+999999999999999w"])
def test_an_instant_that_no_calendar_holds_is_a_400(text):
    with pytest.raises(Refusal) as caught:
        parse_time(text).at(NOW)
    assert caught.value.status == 400


def test_spans():
    assert (parse_span("1h"), parse_span("90s"), parse_span("1.5d")) == (HOUR, 90 * SECOND, 3 * DAY // 2)
    for text in ("0h", "0.0000000001s", f"{'9' * 400}d", "h"):
        with pytest.raises(Refusal):
            parse_span(text)
