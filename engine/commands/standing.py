"""How a pipeline stands: from its watermarks and its newest commits to what a person wants to know. Pure.

Freshness is how far a tag's watermark lies behind a given now. Invariant: every tag is counted in
exactly one bucket of the histogram, or among the tags of which nothing is read yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from writers import Watermark
from writers.history import Commit

from ..model import Micros

__all__ = ["BUCKETS", "Freshness", "LastRun", "Standing", "freshness", "last_runs", "standing"]

# Upper bounds in seconds, not included, and how they are called.
BUCKETS = (
    (60, "< 1 min"), (300, "< 5 min"), (900, "< 15 min"), (3_600, "< 1 h"), (21_600, "< 6 h"), (86_400, "< 1 d"),
    (604_800, "< 7 d"),
)  # fmt: skip
_OLDEST = "7 d and more"
# A tag that is this much behind the freshest one is not just waiting for its turn.
_BEHIND: Micros = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds behind now, over all tags, and how many tags lie in which bucket."""

    p50: float
    p95: float
    worst: float
    histogram: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A pipeline at one instant. `low` and `high` are the earliest and latest watermark of each kind."""

    tags: int
    unread: int
    rows: int
    low: tuple[Micros, Micros] | None
    high: tuple[Micros, Micros] | None
    freshness: Freshness | None
    troubled: tuple[Watermark, ...]
    behind: tuple[Watermark, ...]


@dataclass(frozen=True, slots=True)
class LastRun:
    """What the log knows of a run: its newest commit and its events; `or_more` where older commits were not looked at."""

    run_id: str
    shard: str
    ended_at: Micros
    events: int
    or_more: bool = False


def standing(marks: Mapping[str, Watermark], now: Micros) -> Standing:
    """Sum the watermarks up. Troubled tags and those behind come worst first."""
    read = [mark for mark in marks.values() if mark.high > mark.low]
    lows, highs = [mark.low for mark in read], [mark.high for mark in read]
    troubled = sorted((m for m in marks.values() if m.status != "ok"), key=lambda m: (m.high, m.tag_webid))
    newest = max(highs, default=0)
    behind = sorted((m for m in read if m.status == "ok" and newest - m.high > _BEHIND), key=lambda m: m.high)
    return Standing(
        tags=len(marks),
        unread=len(marks) - len(read),
        rows=sum(mark.rows_total for mark in marks.values()),
        low=(min(lows), max(lows)) if lows else None,
        high=(min(highs), max(highs)) if highs else None,
        freshness=freshness(highs, now),
        troubled=tuple(troubled),
        behind=tuple(behind),
    )


def freshness(highs: Iterable[Micros], now: Micros) -> Freshness | None:
    """How fresh tags are whose watermarks stand there; None without any."""
    ages = sorted((now - high) / 1e6 for high in highs)
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


def last_runs(
    pipeline: str, data: Sequence[Commit], watermarks: Sequence[Commit], *, limit: int
) -> tuple[LastRun, ...]:
    """The newest runs of a pipeline, by the newest commits to its two tables, which come newest first."""
    mine = f"osipi/{pipeline}/"
    cut = data[-1].run_id if data and data[-1].version > 1 else ""
    runs: dict[str, LastRun] = {}
    for commit, rows in (*((c, c.rows) for c in data), *((c, 0) for c in watermarks)):
        if not commit.app_id.startswith(mine) or not commit.run_id:
            continue
        shard = commit.app_id.rpartition("/")[2]
        known = runs.get(commit.run_id, LastRun(commit.run_id, shard, commit.at, 0, commit.run_id == cut))
        runs[commit.run_id] = replace(known, ended_at=max(known.ended_at, commit.at), events=known.events + rows)
    return tuple(sorted(runs.values(), key=lambda run: -run.ended_at)[:limit])
