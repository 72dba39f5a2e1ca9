"""What watermarks are to be after a commit, while it is in the making. No I/O.

Imports nothing of the engine. Invariant: the marks see nothing of a draft before it is settled. Moving many
tags at once gives what `widen` gives of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .holes import Hole, HoleChange, Holes, after
from .marks import FIELDS, ROWS_BEHIND, ROWS_TOTAL, MarkColumns, Marks, Places, mark_of, row_of, trouble_of
from .watermark import NEVER, Ints, Move, Moves, Watermark, widen

__all__ = ["Draft"]


class Draft:
    """A copy of the marks in which tags are moved, `behind` by one who reads history. Finish it before the next one
    is begun.
    """

    def __init__(self, marks: Marks, *, behind: bool = False) -> None:
        self._marks = marks
        self._behind = behind
        self._base = marks.columns
        self._known = len(marks.columns)
        self._more: dict[str, int] = {}  # the places of tags that the marks do not have
        self._whole = marks.columns.whole.copy()
        self._troubles = dict(marks.columns.troubles)
        # Where there is something new to say, and where a window is done: each may be told several times.
        self._said: list[Places] = []
        self._moved: list[Places] = []
        self._holes: dict[str, list[HoleChange]] = {}

    def __contains__(self, web_id: object) -> bool:
        return web_id in self._more or web_id in self._marks

    @property
    def has_news(self) -> bool:
        """Whether there is a tag to say something new of."""
        return bool(self._holes) or any(map(len, self._said))

    @property
    def tags(self) -> int:
        """Tags of which a window was said to be done."""
        return len(self._each(self._moved))

    @property
    def outdated(self) -> bool:
        """Whether the marks are not those any more that were copied, so that this must not take their place."""
        return self._marks.columns is not self._base

    def move(self, move: Move) -> None:
        """Apply a move. Raises ValueError for a window that leaves a gap."""
        web_id = move.tag_webid
        known = self._mark(web_id) if web_id in self else None
        mark = widen(known, move, behind=self._behind)
        places = self._placed([web_id])
        if mark != known:  # one that was only looked at again, or fails as before, has nothing new to say
            self._put(int(places[0]), mark)
            self._said.append(places)
        if move.low < move.high:
            self._moved.append(places)

    def move_all(self, moves: Moves) -> None:
        """Apply moves of many tags, as `move` does one after the other."""
        for each in moves.apart():
            self._move_each(each)

    def _move_each(self, moves: Moves) -> None:
        """Apply moves of tags that come once."""
        known = self._size
        places = self._placed(moves.web_ids)
        news = places >= known
        self._whole[places[news]] = _begun(moves.low[news])
        before = self._whole[places]
        after, refused = _widened(before, moves, behind=self._behind)
        if refused.any():
            for move in moves:
                self.move(move)  # says which, and why
            return
        self._whole[places] = after
        news |= (after != before).any(axis=1)
        if self._troubles:
            news |= np.array([bool(self._troubles.pop(place, None)) for place in places.tolist()], np.bool_)
        self._said.append(places[news])
        self._moved.append(places[moves.low < moves.high])

    def note_holes(self, changes: Iterable[HoleChange]) -> None:
        """Say what cannot be read, or was read by now, one after the other."""
        for change in changes:
            self._holes.setdefault(change.tag_webid, []).append(change)

    def holes(self, now: int) -> tuple[Holes, list[HoleChange], list[Hole]]:
        """The holes of all tags after the commit; and of those it changes, what it closes and what it leaves open."""
        every = dict(self._marks.holes)
        closed: list[HoleChange] = []
        opened: list[Hole] = []
        for web_id, changes in self._holes.items():
            before = every.pop(web_id, ())
            left = after(before, changes, now)
            if left:
                every[web_id] = left
            closed += changes
            # What is left of one that was cut is said again: so of rows that overlap the newest alone counts.
            opened += [hole for hole in left if hole not in before]
        return every, closed, opened

    def said(self, inserted: Mapping[str, int]) -> MarkColumns:
        """The watermarks of the tags that there is something new to say of, with the rows that a correction inserts: a
        tag that is corrected and does not move says again where it stands.
        """
        grown, counts = self._counted(inserted)
        places = self._each([*self._said, grown])
        known, more = self._base.web_ids, list(self._more)
        web_ids = [known[p] if p < self._known else more[p - self._known] for p in places.tolist()]
        found = MarkColumns((), self._whole, self._troubles).taken(places, web_ids)
        self._count(found.whole, np.searchsorted(places, grown), counts)
        return found

    def settle(self, inserted: Mapping[str, int], holes: Holes) -> None:
        """It has landed: have the marks be as was said."""
        grown, counts = self._counted(inserted)
        self._count(self._whole, grown, counts)
        self._marks.grow(self._more, self._whole[: self._size], self._troubles)
        self._marks.holes = holes

    def _counted(self, inserted: Mapping[str, int]) -> tuple[Places, Ints]:
        return self._placed(list(inserted)), np.fromiter(inserted.values(), np.int64, len(inserted))

    def _count(self, whole: Ints, places: Places, rows: Ints) -> None:
        whole[places, ROWS_TOTAL] += rows
        if self._behind:
            whole[places, ROWS_BEHIND] += rows

    def _mark(self, web_id: str) -> Watermark:
        place = int(self._placed([web_id])[0])
        return mark_of(web_id, self._whole[place].tolist(), self._troubles.get(place))

    def _put(self, place: int, mark: Watermark) -> None:
        self._whole[place] = row_of(mark)
        self._troubles.pop(place, None)
        if trouble := trouble_of(mark):
            self._troubles[place] = trouble

    @property
    def _size(self) -> int:
        return self._known + len(self._more)

    def _placed(self, web_ids: Sequence[str]) -> Places:
        """Give the places of these tags, new ones to those that have none."""
        places = self._marks.places(web_ids)
        for at in np.flatnonzero(places < 0).tolist():
            places[at] = self._more.setdefault(web_ids[at], self._size)
        if self._size > len(self._whole):
            room = np.empty((2 * self._size, len(FIELDS)), np.int64)
            room[: len(self._whole)] = self._whole
            self._whole = room
        return places

    def _each(self, told: Iterable[Places]) -> Places:
        """Put together places of which some are told several times; in ascending order."""
        are = np.zeros(self._size, np.bool_)
        for places in told:
            are[places] = True
        return np.flatnonzero(are)


def _begun(low: Ints) -> Ints:
    """Rows of tags of which nothing is done yet: as if an empty window had been read where theirs begin."""
    nothing, never = np.zeros_like(low), np.full_like(low, NEVER)
    return np.stack((low, low, never, nothing, never, never, nothing), axis=1)


def _widened(before: Ints, moves: Moves, *, behind: bool) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Apply to each row of `FIELDS` its move as `widen` does; give also which moves it refuses."""
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
