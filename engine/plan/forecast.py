"""What a plan would cost, found by walking it against an imaginary server. Pure.

The walk is the run's own: the same lanes, slices and pages, with answers that hold as many events
as the rates say. So a forecast can only be as wrong as the rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..model import Ask, Outcome
from .planner import Chunk, Plan

__all__ = ["Forecast", "forecast"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Requests to be sent and values to be expected."""

    requests: int
    values: int


def forecast(plan: Plan, split: Callable[[Chunk], list[Chunk]] = lambda chunk: [chunk]) -> Forecast:
    """Walk `plan` to its end, consuming it. `split` says how a chunk becomes requests in the mode used."""
    requests = 0
    values = 0.0
    while (chunk := plan.take()) is not None:
        for part in split(chunk):
            requests += 1
            outcomes = []
            for reading, ask in zip(part.readings, part.asks, strict=True):
                outcome, expected = _imagine(ask, reading.rate)
                outcomes.append(outcome)
                values += expected
            rates = [r.rate for r in part.readings]
            plan.settle(part, outcomes)
            for reading, rate in zip(part.readings, rates, strict=True):
                reading.rate = rate  # whole events would otherwise wear the rate down
        plan.give_back(chunk)
    return Forecast(requests, round(values))


def _imagine(ask: Ask, rate: float) -> tuple[Outcome, float]:
    expected = rate * (ask.end - ask.start)
    if expected < ask.max_count:
        return Outcome(ask, rows=int(expected), until=ask.end), expected
    until = max(ask.start + 1, ask.start + int((ask.max_count - 1) / rate))
    return Outcome(ask, rows=ask.max_count - 1, until=until), rate * (until - ask.start)
