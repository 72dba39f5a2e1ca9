"""Parts the rows of an answer by what becomes of them. Pure.

Invariant: a row goes to one place at most, and the rows that are appended are those that the advances
account for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..model import Answer, Outcome
from ..plan.settled import Keep

__all__ = ["part"]


def part(answer: Answer, keep: Sequence[Keep]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The rows to append, and those to put in the place of what the table holds."""
    rows, outcomes = answer.rows, answer.outcomes
    nothing = rows.slice(0, 0)
    # Rows of an outcome are in order of time, so those that are not fresh come first.
    counts = np.array([o.rows for o in outcomes], np.int64)
    stale = np.array(
        [o.overlap_rows if k is Keep.FRESH else _stale(k, o) for k, o in zip(keep, outcomes, strict=True)], np.int64
    )
    replacing = nothing
    if Keep.REPLACE in keep:
        replacing = rows.filter(pa.array(_replacing(answer, keep, np.cumsum(counts) - counts)))
    if not stale.any():
        return rows, replacing
    fresh_from = np.cumsum(counts) - counts + stale
    return rows.filter(pa.array(np.arange(rows.num_rows) >= np.repeat(fresh_from, counts))), replacing


def _stale(keep: Keep, outcome: Outcome) -> int:
    """How many of the first rows are not appended."""
    if keep is Keep.NOTHING or (keep is Keep.REPLACE and outcome.ask.overlap is None):
        return outcome.rows
    return outcome.overlap_rows


def _replacing(answer: Answer, keep: Sequence[Keep], firsts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows take the place of others. Few tags at a time are so."""
    chosen = np.zeros(answer.rows.num_rows, np.bool_)
    micros = answer.rows.column("timestamp").view(pa.int64()).to_numpy()
    for first, kept, outcome in zip(firsts.tolist(), keep, answer.outcomes, strict=True):
        if kept is Keep.REPLACE:
            overlap = outcome.ask.overlap
            end = first + (outcome.rows if overlap is None else outcome.overlap_rows)
            chosen[first:end] = overlap is None or micros[first:end] >= overlap.start
    return chosen
