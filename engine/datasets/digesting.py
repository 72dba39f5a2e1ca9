"""What an answer shows of events that the table holds already, as digests. Pure.

Done once over a whole answer, since most tags have a row or two to sum up. Invariant: only rows that
count (complete, not cut off) are summed up; decoding has dropped the others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from writers import NEVER
from writers.digest import TRUTH, row_hashes, sums

from ..model import Answer, Int64s, UInt64s, Window

__all__ = ["with_digests"]

_NO_OVERLAP = Window(NEVER, NEVER)


def with_digests(answer: Answer) -> Answer:
    """Give the outcomes of an answer the digests of their last event and of their overlap."""
    rows, outcomes = answer.rows, answer.outcomes
    size = len(outcomes)
    if not rows.num_rows:
        return answer
    owner = np.repeat(np.arange(size), outcomes.rows)
    micros = rows.column("timestamp").view(pa.int64()).to_numpy()
    overlaps = [ask.overlap or _NO_OVERLAP for ask in outcomes.asks]
    starts = np.fromiter((overlap.start for overlap in overlaps), np.int64, size)
    ends = np.fromiter((overlap.end for overlap in overlaps), np.int64, size)
    is_last = micros == outcomes.last_events[owner]
    not_fresh = micros < ends[owner]
    compared = not_fresh & (micros >= starts[owner])
    picked = np.flatnonzero(is_last | compared)
    hashes = row_hashes(rows.select(TRUTH).take(pa.array(picked)))
    digested = replace(
        outcomes,
        last_digests=_summed(hashes, owner[picked], is_last[picked], size),
        overlap_digests=_summed(hashes, owner[picked], compared[picked], size),
        overlap_rows=np.bincount(owner[not_fresh], minlength=size),
    )
    return replace(answer, outcomes=digested)


def _summed(hashes: UInt64s, owner: Int64s, chosen: npt.NDArray[np.bool_], size: int) -> UInt64s:
    return sums(hashes[chosen], owner[chosen], size)[1]
