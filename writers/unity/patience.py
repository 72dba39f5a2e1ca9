"""How long a catalog that gives no answer, or asks us to wait, is waited for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

# So often it is looked whether to go on.
_LOOK_SECS = 0.25


@dataclass(frozen=True, slots=True)
class Patience:
    """Attempts in all, and the seconds between them, which double. `goes_on`: false once the run is asked to stop."""

    attempts: int = 4
    first_secs: float = 0.5
    longest_secs: float = 20.0
    goes_on: Callable[[], bool] = lambda: True

    def pause(self, attempt: int, asked_secs: float | None = None) -> float:
        """Seconds to wait after this attempt, counted from 1. `asked_secs`: what the catalog asks for. Pure."""
        own = self.first_secs * 2.0 ** min(attempt - 1, 60)
        return min(asked_secs if asked_secs is not None else own, self.longest_secs)

    def wait(self, attempt: int, asked_secs: float | None, sleep: Callable[[float], None]) -> bool:
        """Wait after a failed attempt. False where there is to be no other one."""
        if attempt >= self.attempts:
            return False
        # The jitter keeps shards from coming back together.
        left = self.pause(attempt, asked_secs) * random.uniform(0.8, 1.2)
        while left > 0 and self.goes_on():
            sleep(min(left, _LOOK_SECS))
            left -= _LOOK_SECS
        return self.goes_on()
