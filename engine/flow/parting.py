"""Parts the rows of an answer by what becomes of them. Pure.

Invariant: a row goes to one place at most, and the rows that are appended are those that the moves account
for.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..model import Answer
from ..plan.settled import Keep, Keeps

__all__ = ["part"]


def part(answer: Answer, keep: Keeps) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The rows to append, and those to put in the place of what the table holds. `keep`: of each outcome."""
    rows, outcomes = answer.rows, answer.outcomes
    # Rows of an outcome are in order of time, so those that are not fresh come first.
    stale = np.where(keep == Keep.NOTHING, outcomes.rows, outcomes.overlap_rows)
    firsts = np.cumsum(outcomes.rows) - outcomes.rows
    replacing = rows.slice(0, 0)
    differing = np.flatnonzero(keep == Keep.REPLACE).tolist()
    if differing:
        chosen = np.zeros(rows.num_rows, np.bool_)
        micros = rows.column("timestamp").view(pa.int64()).to_numpy()
        for n in differing:
            overlap, first = outcomes.asks[n].overlap, firsts[n]
            if overlap is None:
                stale[n] = outcomes.rows[n]
            end = first + stale[n]
            chosen[first:end] = overlap is None or micros[first:end] >= overlap.start
        replacing = rows.filter(pa.array(chosen))
    if stale.any():
        rows = rows.filter(pa.array(np.arange(rows.num_rows) >= np.repeat(firsts + stale, outcomes.rows)))
    return rows, replacing
