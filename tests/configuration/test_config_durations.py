"""Durations and instants: what people write means what they think, or is an error."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ExpectedError, format_duration, parse_duration, parse_instant

NOW = 1_700_000_000_000_000
SECOND = 1_000_000


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("1h", 3600),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("0s", 0),
        (120, 120),
        (0.25, 0.25),
        ("120", 120),
        (" 5m ", 300),
    ],
)
def test_a_duration_is_read_as_written(written, seconds):
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "5x",
        "1M",
        "-5s",
        -1,
        True,
        float("nan"),
        float("inf"),
        1e30,
        "9" * 400 + "d",
        "1h-2m",
        None,
        [],
        "1 hour",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(written):
    with pytest.raises(ExpectedError, match="90s, 30m, 1h or 7d"):
        parse_duration(written)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=73_000)))
def test_a_duration_shown_is_read_back_exactly(duration):
    assert parse_duration(format_duration(duration)) == duration


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1800, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
def test_an_instant_is_the_same_microsecond_in_any_zone(moment):
    # A zone of the 19th century may have an offset with seconds; ISO 8601 carries it.
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_instant(moment.isoformat()).micros(NOW) == expected
    assert parse_instant(moment).micros(NOW) == expected


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("now", NOW),
        ("now-1d", NOW - 86_400 * SECOND),
        ("now+10m", NOW + 600 * SECOND),
        ("now - 1h30m", NOW - 5400 * SECOND),
        ("now-90", NOW - 90 * SECOND),
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01T00:00:01z", SECOND),
        ("1970-01-01 02:00:01+02:00", SECOND),
        ("1970-01-01T00:00:00.1234567Z", 123_456),
    ],
)
def test_an_instant_is_read_as_written(written, micros):
    assert parse_instant(written).micros(NOW) == micros


@pytest.mark.parametrize(
    ("written", "suggestion"),
    [
        ("2023-01-01T08:00:00", "2023-01-01T08:00:00Z"),
        ("2023-01-01 08:00", "2023-01-01T08:00:00Z"),
        ("2023-01-01", "2023-01-01T00:00:00Z"),
        (datetime(2023, 1, 1, 8), "2023-01-01T08:00:00Z"),  # noqa: DTZ001 - the mistake under test
        (date(2023, 1, 1), "2023-01-01T00:00:00Z"),
    ],
)
def test_a_time_without_a_zone_is_refused_and_the_fix_is_named(written, suggestion):
    with pytest.raises(ExpectedError, match="a time with a zone") as caught:
        parse_instant(written)
    assert caught.value.suggestion == suggestion


def test_the_time_syntax_of_pi_is_answered_with_ours():
    with pytest.raises(ExpectedError) as caught:
        parse_instant("*-1d")
    assert caught.value.suggestion == "now-1d"


@pytest.mark.parametrize(
    "written", ["", "yesterday", "now-", "now-x", "now1d", "2023-13-01T00:00:00Z", 1_700_000_000, None]
)
def test_what_is_no_instant_is_refused(written):
    with pytest.raises(ExpectedError, match="a time with a zone such as"):
        parse_instant(written)
