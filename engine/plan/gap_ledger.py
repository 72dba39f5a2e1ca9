"""The ledger of gaps: which windows of which tags are not done yet, and why. Pure.

Invariant: what is done of a tag and its gaps add up to what is wanted of it, without overlap.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec
import numpy as np
import numpy.typing as npt

from ..model import Micros, Window
from .timeline import DAY, HOUR, SECOND, gaps

# A picture has so many columns at most, of the shortest of these lengths that does.
_MOST_COLUMNS = 48
_ALMOST_ALL = math.nextafter(1, 0)
_MINUTE: Micros = 60 * SECOND
_COLUMNS = (
    _MINUTE, 5 * _MINUTE, 15 * _MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY, 3650 * DAY,
)  # fmt: skip


class GapReason(Enum):
    """Why a window is not done."""

    NEVER_READ = "never read"
    BEHIND = "behind"
    HISTORY = "history"
    FAILED = "failed"
    HOLE = "cannot be read"


class TagProgress(msgspec.Struct, frozen=True, gc=False):
    """One tag: what is done of it, what is wanted, and the error that holds it up, if one does. `holes` lie in what is
    done, in order: where they begin and end, and why they cannot be read.
    """

    web_id: str
    done: Window | None
    wanted: Window
    error: str | None = None
    holes: tuple[tuple[Micros, Micros, str], ...] = ()


class OpenGap(msgspec.Struct, frozen=True, gc=False):
    """A window of a tag that is not done."""

    web_id: str
    start: Micros
    end: Micros
    reason: GapReason
    error: str | None = None


@dataclass(frozen=True, slots=True)
class GapGroup:
    """Tags that miss the same window for the same reason."""

    reason: GapReason
    start: Micros
    end: Micros
    web_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The course of time in columns of equal length: the share of each that is done, None where nothing is wanted."""

    start: Micros
    step: Micros
    shares: tuple[float | None, ...]

    @property
    def end(self) -> Micros:
        return self.start + self.step * len(self.shares)


@dataclass(frozen=True, slots=True)
class GapLedger:
    """All gaps of a pipeline. `missing` is in microseconds of tags: two tags that miss an hour miss two."""

    tags: int
    complete: int
    missing: int
    gaps: tuple[OpenGap, ...]
    coverage: Coverage | None


def gap_ledger(tag_progress: Iterable[TagProgress]) -> GapLedger:
    """Draw up the ledger. A window that is empty (`low == high`) is nothing done."""
    done: list[Window] = []
    found: list[OpenGap] = []
    tags = complete = 0
    for tag in tag_progress:
        tags += 1
        read = tag.done if tag.done is not None and tag.done.start < tag.done.end else None
        missing = [_open_gap(tag, gap.start, gap.end, read, gap.backward) for gap in gaps(read, tag.wanted)]
        if read is not None:
            missing += [OpenGap(tag.web_id, start, end, GapReason.HOLE, reason) for start, end, reason in tag.holes]
            done += _outside(read, tag.holes)
        complete += not missing
        found += missing
    open_windows = [Window(gap.start, gap.end) for gap in found]
    return GapLedger(
        tags=tags,
        complete=complete,
        missing=sum(gap.end - gap.start for gap in found),
        gaps=tuple(found),
        coverage=coverage(done, open_windows),
    )


def _outside(read: Window, holes: Sequence[tuple[Micros, Micros, str]]) -> list[Window]:
    """What is done, without the holes in it."""
    edges = [read.start, *(edge for start, end, _ in holes for edge in (start, end)), read.end]
    return [Window(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]


def _open_gap(tag: TagProgress, start: Micros, end: Micros, read: Window | None, backward: bool) -> OpenGap:
    if backward:  # what failed is reading what is new
        return OpenGap(tag.web_id, start, end, GapReason.HISTORY)
    if tag.error is not None:
        return OpenGap(tag.web_id, start, end, GapReason.FAILED, tag.error)
    return OpenGap(tag.web_id, start, end, GapReason.NEVER_READ if read is None else GapReason.BEHIND)


def grouped(found: Iterable[OpenGap], *, to: Micros = 1) -> tuple[GapGroup, ...]:
    """Put tags together that miss the same window, give or take `to`; those that most tags miss first."""
    piles: dict[tuple[GapReason, int, int], list[OpenGap]] = defaultdict(list)
    for gap in found:
        piles[gap.reason, gap.start // to, gap.end // to].append(gap)
    groups = (
        GapGroup(reason, min(g.start for g in pile), max(g.end for g in pile), tuple(g.web_id for g in pile))
        for (reason, _, _), pile in piles.items()
    )
    return tuple(sorted(groups, key=lambda group: (-len(group.web_ids), group.start, group.end, group.reason.value)))


def coverage(done: Sequence[Window], missing: Sequence[Window]) -> Coverage | None:
    """Show how much of each stretch of time is done; None where there is no time to speak of."""
    everything = [*done, *missing]
    if not everything:
        return None
    first, last = min(w.start for w in everything), max(w.end for w in everything)
    step = next((s for s in _COLUMNS if -(-last // s) - first // s <= _MOST_COLUMNS), None)
    if step is None:
        step = -(-(last - first) // (_MOST_COLUMNS - 1))
    begin = first // step * step
    edges = np.arange(begin, last + step, step, dtype=np.int64)
    have, lack = _within(edges, done), _within(edges, missing)
    return Coverage(begin, step, tuple(map(_share, have.tolist(), lack.tolist())))


def _share(have: int, lack: int) -> float | None:
    """How much is done; all of it only where nothing is missing."""
    if not have + lack:
        return None
    return 1.0 if not lack else min(have / (have + lack), _ALMOST_ALL)


def _within(edges: npt.NDArray[np.int64], windows: Sequence[Window]) -> npt.NDArray[np.int64]:
    """How much of the windows lies between each edge and the next."""
    starts = np.fromiter((w.start for w in windows), np.int64, len(windows))
    lengths = np.fromiter((w.end - w.start for w in windows), np.int64, len(windows))
    # Sums over many tags and decades may wrap round the end of 64 bits; their differences do not mind.
    before = np.array([np.clip(edge - starts, 0, lengths).sum() for edge in edges], np.int64)
    return np.diff(before)
