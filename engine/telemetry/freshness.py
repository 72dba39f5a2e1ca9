"""How far watermarks lie behind a given now. Pure.

Of a tag that stores future data it is its present that counts, so that how far ahead it was read hides nothing:
it is then how long ago its forecast was looked at. Invariant: every tag is counted in exactly one bucket of the
histogram, and none is fresher than now.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..model import Micros

__all__ = ["BUCKETS", "Freshness", "freshness"]

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
    ages = sorted(max(0, now - high) / 1e6 for high in highs)
    if not ages:
        return None
    bounds = [bound for bound, _ in BUCKETS]
    names = [*(name for _, name in BUCKETS), _OLDEST]
    counts = [0] * len(names)
    for age in ages:
        counts[bisect_right(bounds, age)] += 1
    return Freshness(
        p50=_percentile(ages, 50),
        p95=_percentile(ages, 95),
        worst=ages[-1],
        histogram=tuple(zip(names, counts, strict=True)),
    )


def _percentile(ordered: Sequence[float], share: int) -> float:
    """The nearest rank: a value that at least `share` of 100 do not exceed."""
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]
