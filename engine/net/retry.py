"""Trying again: aiohttp-retry's loop, around our own unit of work and with our own options.

As it comes, the library has traps for a client that must lose nothing and hang nowhere: without a list
of exceptions it retries none, it retries every POST but no 429, ignores Retry-After, knows no full
jitter, leaves a discarded response holding its connection, counts the body as none of its business (a
body cut midway is not retried), and hands out the last 5xx as if it were an answer.

Its loop only ever calls `request` of the session it is given. So it is given an `_Attempts` instead of
a session, whose `request` is one *whole* attempt: a turn at the gate, the request, the body read to the
end, the connection returned. What comes back is an `Exchange`, a plain value without a connection; what
goes wrong is an error of ours. The loop, the counting and the sleeping stay the library's, and the
decisions are `PoliteRetry`'s.

Invariant: what is sent twice is marked safe, and every time it is sent it passes the gate.
"""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, cast

import aiohttp
from aiohttp_retry import RetryClient, RetryOptionsBase

from config.errors import UnavailableError
from engine.piweb.http import Response

__all__ = ["RETRIED_STATUSES", "Exchange", "PoliteRetry", "retry_after_secs", "with_retries"]

# 501 (not supported) and 505 (HTTP version) do not change by waiting.
RETRIED_STATUSES: Final = frozenset({429, *range(500, 600)} - {501, 505})

_log = logging.getLogger("osipi.net")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One finished attempt, in the shape that the retry loop looks at."""

    method: str
    response: Response

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers


class PoliteRetry(RetryOptionsBase):
    """Which attempts are repeated, and when: full jitter, or what the server asks for if that is longer."""

    def __init__(
        self,
        *,
        attempts: int,
        initial_wait_secs: float,
        max_wait_secs: float,
        max_retry_after_secs: float,
        rand: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            attempts=max(1, attempts),
            statuses=RETRIED_STATUSES,
            exceptions={UnavailableError},
            retry_all_server_errors=False,
        )
        self._initial_wait_secs = initial_wait_secs
        self._max_wait_secs = max_wait_secs
        self._max_retry_after_secs = max_retry_after_secs
        self._rand = rand
        self._wall = wall

    def get_timeout(self, attempt: int, response: aiohttp.ClientResponse | None = None) -> float:
        """Seconds until the next attempt; `attempt` counts from 1."""
        ceiling = min(self._max_wait_secs, self._initial_wait_secs * 2.0 ** min(attempt - 1, 60))
        wait = self._rand() * ceiling
        asked = None if response is None else retry_after_secs(response.headers, now=self._wall())
        return wait if asked is None else max(wait, min(asked, self._max_retry_after_secs))


async def with_retries(attempt: Callable[[int], Awaitable[Exchange]], options: RetryOptionsBase) -> Exchange:
    """Run `attempt(number)` until it succeeds, gives an answer not worth repeating, or attempts run out."""
    # The cast is the point of this module (see above): the loop needs `request` and nothing else.
    loop = RetryClient(cast("aiohttp.ClientSession", _Attempts(attempt)), logger=_log, retry_options=options)
    return cast("Exchange", await loop.request("ATTEMPT", ""))


class _Attempts:
    def __init__(self, attempt: Callable[[int], Awaitable[Exchange]]) -> None:
        self._attempt = attempt

    async def request(self, _method: str, _url: str, *, trace_request_ctx: Mapping[str, int], **_: Any) -> Exchange:
        return await self._attempt(trace_request_ctx["current_attempt"])


def retry_after_secs(headers: Mapping[str, str], *, now: float) -> float | None:
    """Read Retry-After in both its forms; a date counts from the server's own `Date` if it sent one."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:12])
    until = _http_date(text)
    if until is None:
        return None
    sent = _http_date(headers.get("date", ""))
    return max(0.0, until - (now if sent is None else sent))


def _http_date(text: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
