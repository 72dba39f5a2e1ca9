"""Watermarks by the hundred thousand: columns of whole numbers, and the place of each tag in them. No I/O.

Imports nothing of the engine. Invariant: what a mapping of watermarks says is of one commit. What comes of the
next is worked out on a copy (`writers.draft`) that then takes its place; a tag keeps its own in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, islice, repeat
from typing import Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from .holes import Holes
from .watermark import NEVER, Ints, Watermark

__all__ = [
    "FIELDS",
    "ROWS_BEHIND",
    "ROWS_TOTAL",
    "WELL",
    "MarkColumns",
    "Marks",
    "Places",
    "Trouble",
    "mark_of",
    "row_of",
    "trouble_of",
]

Places = npt.NDArray[np.intp]
Trouble = tuple[str, str | None]  # status and last error
D = TypeVar("D")

# The whole numbers of a tag lie together, as they are looked up and moved.
FIELDS = ("low", "high", "last_event", "rows_total", "last_event_digest", "ahead_from", "rows_behind")
_LOW, _HIGH, ROWS_TOTAL, _AHEAD_FROM, ROWS_BEHIND = map(
    FIELDS.index, ("low", "high", "rows_total", "ahead_from", "rows_behind")
)
WELL: Trouble = ("ok", None)
_MANY = 4096


def _nothing() -> Ints:
    return np.empty((0, len(FIELDS)), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class MarkColumns:
    """Watermarks by their places: a row of `FIELDS` each (`NEVER` is None), and the few that are in trouble."""

    web_ids: Sequence[str] = ()
    whole: Ints = field(default_factory=_nothing)
    troubles: Mapping[int, Trouble] = field(default_factory=dict)

    @classmethod
    def of(cls, marks: Iterable[Watermark]) -> Self:
        given = list(marks)
        whole = np.array([row_of(mark) for mark in given], np.int64).reshape(-1, len(FIELDS))
        troubles = {place: trouble for place, mark in enumerate(given) if (trouble := trouble_of(mark))}
        return cls([mark.tag_webid for mark in given], whole, troubles)

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Watermark]:
        low, high, last, rows, digest, ahead, behind = self.whole.T
        statuses, errors = self.troubles_of_each()
        return map(
            Watermark,
            self.web_ids,
            low.tolist(),
            high.tolist(),
            _or_none(last),
            rows.tolist(),
            statuses,
            errors,
            _or_none(digest),
            _or_none(ahead),
            behind.tolist(),
        )

    def troubles_of_each(self) -> tuple[Sequence[str], Sequence[str | None]]:
        """Status and last error of each tag."""
        if not self.troubles:
            return ["ok"] * len(self), [None] * len(self)
        statuses, errors = zip(*(self.troubles.get(place, WELL) for place in range(len(self))), strict=True)
        return statuses, errors

    @property
    def low(self) -> Ints:
        return self.whole[:, _LOW]

    @property
    def high(self) -> Ints:
        return self.whole[:, _HIGH]

    @property
    def present(self) -> Ints:
        """As `Watermark.present` of each."""
        ahead_from = self.whole[:, _AHEAD_FROM]
        return np.where(ahead_from == NEVER, self.high, np.minimum(self.high, ahead_from))

    def taken(self, places: Places, web_ids: Sequence[str]) -> MarkColumns:
        """Those at some places, of these tags."""
        troubles = {}
        if self.troubles:
            found = ((at, self.troubles.get(place)) for at, place in enumerate(places.tolist()))
            troubles = {at: trouble for at, trouble in found if trouble}
        return MarkColumns(web_ids, self.whole[places], troubles)

    def at(self, place: int) -> Watermark:
        return mark_of(self.web_ids[place], self.whole[place].tolist(), self.troubles.get(place))


def _or_none(values: Ints) -> Iterable[int | None]:
    known = values != NEVER
    if not known.any():
        return repeat(None)
    given: list[int | None] = values.tolist()
    for place in np.flatnonzero(~known).tolist():
        given[place] = None
    return given


def mark_of(web_id: str, row: Sequence[int], trouble: Trouble | None = None) -> Watermark:
    """Give the watermark that a row of `FIELDS` is."""
    low, high, last, rows, digest, ahead, behind = row
    status, error = trouble or WELL
    return Watermark(
        web_id,
        low,
        high,
        None if last == NEVER else last,
        rows,
        status,
        error,
        None if digest == NEVER else digest,
        None if ahead == NEVER else ahead,
        behind,
    )


def row_of(mark: Watermark) -> tuple[int, ...]:
    """Give the row of `FIELDS` that a watermark is."""
    digest, last, ahead = mark.last_event_digest, mark.last_event, mark.ahead_from
    return (
        mark.low,
        mark.high,
        NEVER if last is None else last,
        mark.rows_total,
        NEVER if digest is None else digest,
        NEVER if ahead is None else ahead,
        mark.rows_behind,
    )


def trouble_of(mark: Watermark) -> Trouble | None:
    trouble = mark.status, mark.last_error
    return None if trouble == WELL else trouble


class Marks(Mapping[str, Watermark]):
    """What is done of each tag, by its WebID. It is alive: whoever holds it sees what every commit has moved.

    Others may look tags up while one thread has it `grow`. `holes` are the windows, inside of what is done, that the
    source could not give; another mapping after every commit that changes them. `holes_unknown_before`: when the
    watermarks were rebuilt, by which older holes were forgotten.
    """

    def __init__(self, columns: MarkColumns | None = None) -> None:
        self.holes_unknown_before: int | None = None
        self.become(columns or MarkColumns())

    @classmethod
    def of(cls, marks: Iterable[Watermark]) -> Self:
        return cls(MarkColumns.of(marks))

    def become(self, columns: MarkColumns, holes: Holes | None = None) -> None:
        """Forget everything, and be these."""
        self.holes: Holes = holes or {}
        self._web_ids = list(columns.web_ids)
        self.columns = replace(columns, web_ids=self._web_ids)
        self._places = dict(zip(self._web_ids, range(len(self._web_ids)), strict=True))

    def grow(self, more: Iterable[str], whole: Ints, troubles: Mapping[int, Trouble]) -> None:
        """Take over what has become of all tags, and of more of them."""
        known = len(self._web_ids)
        self._web_ids += more
        self.columns = MarkColumns(self._web_ids, whole, troubles)
        # Last: a place that is found must be there.
        self._places.update(zip(self._web_ids[known:], range(known, len(self._web_ids)), strict=True))

    def places(self, web_ids: Sequence[str]) -> Places:
        """Give the place of each of these tags; -1: none."""
        return np.fromiter(map(self._places.get, web_ids, repeat(-1)), np.intp, len(web_ids))

    def chosen(self, web_ids: Sequence[str]) -> MarkColumns:
        """Those of these tags, as far as there are any."""
        return self._found(web_ids, self.places(web_ids))

    def each(self, web_ids: Iterable[str]) -> Iterator[Watermark | None]:
        """Look up one tag after the other, as `get` does, but many at a time."""
        left = iter(web_ids)
        while some := list(islice(left, _MANY)):
            places = self.places(some)
            found = iter(self._found(some, places))
            yield from found if places.min() >= 0 else (None if n < 0 else next(found) for n in places.tolist())

    def _found(self, web_ids: Sequence[str], places: Places) -> MarkColumns:
        there = places >= 0
        if not there.all():
            web_ids, places = list(compress(web_ids, there.tolist())), places[there]
        return self.columns.taken(places, web_ids)

    def __repr__(self) -> str:
        return f"Marks({len(self)} tags)"

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, web_id: object) -> bool:
        return web_id in self._places

    def __getitem__(self, web_id: str) -> Watermark:
        place = self._places[web_id]  # before the columns are: later ones have it, too
        return self.columns.at(place)

    @overload
    def get(self, web_id: str, default: None = None, /) -> Watermark | None: ...
    @overload
    def get(self, web_id: str, default: Watermark | D, /) -> Watermark | D: ...
    def get(self, web_id: str, default: D | None = None, /) -> Watermark | D | None:
        place = self._places.get(web_id)
        return default if place is None else self.columns.at(place)
