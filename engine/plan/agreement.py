"""Whether a table and its source agree: counts of both, day by day, held against each other. Pure.

Whether a server counts bad events, too, is not documented. A day agrees if its count is that of all rows or
that of the good ones; where days with both kinds have shown which of the two a server means (for points of
a type, or, while they tell too little, for all), only that one. Invariant: what is compared once is told of as agreeing, or as disagreeing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from ..model import Micros, Tag, Window
from .timeline import DAY

__all__ = ["NOT_ASKED", "NOT_COUNTED", "Agreement", "Disagreement", "Rule", "Suspect", "suspects"]

Int32s = npt.NDArray[np.int32]
# A window of a tag that has to be read again.
Suspect: TypeAlias = tuple[Tag, Window]

# In place of a count: the server gave none, or was not asked for one.
NOT_COUNTED, NOT_ASKED = -1, -2
# So many days must have told the rules apart, and so many of them for every one that says otherwise.
_ENOUGH, _MAJORITY = 5, 9
_SETTLED = 100_000


class Rule(Enum):
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


class Agreement:
    """What has been compared so far. Holds no day that agrees beyond doubt."""

    def __init__(self, tags: Sequence[Tag], windows: Sequence[Window]) -> None:
        self._tags, self._windows = tags, windows
        self._types = np.array([tag.point_type for tag in tags], dtype=object)
        self._wrong: list[Int32s] = []
        # Days that only one of the rules explains, by that rule.
        self._told: dict[Rule, list[Int32s]] = {Rule.GOOD: [], Rule.ALL: []}
        self._evidence: dict[tuple[str, Rule], int] = defaultdict(int)
        self._compared: dict[int, int] = defaultdict(int)
        self.events = 0
        self.uncounted: set[int] = set()

    @property
    def days(self) -> int:
        """Days of tags that were compared."""
        return sum(self._compared.values())

    def add(self, first_day: int, counted: Int32s, rows: Int32s, good: Int32s) -> None:
        """Compare some days of all tags: tags on the first axis, days from `first_day` since 1970 on the second."""
        # Nothing good and no count: as a server answers that has nothing to calculate with.
        silent = (counted == NOT_COUNTED) & (good > 0)
        self.uncounted.update(np.flatnonzero(silent.any(axis=1)).tolist())
        asked = (counted != NOT_ASKED) & ~silent
        counted = np.where(counted == NOT_COUNTED, good, counted)
        as_good, as_all = counted == good, counted == rows
        self.events += int(rows[asked].sum(dtype=np.int64))
        for day, compared in enumerate(asked.sum(axis=0).tolist()):
            self._compared[first_day + day] += compared
        cells = (first_day, counted, rows, good)
        self._wrong.append(_cells(asked & ~as_good & ~as_all, *cells))
        for rule, shows in ((Rule.GOOD, as_good & ~as_all), (Rule.ALL, as_all & ~as_good)):
            self._learn(rule, _cells(asked & shows, *cells))

    def _learn(self, rule: Rule, cells: Int32s) -> None:
        types = self._types[cells[:, 0]].astype(str)
        kinds, counts = np.unique(types, return_counts=True)
        for kind, number in zip(kinds.tolist(), counts.tolist(), strict=True):
            self._evidence[kind, rule] += number
        # What so many days have shown is not shown to be otherwise by the next; the list of them would not end.
        settled = [k for k in kinds.tolist() if self._evidence[k, rule] > _SETTLED and self._rule(k) is rule]
        self._told[rule].append(cells[~np.isin(types, settled)])

    def rules(self) -> dict[str, Rule]:
        """What the server counts of points of each type, as far as days have shown."""
        return {kind: self._rule(kind) for kind in sorted(set(self._types.tolist()))}

    def _rule(self, kind: str) -> Rule:
        """Learned from the type itself, or, while that has shown too little, from all, unless it shows otherwise."""
        shown = {rule: self._evidence[kind, rule] for rule in (Rule.GOOD, Rule.ALL)}
        own = _decided(shown)
        if own is not Rule.UNKNOWN:
            return own
        every = _decided({r: sum(n for (_, told), n in self._evidence.items() if told is r) for r in shown})
        return every if every is not Rule.UNKNOWN and shown[every] == max(shown.values()) else Rule.UNKNOWN

    def disagreements(self) -> list[Disagreement]:
        """Every day that disagrees, by tag and time."""
        cells = self._disagreeing()
        order = np.lexsort((cells[:, 1], cells[:, 0]))
        return [self._told_of(cell) for cell in cells[order].tolist()]

    def by_day(self) -> Iterator[tuple[int, int, int]]:
        """Each day since 1970 that was looked at: how many tags were compared, and how many disagree."""
        days, counts = np.unique(self._disagreeing()[:, 1], return_counts=True)
        wrong = dict(zip(days.tolist(), counts.tolist(), strict=True))
        for day in sorted(self._compared):
            yield day, self._compared[day], wrong.get(day, 0)

    def _disagreeing(self) -> Int32s:
        found = list(self._wrong)
        rules = self.rules()
        for explained_by, other in ((Rule.GOOD, Rule.ALL), (Rule.ALL, Rule.GOOD)):
            broken = {kind for kind, rule in rules.items() if rule is other}
            of_them = np.isin(self._types, list(broken))
            found += [cells[of_them[cells[:, 0]]] for cells in self._told[explained_by] if broken]
        return np.concatenate(found) if found else np.empty((0, 5), np.int32)

    def _told_of(self, cell: list[int]) -> Disagreement:
        place, day, counted, rows, good = cell
        window = self._windows[place]
        start, end = max(window.start, day * DAY), min(window.end, (day + 1) * DAY)
        return Disagreement(self._tags[place], start, end, counted, rows, good)


def _decided(shown: Mapping[Rule, int]) -> Rule:
    good, every = shown[Rule.GOOD], shown[Rule.ALL]
    if good >= max(_ENOUGH, _MAJORITY * every):
        return Rule.GOOD
    return Rule.ALL if every >= max(_ENOUGH, _MAJORITY * good) else Rule.UNKNOWN


def _cells(which: npt.NDArray[np.bool_], first_day: int, counted: Int32s, rows: Int32s, good: Int32s) -> Int32s:
    places, days = np.nonzero(which)
    columns = (places, days + first_day, counted[which], rows[which], good[which])
    return np.column_stack(columns).astype(np.int32)


def suspects(disagreements: Sequence[Disagreement]) -> tuple[Suspect, ...]:
    """The windows to be read again; days of a tag that follow each other are one."""
    found: list[Suspect] = []
    for each in disagreements:
        tag, window = found[-1] if found else (None, None)
        if window is not None and tag == each.tag and window.end == each.start:
            found[-1] = each.tag, Window(window.start, each.end)
        else:
            found.append((each.tag, Window(each.start, each.end)))
    return tuple(found)
