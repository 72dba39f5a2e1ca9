"""How fast PI may be asked: decided from what it has answered so far. Pure; the time is an argument.

A `Pace` is a value. Every answer and every sign of overload gives the next one:

- The number of requests in flight follows additive increase, multiplicative decrease. It halves when
  PI says 429 or 503 or lets a request time out, and shrinks by a tenth when first bytes come later
  than usual; it grows by one in about a round trip while all is well.
- It falls at most once per round trip: answers to requests that were sent before the last cut say
  nothing about the pace since, and are not counted against it.
- A Retry-After stops every start until it is over.

"Usual" is a slow average per kind of request, since a batch of a hundred streams and a page of tags
have nothing in common. It follows a lasting change, so a server that is simply slower than it was is
not punished for ever.

Invariant: `1 <= window <= ceiling`, and any steady sequence of answers leads back to the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType
from typing import Final, Self

__all__ = ["Pace"]

_HALF: Final = 0.5
_TENTH_LESS: Final = 0.9
_RECENT_WEIGHT: Final = 0.3
_USUAL_WEIGHT: Final = 0.02
_RISING: Final = 2.0  # recent first bytes take twice the usual
_OUTLIER: Final = 3.0  # one slow answer alone, however slow, does not reach _RISING
_QUICK_SECS: Final = 0.05  # below this, twice as long is noise, not load


@dataclass(frozen=True, slots=True)
class Pace:
    """How many requests may be in flight now, and from when the next may start."""

    ceiling: int
    limit: float
    pause_until: float = -inf
    cut_at: float = -inf
    trend: float = 1.0  # recent first-byte times, as a multiple of the usual
    usual_secs: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def full(cls, max_in_flight: int) -> Self:
        """Start at the configured number: it is the user's word for what the server bears."""
        return cls(ceiling=max(1, max_in_flight), limit=float(max(1, max_in_flight)))

    @property
    def window(self) -> int:
        """Requests that may be in flight."""
        return max(1, min(self.ceiling, int(self.limit)))

    def may_start(self, *, now: float, in_flight: int) -> bool:
        return in_flight < self.window and now >= self.pause_until

    def answered(self, kind: str, *, started_at: float, now: float, first_byte_secs: float) -> Pace:
        """Account for an answer whose first byte took `first_byte_secs`; `kind` groups like with like."""
        usual = self.usual_secs.get(kind, first_byte_secs)
        ratio = min(_OUTLIER, first_byte_secs / max(usual, _QUICK_SECS))
        learned = replace(
            self,
            trend=self.trend + _RECENT_WEIGHT * (ratio - self.trend),
            usual_secs=MappingProxyType(
                {**self.usual_secs, kind: usual + _USUAL_WEIGHT * (first_byte_secs - usual)},
            ),
        )
        if learned.trend > _RISING:
            return _cut(learned, _TENTH_LESS, started_at=started_at, now=now)
        return replace(learned, limit=min(float(self.ceiling), self.limit + 1 / self.window))

    def overloaded(self, *, started_at: float, now: float, retry_after_secs: float = 0.0) -> Pace:
        """Account for a 429, a 503 or a time-out."""
        cut = _cut(self, _HALF, started_at=started_at, now=now)
        return replace(cut, pause_until=max(self.pause_until, now + retry_after_secs)) if retry_after_secs > 0 else cut


def _cut(pace: Pace, factor: float, *, started_at: float, now: float) -> Pace:
    if started_at < pace.cut_at:
        return pace
    return replace(pace, limit=max(1.0, pace.limit * factor), cut_at=now)
