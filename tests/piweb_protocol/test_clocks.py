"""Which of three clocks is believed, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UnavailableError
from engine.piweb.clocks import Clocks, source_time
from engine.piweb.times import iso_text, parse_micros

NOW = parse_micros("2024-03-05T10:00:00Z")
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
TOLERANCE = 15 * MINUTE
YEAR_9999 = parse_micros("9999-12-31T23:59:59Z")


@pytest.mark.parametrize(
    ("archive", "web_api", "ours", "words"),
    [
        (0, 0, 0, ""),
        (59_000_000, 0, 0, ""),
        (-59_000_000, 0, 0, ""),
        (0, 0, DAY, ""),  # ours alone is wrong, or both of theirs are late
        (None, 0, 0, ""),
        (0, None, 0, ""),
        (2 * MINUTE, 0, 0, "archive's clock is 2 min ahead of the PI Web API's"),
        (-3 * HOUR, 0, 0, "archive's clock is 3 h behind the PI Web API's, and rows come so much later"),
        (0, 0, -HOUR * 5, "server's clocks are 5 h ahead of this machine's, and are believed"),
        (None, 0, -HOUR * 5, "server's clocks are 5 h ahead"),
    ],
)
def test_small_differences_are_warned_of(archive: int | None, web_api: int | None, ours: int, words: str) -> None:
    now = source_time(Clocks(*(None if at is None else NOW + at for at in (archive, web_api)), NOW + ours), TOLERANCE)
    assert now.at == NOW + (archive if archive is not None else web_api or 0)
    assert words in now.warning
    assert bool(now.warning) == bool(words)


@pytest.mark.parametrize(
    ("archive", "web_api", "words"),
    [
        (NOW + 73 * HOUR, NOW, "archive's clock (ServerTime) is ahead of the PI Web API's (Date) by 3 days"),
        (YEAR_9999, NOW, "(Date) by "),
        (YEAR_9999, YEAR_9999, "the server's clock is ahead of this machine's by "),
        (None, YEAR_9999, "ahead of this machine's"),
        (NOW + 73 * HOUR, NOW + 73 * HOUR, "ahead of this machine's by 3 days"),
        (NOW + HOUR, None, "ahead of this machine's by 60 min"),
    ],
)
def test_a_clock_that_is_ahead_is_refused_with_what_each_clock_said(
    archive: int | None, web_api: int | None, words: str
) -> None:
    with pytest.raises(UnavailableError) as refused:
        source_time(Clocks(archive, web_api, NOW), TOLERANCE)
    assert words in refused.value.message
    for at in (archive, web_api, NOW):
        assert at is None or iso_text(at) in refused.value.message
    assert "extraction.clock_tolerance" in refused.value.hint


AT = st.integers(NOW - 10 * DAY, NOW + 10 * DAY) | st.just(YEAR_9999)


@given(AT, AT, AT, st.integers(1, 20 * DAY))
def test_now_never_lies_further_ahead_than_is_tolerated(archive: int, web_api: int, ours: int, tolerance: int) -> None:
    try:
        now = source_time(Clocks(archive, web_api, ours), tolerance)
    except UnavailableError:
        assert archive > min(web_api, ours) + tolerance
    else:
        assert now.at == archive
        assert archive <= web_api + tolerance
        assert archive <= ours + max(tolerance, DAY)
        assert archive - web_api <= MINUTE or now.warning
