"""What a plan would cost, found by walking it against an imaginary server. Pure.

The walk is the run's own: the same lanes, slices and pages, with answers that hold as many events
as the rates say. So a forecast can only be as wrong as the rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..model import Ask, Outcome, Outcomes
from .lanes import Reading
from .overlap import MASK
from .planner import Chunk, Plan

__all__ = ["Forecast", "forecast"]


# A millisecond: more than halving and sharing out can make equal again.
_APART = 1_000


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
            for n, (reading, ask) in enumerate(zip(part.readings, part.asks, strict=True)):
                outcome, expected = _imagine(ask, reading, n)
                outcomes.append(outcome)
                values += expected
            rates = [r.rate for r in part.readings]
            plan.settle(part, Outcomes.of(outcomes))
            for reading, rate in zip(part.readings, rates, strict=True):
                reading.rate = rate  # whole events would otherwise wear the rate down
        plan.give_back(chunk)
    return Forecast(requests, round(values))


def _imagine(ask: Ask, reading: Reading, n: int) -> tuple[Outcome, float]:
    """As many events as the rate says, and how many of them are new; in the overlap, what the table holds.

    Pages that are full end at another instant for every tag, the nth of a request: events seldom coincide.
    """
    rate = reading.rate
    alike = (reading.expected - reading.found) & MASK
    until, rows = ask.end, rate * (ask.end - ask.start)
    if rows >= ask.max_count:
        rows = ask.max_count - 1
        until = max(ask.start + 1, ask.start + int(rows / rate) - n * _APART)
    new_from = ask.start if ask.overlap is None else max(ask.start, ask.overlap.end)
    new = rate * max(0, until - new_from)
    if reading.backward and until < ask.end:
        new = 0.0  # read in vain: it did not fit a page, and is asked for again in shorter slices
    return Outcome(ask, rows=int(rows), until=until, overlap_digest=alike), new
