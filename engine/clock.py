"""The only file that reads a clock. Everything else is given the time."""

from __future__ import annotations

import time

from .model import Micros

__all__ = ["ServerClock", "monotonic", "wall_micros"]


def wall_micros() -> Micros:
    """Now by this machine. Windows never use it: they follow the clock of the server."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds that never jump, for durations."""
    return time.monotonic()


class ServerClock:
    """The server's clock between two looks at it: what it said, and how long ago that is."""

    def __init__(self, said: Micros) -> None:
        self._said = said
        self._at = monotonic()

    def now(self) -> Micros:
        return self._said + int((monotonic() - self._at) * 1e6)
