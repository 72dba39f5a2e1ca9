"""What a plan would cost, found by walking it against an imaginary server. Pure.

The walk uses the groups, slices and pages of a real run. Its answers hold as many events as the rates say, so an
estimate can only be as wrong as the rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..model import Ask, AskOutcome, AskOutcomes
from .planner import Chunk, Plan
from .tag_cursor import TagCursor

# A millisecond: more than halving and sharing out can make equal again.
_APART = 1_000


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """Requests to be sent and values to be expected."""

    requests: int
    values: int


def estimate_run(plan: Plan, split: Callable[[Chunk], list[Chunk]] = lambda chunk: [chunk]) -> RunEstimate:
    """Walk `plan` to its end, consuming it. `split` turns a chunk into requests in the mode used."""
    requests = 0
    values = 0.0
    while (chunk := plan.take()) is not None:
        for part in split(chunk):
            requests += 1
            outcomes = []
            for n, (cursor, ask) in enumerate(zip(part.cursors, part.asks, strict=True)):
                outcome, expected = _imagine(ask, cursor, n)
                outcomes.append(outcome)
                values += expected
            rates = [r.rate for r in part.cursors]
            plan.record_answer(part, AskOutcomes.of(outcomes))
            for cursor, rate in zip(part.cursors, rates, strict=True):
                cursor.rate = rate  # whole events would otherwise wear the rate down
        plan.give_back(chunk)
    return RunEstimate(requests, round(values))


def _imagine(ask: Ask, cursor: TagCursor, n: int) -> tuple[AskOutcome, float]:
    """As many events as the rate says, and how many of them are new; in the overlap, what the table holds.

    Pages that are full end at another instant for every tag, the nth of a request: events seldom coincide.
    """
    rate = cursor.rate
    alike = 0 if cursor.comparison is None else cursor.comparison.missing
    until, rows = ask.end, rate * (ask.end - ask.start)
    if rows >= ask.max_count:
        rows = ask.max_count - 1
        until = max(ask.start + 1, ask.start + int(rows / rate) - n * _APART)
    new_from = ask.start if ask.overlap is None else max(ask.start, ask.overlap.end)
    new = rate * max(0, until - new_from)
    if cursor.backward and until < ask.end:
        new = 0.0  # read in vain: it did not fit a page, and is asked for again in shorter slices
    return AskOutcome(ask, rows=int(rows), until=until, overlap_digest=alike), new
