"""The watermarks as they will be after the commit that is being prepared. No I/O.

Invariant: the store does not change before `apply`, and the window of a tag only widens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .holes import Hole, HoleChange, Holes, after
from .model import NEVER, Ints, Moves, Trouble
from .store import FIELDS, ROWS_BEHIND, ROWS_TOTAL, RowIndices, WatermarkColumns, WatermarkStore


class PendingWatermarks:
    """A copy of the watermarks in which tags are moved; `behind`: by a backfill. Only one may be open at a time."""

    def __init__(self, watermarks: WatermarkStore, *, behind: bool = False) -> None:
        self._watermarks = watermarks
        self._behind = behind
        self._base = watermarks.columns
        self._known = len(watermarks.columns)
        self._more: dict[str, int] = {}  # indices of tags that the store does not have
        self._values = watermarks.columns.values.copy()
        self._troubles = dict(watermarks.columns.troubles)
        # Tags whose row changed, and tags of which a window was done. A tag may be listed several times.
        self._changed: list[RowIndices] = []
        self._moved: list[RowIndices] = []
        self._holes: dict[str, list[HoleChange]] = {}

    def __contains__(self, web_id: object) -> bool:
        return web_id in self._more or web_id in self._watermarks

    @property
    def has_changes(self) -> bool:
        """Whether the commit has a watermark or a hole to write."""
        return bool(self._holes) or any(map(len, self._changed))

    @property
    def tags(self) -> int:
        """Number of tags of which a window was done."""
        return len(self._union(self._moved))

    @property
    def outdated(self) -> bool:
        """Whether the store has changed since it was copied, so that this copy must not replace it."""
        return self._watermarks.columns is not self._base

    def move(self, moves: Moves) -> None:
        """Apply moves in order. Raises ValueError for a window that leaves a gap: it would count as done, unread."""
        for each in moves.without_repeats():
            self._move_each(each)

    def _move_each(self, moves: Moves) -> None:
        """Apply moves of tags that come once."""
        known = self._size
        indices = self._indices_of(moves.web_ids)
        changes = indices >= known
        self._values[indices[changes]] = _initial_values(moves.low[changes])
        before = self._values[indices]
        after, refused = _widen_values(before, moves, behind=self._behind)
        if refused.any():
            at = int(np.argmax(refused))
            raise ValueError(_refusal(moves, at, before[at]))
        self._values[indices] = after
        changes |= (after != before).any(axis=1)
        if self._troubles or moves.troubles:
            for at, index in enumerate(indices.tolist()):
                changes[at] |= self._has_new_trouble(index, moves.troubles.get(at))
        self._changed.append(indices[changes])
        self._moved.append(indices[moves.low < moves.high])

    def _has_new_trouble(self, index: int, trouble: Trouble | None) -> bool:
        before = self._troubles.pop(index, None)
        if trouble is not None:
            self._troubles[index] = trouble
        return before != trouble

    def note_holes(self, changes: Iterable[HoleChange]) -> None:
        """Note what cannot be read, or has been read by now, in order."""
        for change in changes:
            self._holes.setdefault(change.tag_webid, []).append(change)

    def holes(self, now: int) -> tuple[Holes, list[HoleChange], list[Hole]]:
        """The holes of all tags after the commit; and of those it changes, what it closes and what it leaves open."""
        every = dict(self._watermarks.holes)
        closed: list[HoleChange] = []
        opened: list[Hole] = []
        for web_id, changes in self._holes.items():
            before = every.pop(web_id, ())
            left = after(before, changes, now)
            if left:
                every[web_id] = left
            closed += changes
            # What is left of a hole that was cut is written again: of rows that overlap, only the newest counts.
            opened += [hole for hole in left if hole not in before]
        return every, closed, opened

    def changed(self, inserted: Mapping[str, int]) -> WatermarkColumns:
        """The watermark rows that this commit must write.

        `inserted`: rows that a correction inserts, by tag. A tag that is corrected and does not move gets a row, too.
        """
        grown, counts = self._counted(inserted)
        indices = self._union([*self._changed, grown])
        known, more = self._base.web_ids, list(self._more)
        web_ids = [known[p] if p < self._known else more[p - self._known] for p in indices.tolist()]
        found = WatermarkColumns((), self._values, self._troubles).select(indices, web_ids)
        self._count(found.values, np.searchsorted(indices, grown), counts)
        return found

    def apply(self, inserted: Mapping[str, int], holes: Holes) -> None:
        """Update the store: the commit has landed."""
        grown, counts = self._counted(inserted)
        self._count(self._values, grown, counts)
        self._watermarks.grow(self._more, self._values[: self._size], self._troubles)
        self._watermarks.holes = holes

    def _counted(self, inserted: Mapping[str, int]) -> tuple[RowIndices, Ints]:
        return self._indices_of(list(inserted)), np.fromiter(inserted.values(), np.int64, len(inserted))

    def _count(self, values: Ints, indices: RowIndices, rows: Ints) -> None:
        values[indices, ROWS_TOTAL] += rows
        if self._behind:
            values[indices, ROWS_BEHIND] += rows

    @property
    def _size(self) -> int:
        return self._known + len(self._more)

    def _indices_of(self, web_ids: Sequence[str]) -> RowIndices:
        """Give the index of each tag; a tag that has none gets one."""
        indices = self._watermarks.row_indices(web_ids)
        for at in np.flatnonzero(indices < 0).tolist():
            indices[at] = self._more.setdefault(web_ids[at], self._size)
        if self._size > len(self._values):
            room = np.empty((2 * self._size, len(FIELDS)), np.int64)
            room[: len(self._values)] = self._values
            self._values = room
        return indices

    def _union(self, listed: Iterable[RowIndices]) -> RowIndices:
        """Give each of the listed indices once, in ascending order."""
        are = np.zeros(self._size, np.bool_)
        for indices in listed:
            are[indices] = True
        return np.flatnonzero(are)


def _initial_values(low: Ints) -> Ints:
    """Rows of new tags: an empty window where their first one begins."""
    nothing, never = np.zeros_like(low), np.full_like(low, NEVER)
    return np.stack((low, low, never, nothing, never, never, nothing), axis=1)


def _widen_values(before: Ints, moves: Moves, *, behind: bool) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Apply to each row of `FIELDS` its move; give also which moves leave a gap.

    A move that reaches the end of what is done decides about the last event; of others a later event counts, but not one
    that lies below what is done.
    """
    low, high, last_event, rows_total, digest, ahead_from, rows_behind = before.T
    done, empty = low < high, moves.low == moves.high
    gap = np.where(done, (moves.low > high) | (moves.high < low), moves.low > moves.high)
    below = done & (moves.last_event < low)
    decides = (moves.high >= high) | (moves.last_event >= last_event)
    newer = (moves.last_event != NEVER) & ((last_event == NEVER) | (~below & decides))
    after = (
        np.where(empty, low, np.where(done, np.minimum(low, moves.low), moves.low)),
        np.where(empty, high, np.where(done, np.maximum(high, moves.high), moves.high)),
        np.where(newer, moves.last_event, last_event),
        rows_total + moves.rows,
        np.where(newer, moves.last_digest.view(np.int64), digest),
        ahead_from if moves.ahead_from is None else np.maximum(ahead_from, moves.ahead_from),
        rows_behind + moves.rows if behind else rows_behind,
    )
    return np.stack(after, axis=1), gap & ~empty


def _refusal(moves: Moves, at: int, before: Ints) -> str:
    window = f"the window [{moves.low[at]}, {moves.high[at]}) of {moves.web_ids[at]}"
    low, high = before[:2].tolist()
    return (
        f"{window} does not touch [{low}, {high}), which is done" if low < high else f"{window} ends before it starts"
    )
