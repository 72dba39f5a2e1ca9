"""What an answer means for the table: values that the plan gives, and the flow carries out. Pure.

Invariant: a move never covers an event that was not handed over with it or before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from config.errors import ExtractError
from writers import NEVER, HoleChange, Moves

from ..model import Int64s, Micros, Outcomes, Tag
from .lanes import Reading
from .overlap import MASK

__all__ = ["Failure", "HoleNote", "Keep", "Keeps", "Settled", "Swap", "as_expected", "finished"]

Keeps: TypeAlias = npt.NDArray[np.int8]


class Keep(IntEnum):
    """What becomes of the rows of an outcome."""

    NOTHING = 0
    FRESH = 1  # those after the overlap are appended (without an overlap: all of them)
    REPLACE = 2  # as fresh, and those of the overlap take the place of what the table holds (without one: all do)


class Swap(msgspec.Struct, frozen=True, gc=False):
    """The rows that replace are all there are of the tag in `[start, end)`."""

    tag: Tag
    start: Micros
    end: Micros


@dataclass(frozen=True, slots=True)
class Failure:
    """A tag given up for this run; `low` and `high` are as far as it is done."""

    tag: Tag
    error: ExtractError
    low: Micros
    high: Micros


class HoleNote(msgspec.Struct, frozen=True):
    """What is to be written down of a window of a tag: that it cannot be read, and why; or, without an error, that it
    was read.
    """

    tag: Tag
    start: Micros
    end: Micros
    error: ExtractError | None = None

    @property
    def change(self) -> HoleChange:
        return HoleChange(self.tag.web_id, self.start, self.end, None if self.error is None else str(self.error))


@dataclass(frozen=True, slots=True)
class Settled:
    """What an answer means: moves once its rows are committed, and tags that are given up. `keep[n]` is what becomes
    of the rows of the nth outcome, a `Keep`; where they replace, a swap says of which window.
    """

    moves: tuple[Moves, ...] = ()
    failures: tuple[Failure, ...] = ()
    keep: Keeps = field(default_factory=lambda: np.zeros(0, np.int8))
    swaps: tuple[Swap, ...] = ()
    holes: tuple[HoleNote, ...] = ()


def as_expected(readings: Sequence[Reading], outcomes: Outcomes) -> npt.NDArray[np.bool_]:
    """Which readings an answer ends, with nothing to be told but that: they go forward, nothing failed, no event is
    left, and what was compared is as the table holds it.
    """
    size = len(readings)
    ends = np.fromiter((r.end for r in readings), np.int64, size)
    # Without anything to compare it is nothing, on both sides.
    unseen = np.fromiter(((r.expected - r.found) & MASK for r in readings), np.uint64, size)
    plain: npt.NDArray[np.bool_] = (outcomes.untils == ends) & (outcomes.overlap_digests == unseen)
    plain[[n for n, r in enumerate(readings) if r.backward or r.repair or r.mending or r.trouble]] = False
    plain[list(outcomes.errors)] = False
    return plain


def finished(readings: Sequence[Reading], outcomes: Outcomes, present: Micros | None) -> Moves:
    """What is done once the fresh rows of readings that ended `as_expected` are committed."""
    size = len(readings)
    # An event before what was compared was read in vain.
    since = np.fromiter((NEVER if r.check is None else r.check.start for r in readings), np.int64, size)
    return Moves(
        [r.tag.web_id for r in readings],
        np.fromiter((r.low for r in readings), np.int64, size),
        outcomes.untils,
        outcomes.rows - outcomes.overlap_rows,
        np.where(outcomes.last_events >= since, outcomes.last_events, NEVER),
        outcomes.last_digests,
        None if present is None else _ahead_from(readings, outcomes.untils, present),
    )


def _ahead_from(readings: Sequence[Reading], untils: Int64s, present: Micros) -> Int64s | None:
    """From where on of tags that store future data what is done is yet to come."""
    future = np.fromiter((r.tag.future for r in readings), np.bool_, len(readings))
    return np.where(future, np.minimum(untils, present), NEVER) if future.any() else None
