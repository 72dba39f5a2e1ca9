"""Counts and times requests, and stops at an allowance, which is never exceeded.

Stands in front of a `PIClient` and has its `send`. What one call costs is what the client's own gate
let pass, so that logging in again or a resent request counts, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from config.errors import StopError
from engine.net.client import Check, ClientStats, PIClient
from engine.piweb.http import Request, Response
from engine.piweb.limits import LearnedLimits

__all__ = ["WORST_SENDS", "AllowanceSpentError", "Meter"]

# A request may be sent again after a broken connection, and all of that again after a 401.
WORST_SENDS = 4


class AllowanceSpentError(StopError):
    """The allowance of requests is spent."""


class Meter:
    """Passes requests to the client until `allowance` is spent; then calls `on_spent`."""

    def __init__(
        self, client: PIClient, allowance: int | None = None, on_spent: Callable[[], None] = lambda: None
    ) -> None:
        self._client = client
        self._allowance = allowance
        self._on_spent = on_spent
        self._started = 0
        self.latencies: list[float] = []

    @property
    def used(self) -> int:
        """Requests sent, or about to be."""
        return max(self._started, self._client.statistics().requests)

    @property
    def limits(self) -> LearnedLimits:
        return self._client.limits

    def statistics(self) -> ClientStats:
        return self._client.statistics()

    def note_parts(self, response: Response, errors: Iterable[Exception]) -> None:
        self._client.note_parts(response, errors)

    async def send(
        self, request: Request, *, max_body_bytes: int | None = None, check: Check | None = None
    ) -> Response:
        """Send one request. Raises `AllowanceSpentError`, and what the client raises."""
        if self._allowance is not None and self.used >= self._allowance:
            self._on_spent()
            raise AllowanceSpentError(f"all {self._allowance} requests are spent", hint="allow more requests")
        self._started += 1
        if self.used == self._allowance:
            self._on_spent()
        response = await self._client.send(request, max_body_bytes=max_body_bytes, check=check)
        self.latencies.append(response.elapsed_secs)
        return response
