"""Retries: the loop of aiohttp-retry around one whole attempt of ours, with our own options.

The defaults of the library do not fit a client that must lose nothing and never hang. Without a list of exceptions it
retries none. It retries every POST but no 429, ignores Retry-After and has no full jitter. It leaves a discarded
response holding its connection, does not retry a body that is cut midway, and returns the last 5xx as an answer.

Its loop only calls `request` of the session it is given. So it is given an `_Attempts` instead of a session. One call of
`_Attempts.request` is one whole attempt: a turn at the gate, the request, the body read to its end, the connection
returned. It gives an `Exchange`, a plain value without a connection, or raises one of our errors. The library loops,
counts and sleeps; `PoliteRetry` decides.

Invariant: only requests that are marked safe are sent twice, and each sending passes the gate.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from aiohttp_retry import RetryClient, RetryOptionsBase

from config.errors import UnavailableError
from engine.piweb.http import Response
from engine.piweb.problems import RETRIED_STATUSES, is_final, retry_after_secs

_log = logging.getLogger("osipi.net")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One finished attempt, in the shape that the retry loop looks at."""

    method: str
    response: Response

    @property
    def status(self) -> int:
        """What the loop goes by: an answer that would be the same again is final, with any status."""
        return 200 if is_final(self.response) else self.response.status

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
