"""Times on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.piweb.times import iso_text, last_tick_text, parse_http_date, parse_micros, parse_ticks

YEAR_1 = -62135596800 * 10**6
YEAR_9999 = 253402300799 * 10**6

micros = st.integers(YEAR_1 + 1, YEAR_9999)


@given(micros)
def test_what_we_write_we_read(at: int) -> None:
    assert parse_micros(iso_text(at)) == at


@given(micros)
def test_the_end_sent_is_one_tick_before_the_window_ends(at: int) -> None:
    assert parse_ticks(last_tick_text(at)) == at * 10 - 1


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.0000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 1_000_000),
        ("1970-01-01T00:00:00.12345678Z", 1_234_567),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00-00:30", 18_000_000_000),
        ("1970-01-01 00:00Z", 0),
        ("0001-01-01T00:00:00Z", YEAR_1 * 10),
        ("9999-12-31T23:59:59.9999999Z", YEAR_9999 * 10 + 9_999_999),
    ],
)
def test_ticks_are_read_exactly(text: str, ticks: int) -> None:
    assert parse_ticks(text) == ticks
    assert parse_micros(text) == ticks // 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "2024-03-05",
        "2024-03-05T10:00:00",
        "2024-03-05T25:00:00Z",
        "2024-02-30T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-03-05T10:00:00+24:00",
        "2024-03-05T10:00:00+00:60",
        "2024-03-05T10:00:00.Z",
        "٢٠٢٤-03-05T10:00:00Z",
        " 2024-03-05T10:00:00Z",
    ],
)
def test_what_is_no_time_or_has_no_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_ticks(text)


def test_http_dates_are_utc() -> None:
    assert parse_http_date("Tue, 05 Mar 2024 10:15:30 GMT") == parse_micros("2024-03-05T10:15:30Z")
    assert parse_http_date("Tue, 05 Mar 2024 10:15:30 -0000") == parse_micros("2024-03-05T10:15:30Z")
    assert parse_http_date("Tue, 05 Mar 2024 11:15:30 +0100") == parse_micros("2024-03-05T10:15:30Z")
    with pytest.raises(ValueError, match=r".+"):
        parse_http_date("today")
