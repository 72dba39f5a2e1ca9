"""The gate that every request passes: a limit of requests a second, and of requests in flight.

Both are those of the pace, which adapts to what the server answers. A client has one gate, so all datasets of a process
share one budget.

Requests queue at a turnstile in order, so that only the first one polls the throttler (asyncio-throttle wakes every
waiter a hundred times a second).

The throttler is a sliding log and would let the quota of a whole second go at once. So it is given one start per 1/rate
seconds; above a hundred a second, a few starts in 10 to 20 ms, which is the resolution of the event loop. A second holds
a whole number of these periods, so none sees more starts than the rate, rounded up.

Between its turn and its sending a request may wait for a connection or a credential, and requests that waited for the
same would go out together. So the rate holds twice: for turns, and for sendings.

While the server is away, one request at a time is let through. It stands for all that wait, here or to try again: if it
fails, they fail with it and are not sent. So a server that comes back meets one request, and to give up takes no probe for each that waits.

Invariant: both throttlers have counted what is sent, and requests in flight never exceed the pace.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncio_throttle import Throttler

from config.errors import ExtractError, UnavailableError
from engine.plan.pace import LONGEST_PROBE_WAIT_SECS, Pace

_SHORTEST_PERIOD_SECS = 0.01
_POLLS_PER_PERIOD = 20
# Clocks are rounded: periods that add up to a second must not add up to a little less.
_ROUNDING_SECS = 1e-6
_LEAST_SEND_RATE = 1.0


@dataclass(frozen=True, slots=True)
class GateStats:
    """Statistics: `window` and `rate` are what the pace allows in flight and a second now, `waiting` how many wait."""

    in_flight: int
    window: int
    rate: float
    waiting: int
    sent: int
    waited_secs: float


class Gate:
    """Lets requests pass one after the other, at the pace that the server can take."""

    def __init__(
        self,
        *,
        max_requests_per_second: float,
        max_in_flight: int,
        probe_wait_secs: float = 0.5,
        longest_probe_wait_secs: float = LONGEST_PROBE_WAIT_SECS,
        clock: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
    ) -> None:
        self._pace = Pace.full(
            max_in_flight,
            max_requests_per_second,
            probe_wait_secs=probe_wait_secs,
            longest_probe_wait_secs=longest_probe_wait_secs,
        )
        self._throttler = _smooth(max_requests_per_second)
        # A sending waits within the time-out of its request: never for more than a second for its predecessor.
        self._send_throttler = _smooth(max(_LEAST_SEND_RATE, max_requests_per_second))
        self._clock = clock
        self._turnstile = asyncio.Lock()
        self._room = asyncio.Event()
        self._in_flight = 0
        self._waiting = 0
        self._sent = 0
        self._waited_secs = 0.0
        self._failed_probes = 0
        self._away: ExtractError | None = None

    @asynccontextmanager
    async def slot(self, known_probes: int | None = None) -> AsyncIterator[float]:
        """Wait for a turn, and hold a slot among the requests in flight. Yields the time of the start.

        A caller that is cancelled while it waits has taken no slot. `known_probes` is `failed_probes` as it was when the
        caller's last attempt ended: what failed while it waited to try again has failed for it, too.

        Raises:
            UnavailableError: the server is away, as another request has found out meanwhile.
        """
        arrived = self._clock()
        probes = self._failed_probes if known_probes is None else known_probes
        self._waiting += 1
        try:
            async with self._turnstile:
                await self._turn(probes)
                self._in_flight += 1
                self._pace = self._pace.started(now=self._clock())
        finally:
            self._waiting -= 1
        started = self._clock()
        self._waited_secs += started - arrived
        try:
            yield started
        finally:
            self._in_flight -= 1
            self._room.set()

    async def wait_to_send(self) -> None:
        """Wait for the rate alone. The caller sends at once when this returns."""
        await self._send_throttler.acquire()
        self._sent += 1

    def answered(self, kind: str, *, started_at: float, first_byte_secs: float) -> None:
        """Account for an answer; `Pace.answered` says what of."""
        self._keep_to(
            self._pace.answered(kind, started_at=started_at, now=self._clock(), first_byte_secs=first_byte_secs)
        )

    def overloaded(
        self, *, started_at: float, retry_after_secs: float = 0.0, timed_out: bool = False, partly: bool = False
    ) -> None:
        """Account for a 429 or a time-out: the server is there. `partly`: of a part of a batch."""
        self._keep_to(
            self._pace.overloaded(
                started_at=started_at,
                now=self._clock(),
                retry_after_secs=retry_after_secs,
                timed_out=timed_out,
                partly=partly,
            )
        )

    def away(self, error: ExtractError, *, started_at: float, retry_after_secs: float = 0.0) -> None:
        """Account for a 503 or a connection that cannot be made. `error` is for those that wait, if this was a probe."""
        self.overloaded(started_at=started_at, retry_after_secs=retry_after_secs)
        if self._pace.probing:
            self._failed_probes += 1
            self._away = error

    @property
    def failed_probes(self) -> int:
        return self._failed_probes

    def statistics(self) -> GateStats:
        return GateStats(
            in_flight=self._in_flight,
            window=self._pace.window,
            rate=self._pace.rate,
            waiting=self._waiting,
            sent=self._sent,
            waited_secs=self._waited_secs,
        )

    def _keep_to(self, pace: Pace) -> None:
        self._pace = pace
        if not pace.probing:
            self._away = None
        _retime(self._throttler, pace.rate)
        _retime(self._send_throttler, max(_LEAST_SEND_RATE, pace.rate))

    async def _turn(self, failed_probes: int) -> None:
        while True:
            if self._away is not None and self._failed_probes != failed_probes:
                raise UnavailableError(self._away.message, hint=self._away.hint)
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
    throttler = Throttler(1)
    _retime(throttler, rate)
    return throttler


def _retime(throttler: Throttler, rate: float) -> None:
    starts = max(1, math.ceil(rate * _SHORTEST_PERIOD_SECS))
    # The starts of all periods that begin within one second must fit into the rate, rounded up.
    periods_a_second = math.ceil(rate) // starts
    period = max(starts / rate, 1 / periods_a_second) + _ROUNDING_SECS
    throttler.rate_limit, throttler.period = starts, period
    throttler.retry_interval = max(0.001, min(0.01, period / _POLLS_PER_PERIOD))
