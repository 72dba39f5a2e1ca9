"""What an answer shows of events that the table holds already, as digests. Pure.

Done once over a whole answer, since most tags have a row or two to sum up. Invariant: only rows that
count (complete, not cut off) are summed up; decoding has dropped the others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from writers.digest import TRUTH, row_hashes, sums

from ..model import Answer, Window

__all__ = ["with_digests"]

_Int64s = npt.NDArray[np.int64]
_NEVER = int(np.iinfo(np.int64).min)
_NO_OVERLAP = Window(_NEVER, _NEVER)


def with_digests(answer: Answer) -> Answer:
    """Give the outcomes of an answer the digests of their last event and of their overlap."""
    outcomes = answer.outcomes
    size = len(outcomes)
    if not answer.rows.num_rows:
        return answer
    counts = np.fromiter((o.rows for o in outcomes), np.int64, size)
    owner = np.repeat(np.arange(size), counts)
    micros = answer.rows.column("timestamp").view(pa.int64()).to_numpy()
    lasts = np.fromiter((_NEVER if o.last_event is None else o.last_event for o in outcomes), np.int64, size)
    overlaps = [o.ask.overlap or _NO_OVERLAP for o in outcomes]
    starts = np.fromiter((overlap.start for overlap in overlaps), np.int64, size)
    ends = np.fromiter((overlap.end for overlap in overlaps), np.int64, size)
    is_last = micros == lasts[owner]
    not_fresh = micros < ends[owner]
    compared = not_fresh & (micros >= starts[owner])
    before = np.bincount(owner, not_fresh, size).astype(np.int64)
    picked = np.flatnonzero(is_last | compared)
    hashes = row_hashes(answer.rows.select(TRUTH).take(pa.array(picked)))
    last_digests = _summed(hashes, owner[picked], is_last[picked], size)
    overlap_digests = _summed(hashes, owner[picked], compared[picked], size)
    for o, last, overlap, n in zip(outcomes, last_digests, overlap_digests, before.tolist(), strict=True):
        if o.last_event is not None:
            o.last_digest = last
        o.overlap_digest = overlap
        o.overlap_rows = n
    return answer


def _summed(hashes: npt.NDArray[np.uint64], owner: _Int64s, chosen: npt.NDArray[np.bool_], size: int) -> list[int]:
    _, totals = sums(hashes[chosen], owner[chosen], size)
    found: list[int] = totals.tolist()
    return found
