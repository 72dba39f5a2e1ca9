"""Requests counted and timed on their way to the client, within an allowance that is never exceeded.

Stands in front of a `PIClient` and has its `send`. What one call costs is what the client's own gate
let pass, so that logging in again or a resent request counts, too.
"""

from __future__ import annotations

from collections.abc import Callable

from config.errors import StopError
from engine.net.client import ClientStats, PIClient
from engine.piweb.http import Request, Response
from engine.piweb.limits import LearnedLimits

__all__ = ["WORST_SENDS", "AllowanceSpentError", "Meter"]

# A call may be sent anew after a broken connection, and all that once more after a 401.
WORST_SENDS = 4


class AllowanceSpentError(StopError):
    """All requests that were allowed have been sent."""


class Meter:
    """Passes requests on until `allowance` is spent; `on_spent` is told when that is."""

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

    async def send(self, request: Request, *, max_body_bytes: int | None = None) -> Response:
        """Pass one on. Raises `AllowanceSpentError`, and what the client raises."""
        if self._allowance is not None and self.used >= self._allowance:
            self._on_spent()
            raise AllowanceSpentError(f"all {self._allowance} requests are spent", hint="allow more requests")
        self._started += 1
        if self.used == self._allowance:
            self._on_spent()
        response = await self._client.send(request, max_body_bytes=max_body_bytes)
        self.latencies.append(response.elapsed_secs)
        return response
