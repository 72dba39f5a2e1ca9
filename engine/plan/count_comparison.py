"""Compares the counts of a table and its source, day by day. Pure.

It is not documented whether a server counts bad events, too. A day agrees if its count is that of all rows, or that of
the good ones. Days with both kinds of events show which of the two a server counts (for points of a type, or for all
while they show too little); from then on only that count agrees. Where a server gives no count, nothing is compared.
Invariant: every day of a tag's window is reported as agreeing, as disagreeing, or as not compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from ..model import Micros, Tag, Window
from .timeline import DAY, SECOND

Int32s = npt.NDArray[np.int32]
# A window of a tag that has to be read again.
SuspectWindow: TypeAlias = tuple[Tag, Window]

Bools = npt.NDArray[np.bool_]

# In place of a count: the server gave none, was not asked for one, or said that there is nothing to count.
NOT_COUNTED, NOT_ASKED, NO_DATA = -1, -2, -3
_MINUTE: Micros = 60 * SECOND
# So many days must support a rule, and so many times as many as those that contradict it.
_ENOUGH, _MAJORITY = 5, 9
_CONCLUSIVE = 100_000


class CountRule(Enum):
    """What a server counts."""

    GOOD = "good events"
    ALL = "good and bad events"
    UNKNOWN = "unknown"


class Disagreement(msgspec.Struct, frozen=True):
    """A tag's day, or the part of it that is done: what the source counts, and the rows of the table."""

    tag: Tag
    start: Micros
    end: Micros
    counted: int
    rows: int
    good: int


class UncomparedTag(msgspec.Struct, frozen=True):
    """A tag of which `days` out of `of_days` could not be compared."""

    tag: Tag
    days: int
    of_days: int


class CountComparison:
    """The days that were compared so far. It holds no day that agrees beyond doubt.

    `holes`, by WebID, are windows that could not be read, and are known as such: what disagrees on their days is no
    news, and is reported apart.
    """

    def __init__(
        self, tags: Sequence[Tag], windows: Sequence[Window], holes: Mapping[str, Sequence[Window]] | None = None
    ) -> None:
        self._tags, self._windows = tags, windows
        self._tag_index = {tag.web_id: place for place, tag in enumerate(tags)}
        self._holes = {
            self._tag_index[each]: list(found) for each, found in (holes or {}).items() if each in self._tag_index
        }
        self._days_compared = np.zeros(len(tags), np.int64)
        # Days that seemed to disagree, and do not, by place and day.
        self._cleared: set[tuple[int, int]] = set()
        self._types = np.array([tag.point_type for tag in tags], dtype=object)
        self._wrong: list[Int32s] = []
        # Days that only one of the rules explains, by that rule.
        self._explained: dict[CountRule, list[Int32s]] = {CountRule.GOOD: [], CountRule.ALL: []}
        self._evidence: dict[tuple[str, CountRule], int] = defaultdict(int)
        self._compared: dict[int, int] = defaultdict(int)
        self.events = 0

    @property
    def days(self) -> int:
        """Days of tags that were compared."""
        return sum(self._compared.values())

    def add(self, first_day: int, counted: Int32s, rows: Int32s, good: Int32s) -> None:
        """Compare some days of all tags: tags on the first axis, days from `first_day` since 1970 on the second."""
        # "No Data" is an answer, and tells nothing of whether bad events count.
        no_data = counted == NO_DATA
        asked = (counted >= 0) | no_data
        counted = np.where(no_data, 0, counted)
        as_good, as_all = counted == good, counted == rows
        self._days_compared += asked.sum(axis=1)
        self.events += int(rows[asked].sum(dtype=np.int64))
        for day, compared in enumerate(asked.sum(axis=0).tolist()):
            self._compared[first_day + day] += compared
        cells = (first_day, counted, rows, good)
        self._wrong.append(_cells(asked & ~as_good & ~as_all, *cells))
        for rule, shows in ((CountRule.GOOD, as_good & ~as_all), (CountRule.ALL, as_all & ~as_good)):
            self._learn(rule, _cells(asked & shows & ~no_data, *cells))

    def _learn(self, rule: CountRule, cells: Int32s) -> None:
        types = self._types[cells[:, 0]].astype(str)
        kinds, counts = np.unique(types, return_counts=True)
        for kind, number in zip(kinds.tolist(), counts.tolist(), strict=True):
            self._evidence[kind, rule] += number
        # What so many days have shown is not shown to be otherwise by the next; the list of them would not end.
        concluded = [k for k in kinds.tolist() if self._evidence[k, rule] > _CONCLUSIVE and self._rule(k) is rule]
        self._explained[rule].append(cells[~np.isin(types, concluded)])

    def rules(self) -> dict[str, CountRule]:
        """What the server counts of points of each type, as far as days have shown."""
        return {kind: self._rule(kind) for kind in sorted(set(self._types.tolist()))}

    def _rule(self, kind: str) -> CountRule:
        """Learned from the type itself, or, while that has shown too little, from all, unless it shows otherwise."""
        shown = {rule: self._evidence[kind, rule] for rule in (CountRule.GOOD, CountRule.ALL)}
        own = _decided(shown)
        if own is not CountRule.UNKNOWN:
            return own
        every = _decided({r: sum(n for (_, chosen), n in self._evidence.items() if chosen is r) for r in shown})
        return every if every is not CountRule.UNKNOWN and shown[every] == max(shown.values()) else CountRule.UNKNOWN

    def disagreements(self) -> list[Disagreement]:
        """Every day that disagrees, by tag and time, and touches no hole."""
        return self._in_order(self._disagreeing(in_holes=False))

    def holes(self) -> list[Disagreement]:
        """Every day that disagrees and touches a window that is known not to have been read, by tag and time."""
        return self._in_order(self._disagreeing(in_holes=True))

    def clear(self, found: Collection[Disagreement], *, compared: bool) -> None:
        """Days that seemed to disagree do not: they agree after all, or cannot be `compared`."""
        for each in found:
            place, day = self._tag_index[each.tag.web_id], each.start // DAY
            self._cleared.add((place, day))
            if not compared:
                self._compared[day] -= 1
                self._days_compared[place] -= 1
                self.events -= each.rows

    def uncompared(self) -> list[UncomparedTag]:
        """The tags of which not every day in their windows was compared."""
        wanted = [(window.end - 1) // DAY - window.start // DAY + 1 for window in self._windows]
        return [
            UncomparedTag(self._tags[place], days - compared, days)
            for place, (days, compared) in enumerate(zip(wanted, self._days_compared.tolist(), strict=True))
            if compared < days
        ]

    def _in_order(self, cells: Int32s) -> list[Disagreement]:
        order = np.lexsort((cells[:, 1], cells[:, 0]))
        return [self._disagreement(cell) for cell in cells[order].tolist()]

    def by_day(self) -> Iterator[tuple[int, int, int]]:
        """Each day since 1970 that was looked at: how many tags were compared, and how many disagree."""
        days, counts = np.unique(self._disagreeing(in_holes=False)[:, 1], return_counts=True)
        wrong = dict(zip(days.tolist(), counts.tolist(), strict=True))
        for day in sorted(self._compared):
            yield day, self._compared[day], wrong.get(day, 0)

    def _disagreeing(self, *, in_holes: bool) -> Int32s:
        found = list(self._wrong)
        rules = self.rules()
        for explained_by, other in ((CountRule.GOOD, CountRule.ALL), (CountRule.ALL, CountRule.GOOD)):
            broken = {kind for kind, rule in rules.items() if rule is other}
            of_them = np.isin(self._types, list(broken))
            found += [cells[of_them[cells[:, 0]]] for cells in self._explained[explained_by] if broken]
        cells: Int32s = np.concatenate(found) if found else np.empty((0, 5), np.int32)
        odd = np.isin(cells[:, 0], [*self._holes, *{place for place, _ in self._cleared}])
        kept = np.full(len(cells), not in_holes)
        for n in np.flatnonzero(odd).tolist():
            place, day = cells[n, :2].tolist()
            kept[n] = (place, day) not in self._cleared and self._touches_a_hole(place, day) is in_holes
        chosen: Int32s = cells[kept]
        return chosen

    def _touches_a_hole(self, place: int, day: int) -> bool:
        return any(
            hole.start < (day + 1) * DAY and max(hole.end, hole.start + 1) > day * DAY
            for hole in self._holes.get(place, ())
        )

    def _disagreement(self, cell: list[int]) -> Disagreement:
        place, day, counted, rows, good = cell
        window = self._windows[place]
        start, end = max(window.start, day * DAY), min(window.end, (day + 1) * DAY)
        return Disagreement(self._tags[place], start, end, counted, rows, good)


def _decided(shown: Mapping[CountRule, int]) -> CountRule:
    good, every = shown[CountRule.GOOD], shown[CountRule.ALL]
    if good >= max(_ENOUGH, _MAJORITY * every):
        return CountRule.GOOD
    return CountRule.ALL if every >= max(_ENOUGH, _MAJORITY * good) else CountRule.UNKNOWN


def _cells(which: npt.NDArray[np.bool_], first_day: int, counted: Int32s, rows: Int32s, good: Int32s) -> Int32s:
    tag_indices, days = np.nonzero(which)
    columns = (tag_indices, days + first_day, counted[which], rows[which], good[which])
    return np.column_stack(columns).astype(np.int32)


def consecutive_days(which: Bools, windows: Sequence[Window], first_day: int) -> Iterator[tuple[int, Window]]:
    """Days of tags that follow each other, as windows: the place of the tag, and from where to where."""
    for place in np.flatnonzero(which.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(which[place].astype(np.int8), prepend=0, append=0)).tolist()
        window = windows[place]
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            start, end = (first_day + first) * DAY, (first_day + last) * DAY
            yield place, Window(max(window.start, start), min(window.end, end))


def explained_by_rounding(each: Disagreement, rows_at_end: int | None, good_at_end: int) -> bool:
    """Whether a server that rounds the times it is asked for may count as it did though nothing disagrees.

    Asked up to the last tick of a day it counts what is at the first of the next, too: so many as the table holds
    there (None: what is there is not done yet). Of times that are no whole minutes it may count anything.
    """
    if each.start % _MINUTE or each.end % _MINUTE:
        return True
    more_than_good, more = each.counted - each.good, each.counted - each.rows
    if rows_at_end is None:
        return more_than_good > 0
    return (rows_at_end > 0 and more == rows_at_end) or (good_at_end > 0 and more_than_good == good_at_end)


def suspect_windows(disagreements: Sequence[Disagreement]) -> tuple[SuspectWindow, ...]:
    """The windows to be read again; days of a tag that follow each other are one."""
    found: list[SuspectWindow] = []
    for each in disagreements:
        tag, window = found[-1] if found else (None, None)
        if window is not None and tag == each.tag and window.end == each.start:
            found[-1] = each.tag, Window(window.start, each.end)
        else:
            found.append((each.tag, Window(each.start, each.end)))
    return tuple(found)
