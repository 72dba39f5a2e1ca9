"""How far watermarks are behind a given time. Pure.

Of a tag that stores future data it is its present that counts, so that how far ahead it was read hides nothing:
it is then how long ago its forecast was looked at. Invariant: every tag is counted in exactly one bucket of the
histogram, and none is fresher than now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..model import Int64s, Micros

# Upper bounds in seconds, not included, and how they are called.
BUCKETS = (
    (60, "< 1 min"), (300, "< 5 min"), (900, "< 15 min"), (3_600, "< 1 h"), (21_600, "< 6 h"), (86_400, "< 1 d"),
    (604_800, "< 7 d"),
)  # fmt: skip
_OLDEST = "7 d and more"


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds behind now, over all tags, and how many tags lie in which bucket."""

    p50: float
    p95: float
    worst: float
    histogram: tuple[tuple[str, int], ...]


def freshness(highs: Iterable[Micros], now: Micros) -> Freshness | None:
    """How fresh tags are whose watermarks stand there; None without any. Clocks of two machines may differ a bit."""
    # Microseconds as integers: a list of half a million of them is no list of floats.
    behind = np.sort(np.maximum(0, now - np.fromiter(highs, np.int64)))
    if not len(behind):
        return None
    ends = np.searchsorted(behind, [bound * 1_000_000 for bound, _ in BUCKETS])
    counts = np.diff(ends, prepend=0, append=len(behind))
    names = [*(name for _, name in BUCKETS), _OLDEST]
    return Freshness(
        p50=_percentile(behind, 50),
        p95=_percentile(behind, 95),
        worst=float(behind[-1]) / 1e6,
        histogram=tuple(zip(names, counts.tolist(), strict=True)),
    )


def _percentile(ordered: Int64s, share: int) -> float:
    """Seconds, by the nearest rank: a value that at least `share` of 100 do not exceed."""
    return float(ordered[max(0, -(-len(ordered) * share // 100) - 1)]) / 1e6
