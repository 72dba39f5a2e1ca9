"""What an answer means for the table: the plan gives these values, and the flow carries them out. Pure.

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

from ..model import AskOutcomes, Int64s, Micros, Tag
from .tag_cursor import GapKind, TagCursor

RowDispositions: TypeAlias = npt.NDArray[np.int8]


class RowDisposition(IntEnum):
    """What the table does with the rows of an outcome."""

    NOTHING = 0
    FRESH = 1  # those after the overlap are appended (without an overlap: all of them)
    REPLACE = 2  # as fresh, and those of the overlap take the place of what the table holds (without one: all do)


class ReplacedWindow(msgspec.Struct, frozen=True, gc=False):
    """The rows that replace are all there are of the tag in `[start, end)`."""

    tag: Tag
    start: Micros
    end: Micros


@dataclass(frozen=True, slots=True)
class TagFailure:
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
class ChunkResult:
    """What an answer means: moves once its rows are committed, and tags that are given up. `keep[n]` says where the rows
    of the nth outcome go, a `RowDisposition`; where they replace, a `ReplacedWindow` says which window.
    """

    moves: tuple[Moves, ...] = ()
    failures: tuple[TagFailure, ...] = ()
    dispositions: RowDispositions = field(default_factory=lambda: np.zeros(0, np.int8))
    replaced: tuple[ReplacedWindow, ...] = ()
    holes: tuple[HoleNote, ...] = ()


def as_expected(cursors: Sequence[TagCursor], outcomes: AskOutcomes) -> npt.NDArray[np.bool_]:
    """Which cursors an answer ends without anything else to do: they go forward, nothing failed, no event is
    left, and what was compared is as the table holds it.
    """
    size = len(cursors)
    ends = np.fromiter((r.end for r in cursors), np.int64, size)
    # Without anything to compare it is nothing, on both sides.
    unseen = np.fromiter((0 if (c := r.comparison) is None else c.missing for r in cursors), np.uint64, size)
    plain: npt.NDArray[np.bool_] = (outcomes.untils == ends) & (outcomes.overlap_digests == unseen)
    forward = GapKind.FORWARD
    plain[
        [
            n
            for n, r in enumerate(cursors)
            if r.kind is not forward or r.recovery is not None or ((c := r.comparison) is not None and c.replacing)
        ]
    ] = False
    plain[list(outcomes.errors)] = False
    return plain


def finished(cursors: Sequence[TagCursor], outcomes: AskOutcomes, present: Micros | None) -> Moves:
    """What is done once the fresh rows of cursors that ended `as_expected` are committed."""
    size = len(cursors)
    # An event before what was compared was read in vain.
    since = np.fromiter((NEVER if (c := r.comparison) is None else c.window.start for r in cursors), np.int64, size)
    return Moves(
        [r.tag.web_id for r in cursors],
        np.fromiter((r.low for r in cursors), np.int64, size),
        outcomes.untils,
        outcomes.rows - outcomes.overlap_rows,
        np.where(outcomes.last_events >= since, outcomes.last_events, NEVER),
        outcomes.last_digests,
        None if present is None else _ahead_from(cursors, outcomes.untils, present),
    )


def _ahead_from(cursors: Sequence[TagCursor], untils: Int64s, present: Micros) -> Int64s | None:
    """From where on of tags that store future data what is done is yet to come."""
    future = np.fromiter((r.tag.future for r in cursors), np.bool_, len(cursors))
    return np.where(future, np.minimum(untils, present), NEVER) if future.any() else None
