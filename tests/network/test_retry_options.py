"""Waiting between attempts: full jitter, Retry-After in both forms, caps."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import CertificateError, UnavailableError
from engine.net.retry import Exchange, PoliteRetry, with_retries
from engine.piweb.http import Response
from engine.piweb.problems import RETRIED_STATUSES, retry_after_secs

NOON = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)


def options(rand: float = 1.0, **changes: float) -> PoliteRetry:
    values = {"initial_wait_secs": 1.0, "max_wait_secs": 30.0, "max_retry_after_secs": 60.0, **changes}
    return PoliteRetry(attempts=4, rand=lambda: rand, wall=NOON.timestamp, **values)


def exchange(status: int = 200, **headers: str) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange("GET", Response(status, b"", named))


@given(st.floats(0, 1), st.integers(1, 10_000))
def test_the_wait_is_a_random_share_of_a_doubling_ceiling(rand: float, attempt: int) -> None:
    assert options(rand).get_timeout(attempt) == rand * min(30.0, 2.0 ** min(attempt - 1, 60))


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("99999999999999999999", 60.0),
        (format_datetime(NOON + dt.timedelta(seconds=9), usegmt=True), 9.0),
        (format_datetime(NOON - dt.timedelta(days=1), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ("Thu, 05 Mar 2026 12:00:20 -0000", 20.0),
    ],
)
def test_retry_after_is_understood_and_capped(text: str, wait: float) -> None:
    assert options(rand=0.0).get_timeout(1, exchange(503, retry_after=text)) == wait


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "٣", "Thu, 99 Foo 2026 12:00:00 GMT"])
def test_a_retry_after_that_makes_no_sense_is_as_good_as_none(text: str) -> None:
    assert retry_after_secs({"retry-after": text}, now=0.0) is None


def test_a_date_counts_from_the_servers_clock_not_from_ours() -> None:
    skewed = NOON + dt.timedelta(hours=3)
    headers = {
        "date": format_datetime(skewed, usegmt=True),
        "retry-after": format_datetime(skewed + dt.timedelta(seconds=8), usegmt=True),
    }
    assert retry_after_secs(headers, now=NOON.timestamp()) == 8.0


def test_retry_after_never_shortens_the_wait() -> None:
    assert options(rand=1.0).get_timeout(4, exchange(503, retry_after="1")) == 8.0


async def attempts_made(*results: Exchange | Exception) -> tuple[int, Exchange | Exception]:
    made: list[int] = []

    async def attempt(number: int) -> Exchange:
        made.append(number)
        result = results[min(number, len(results)) - 1]
        if isinstance(result, Exception):
            raise result
        return result

    try:
        outcome: Exchange | Exception = await with_retries(attempt, options(rand=0.0))
    except (UnavailableError, CertificateError, ValueError) as error:
        outcome = error
    assert made == list(range(1, len(made) + 1))
    return len(made), outcome


async def test_408_429_and_passing_5xx_are_repeated_and_nothing_else() -> None:
    for status in range(200, 600):
        made, outcome = await attempts_made(exchange(status), exchange(200))
        again = status in {408, 429} or (status >= 500 and status not in {501, 505})
        assert (made, outcome) == ((2, exchange(200)) if again else (1, exchange(status)))
        assert (status in RETRIED_STATUSES) == again


async def test_what_cannot_be_reached_is_tried_again_until_attempts_run_out() -> None:
    lost = UnavailableError("lost")
    assert await attempts_made(lost, lost, exchange(200)) == (3, exchange(200))
    assert await attempts_made(lost) == (4, lost)


async def test_what_waiting_cannot_mend_is_not_tried_again() -> None:
    stop = CertificateError("self-signed")
    assert await attempts_made(stop, exchange(200)) == (1, stop)
    bug = ValueError("ours")
    assert await attempts_made(bug, exchange(200)) == (1, bug)
