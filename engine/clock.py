"""The only file that reads a clock. All other code is given the time."""

from __future__ import annotations

import time

from .model import Micros


def wall_micros() -> Micros:
    """Now by the clock of this machine. Windows never use it: they follow the clock of the server."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds that never jump, for durations."""
    return time.monotonic()


class ServerClock:
    """The server's clock: the last time that it said, plus the time since then."""

    def __init__(self, said: Micros) -> None:
        self._said = said
        self._said_at = monotonic()

    def now(self) -> Micros:
        return self._said + int((monotonic() - self._said_at) * 1e6)
