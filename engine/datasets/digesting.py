"""What an answer shows of events that the table holds already, as digests. Pure.

Done once over a whole answer, since most tags have a row or two to sum up. Invariant: only rows that
count (complete, not cut off) are summed up; decoding has dropped the others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from writers.digest import TRUTH, row_hashes, sums

from ..model import Answer, Outcome

__all__ = ["with_digests"]

_Int64s = npt.NDArray[np.int64]
_NEVER = int(np.iinfo(np.int64).min)


def with_digests(answer: Answer) -> Answer:
    """The same answer, its outcomes with digests of their last event and their overlap."""
    outcomes = answer.outcomes
    if not answer.rows.num_rows:
        return answer
    size = len(outcomes)
    owner = np.repeat(np.arange(size), np.fromiter((o.rows for o in outcomes), np.int64, size))
    micros = answer.rows.column("timestamp").view(pa.int64()).to_numpy()
    lasts = np.array([_NEVER if o.last_event is None else o.last_event for o in outcomes], np.int64)
    overlaps = [(o.ask.overlap.start, o.ask.overlap.end) if o.ask.overlap else (_NEVER, _NEVER) for o in outcomes]
    starts, ends = np.array(overlaps, np.int64).T
    is_last = micros == lasts[owner]
    not_fresh = micros < ends[owner]
    compared = not_fresh & (micros >= starts[owner])
    before = np.bincount(owner, not_fresh, size).astype(np.int64)
    picked = np.flatnonzero(is_last | compared)
    hashes = row_hashes(answer.rows.select(TRUTH).take(pa.array(picked)))
    last_digests = _summed(hashes, owner[picked], is_last[picked], size)
    overlap_digests = _summed(hashes, owner[picked], compared[picked], size)
    told = zip(outcomes, lasts.tolist(), last_digests, overlap_digests, before.tolist(), strict=True)
    return Answer(
        answer.rows,
        tuple(
            Outcome(
                o.ask, o.rows, o.until, o.last_event, o.error, o.recheck, None if last == _NEVER else digest, overlap, n
            )
            for o, last, digest, overlap, n in told
        ),
        answer.body_bytes,
    )


def _summed(hashes: npt.NDArray[np.uint64], owner: _Int64s, chosen: npt.NDArray[np.bool_], size: int) -> list[int]:
    _, totals = sums(hashes[chosen], owner[chosen], size)
    found: list[int] = totals.tolist()
    return found
