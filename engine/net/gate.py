"""The gate every request passes: at most so many a second, at most so many in flight.

Imports asyncio and the pure `Pace`; knows nothing of HTTP. Requests queue at a turnstile in order, so
that one waiter alone, the head, polls the throttler, however many wait behind it (asyncio-throttle
wakes every waiter a hundred times a second).

The throttler is a sliding log and would let a whole second's quota go at once. It is therefore given
one start per 1/rate seconds; above a hundred a second, a few starts in 10 to 20 ms, which is the
resolution of the event loop. A second holds a whole number of these periods, so that none sees more
starts than the rate, rounded up.

Between the turn and the sending lies whatever a request still needs, a connection or a credential; those
that waited for the same would go out together. So the rate holds twice: for turns, and for sendings.

Invariant: what is sent has been counted by both throttlers, and in flight never exceeds the pace.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncio_throttle import Throttler

from engine.plan.pace import Pace

__all__ = ["Gate", "GateStats"]

_SHORTEST_PERIOD_SECS = 0.01
_POLLS_PER_PERIOD = 20
# Clocks are rounded: periods that add up to a second must not add up to a little less.
_ROUNDING_SECS = 1e-6


@dataclass(frozen=True, slots=True)
class GateStats:
    """A look at the gate: `window` is what the pace allows now, `waiting` who wants to pass."""

    in_flight: int
    window: int
    waiting: int
    sent: int
    waited_secs: float


class Gate:
    """Lets requests pass, one after the other, at the pace that PI bears."""

    def __init__(
        self, *, max_requests_per_second: float, max_in_flight: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pace = Pace.full(max_in_flight)
        self._throttler = _smooth(max_requests_per_second)
        # A sending waits within the time-out of its request: never for more than a second for its predecessor.
        self._sendings = _smooth(max(1.0, max_requests_per_second))
        self._clock = clock
        self._turnstile = asyncio.Lock()
        self._room = asyncio.Event()
        self._in_flight = 0
        self._waiting = 0
        self._sent = 0
        self._waited_secs = 0.0

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[float]:
        """Wait for a turn, and hold a place among those in flight. Yields the instant of the start.

        Cancelled while waiting, it has taken nothing.
        """
        arrived = self._clock()
        self._waiting += 1
        try:
            async with self._turnstile:
                await self._turn()
                self._in_flight += 1
        finally:
            self._waiting -= 1
        started = self._clock()
        self._waited_secs += started - arrived
        try:
            yield started
        finally:
            self._in_flight -= 1
            self._room.set()

    async def sending(self) -> None:
        """Wait for the rate alone, with nothing left between here and the sending."""
        await self._sendings.acquire()
        self._sent += 1

    def answered(self, kind: str, *, started_at: float, first_byte_secs: float) -> None:
        self._pace = self._pace.answered(
            kind, started_at=started_at, now=self._clock(), first_byte_secs=first_byte_secs
        )

    def overloaded(self, *, started_at: float, retry_after_secs: float = 0.0) -> None:
        self._pace = self._pace.overloaded(started_at=started_at, now=self._clock(), retry_after_secs=retry_after_secs)

    def statistics(self) -> GateStats:
        return GateStats(
            in_flight=self._in_flight,
            window=self._pace.window,
            waiting=self._waiting,
            sent=self._sent,
            waited_secs=self._waited_secs,
        )

    async def _turn(self) -> None:
        while True:
            if self._in_flight >= self._pace.window:
                self._room.clear()
                await self._room.wait()
            elif (pause := self._pace.pause_until - self._clock()) > 0:
                await asyncio.sleep(pause)
            else:
                await self._throttler.acquire()
                # A 429 may have come while we waited; the start we were granted is then forgone.
                if self._pace.may_start(now=self._clock(), in_flight=self._in_flight):
                    return


def _smooth(rate: float) -> Throttler:
    starts = max(1, math.ceil(rate * _SHORTEST_PERIOD_SECS))
    # With several starts a period, 83.3 periods a second would let those of 84 fall into one.
    period = 1 / rate if starts == 1 else 1 / (rate // starts)
    period += _ROUNDING_SECS
    return Throttler(starts, period=period, retry_interval=max(0.001, min(0.01, period / _POLLS_PER_PERIOD)))
