"""Parts the rows of an answer by what becomes of them. Pure.

Invariant: a row goes to one place at most, and the rows that are appended are those that the advances
account for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..model import Answer, Micros, Outcome
from ..plan.settled import Keep

__all__ = ["part"]

_ALL, _NONE = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


def part(answer: Answer, keep: Sequence[Keep]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The rows to append, and those to put in the place of what the table holds."""
    rows, outcomes = answer.rows, answer.outcomes
    nothing = rows.slice(0, 0)
    if all((k is Keep.FRESH and not o.overlap_rows) or not o.rows for k, o in zip(keep, outcomes, strict=True)):
        return rows, nothing
    owner = np.repeat(np.arange(len(outcomes)), np.fromiter((o.rows for o in outcomes), np.int64, len(outcomes)))
    micros = rows.column("timestamp").view(pa.int64()).to_numpy()
    bounds = np.array([_bounds(k, o) for k, o in zip(keep, outcomes, strict=True)], np.int64)[owner].T
    fresh, since, until = micros >= bounds[0], micros >= bounds[1], micros < bounds[2]
    replacing = since & until
    return rows.filter(pa.array(fresh)), rows.filter(pa.array(replacing)) if replacing.any() else nothing


def _bounds(keep: Keep, outcome: Outcome) -> tuple[Micros, Micros, Micros]:
    """From where on rows are appended; from where on and up to where they replace."""
    overlap = outcome.ask.overlap
    if keep is Keep.NOTHING:
        return _NONE, _NONE, _NONE
    if keep is Keep.FRESH:
        return overlap.end if overlap else _ALL, _NONE, _NONE
    return (overlap.end, overlap.start, overlap.end) if overlap else (_NONE, _ALL, _NONE)
