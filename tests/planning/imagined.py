"""A source and a table of one number an event, and what a run of a plan makes of them.

Imports the plan and the watermarks, no I/O. Invariant: rows and watermarks of a run land as one commit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain

from engine.model import Ask, AskOutcome, AskOutcomes, Window
from engine.plan.chunk_result import RowDisposition
from engine.plan.overlap import DIGEST_MASK, WatermarkState
from engine.plan.planner import Plan
from tests.landing.widening import moves_in, widen
from writers import Move, Watermark

__all__ = ["Row", "Table", "answer", "between", "digest", "land"]

Row = tuple[int, int]  # time and value


def digest(rows: list[Row]) -> int:
    return (
        sum(int.from_bytes(blake2b(repr(row).encode(), digest_size=8).digest(), "little") for row in rows) & DIGEST_MASK
    )


def between(rows: list[Row], start: int, end: int) -> list[Row]:
    return [row for row in rows if start <= row[0] < end]


@dataclass
class Table:
    """Rows and watermark of one tag."""

    rows: list[Row] = field(default_factory=list)
    mark: Watermark | None = None

    def known(self) -> WatermarkState | None:
        mark = self.mark
        if mark is None:
            return None
        last = None if mark.last_event_digest is None else mark.last_event_digest & DIGEST_MASK
        return WatermarkState(mark.low, mark.high, mark.last_event, last)


def answer(ask: Ask, source: list[Row]) -> tuple[AskOutcome, list[Row]]:
    """What decoding makes of a server's answer."""
    times = [t for t, _ in source]
    found = source[bisect_left(times, ask.start) : bisect_left(times, ask.end)][: ask.max_count]
    until = ask.end
    if len(found) == ask.max_count:
        until = found[-1][0]
        found = [row for row in found if row[0] < until]
    last = found[-1][0] if found else None
    overlap = ask.overlap or Window(0, 0)
    return (
        AskOutcome(
            ask,
            len(found),
            until,
            last,
            last_digest=None if last is None else digest(between(found, last, last + 1)),
            overlap_digest=digest(between(found, overlap.start, overlap.end)) if ask.overlap else 0,
            overlap_rows=len([row for row in found if row[0] < overlap.end]),
        ),
        found,
    )


def land(plan: Plan, tables: Mapping[str, Table], sources: Mapping[str, list[Row]], *, chunks: int = 10_000) -> int:
    """Carry a plan out; gives the number of swaps. It dies after so many chunks: what came until then has landed."""
    moves: list[Move] = []
    swapped = 0
    for _ in range(chunks):
        chunk = plan.take()
        if chunk is None:
            break
        answers = [answer(ask, sources[ask.tag.web_id]) for ask in chunk.asks]
        result = plan.record_answer(chunk, AskOutcomes.of([outcome for outcome, _ in answers]))
        for swap in result.replaced:
            table = tables[swap.tag.web_id]
            table.rows = [row for row in table.rows if not swap.start <= row[0] < swap.end]
        swapped += len(result.replaced)
        for disposition, (outcome, rows) in zip(result.dispositions, answers, strict=True):
            overlap = outcome.ask.overlap
            since = 0 if overlap is None else overlap.start if disposition == RowDisposition.REPLACE else overlap.end
            if disposition != RowDisposition.NOTHING:
                tables[outcome.ask.tag.web_id].rows += [row for row in rows if overlap is None or row[0] >= since]
        moves += chain.from_iterable(map(moves_in, result.moves))
        assert not result.failures
        plan.give_back(chunk)
    assert plan.done or chunks < 10_000
    for move in moves:
        table = tables[move.tag_webid]
        table.mark = widen(table.mark, move)
    for table in tables.values():
        table.rows.sort()
    return swapped
