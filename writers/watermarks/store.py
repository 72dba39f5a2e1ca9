"""Watermarks by the hundred thousand: columns of whole numbers, and the index of each tag in them. No I/O.

Invariant: a store holds the watermarks of one commit. The next commit works on a copy
(`writers.watermarks.pending`) that then replaces it; a tag keeps its index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, islice, repeat
from typing import Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from .holes import Holes
from .model import NEVER, WELL, Ints, Trouble, Watermark

RowIndices = npt.NDArray[np.intp]
D = TypeVar("D")

# The whole numbers of a tag lie together, as they are looked up and moved.
FIELDS = ("low", "high", "last_event", "rows_total", "last_event_digest", "ahead_from", "rows_behind")
_LOW, _HIGH, ROWS_TOTAL, _AHEAD_FROM, ROWS_BEHIND = map(
    FIELDS.index, ("low", "high", "rows_total", "ahead_from", "rows_behind")
)
_MANY = 4096


def _nothing() -> Ints:
    return np.empty((0, len(FIELDS)), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class WatermarkColumns:
    """Watermarks as columns: a row of `FIELDS` each (`NEVER` is None), and the status of the few that are not ok."""

    web_ids: Sequence[str] = ()
    values: Ints = field(default_factory=_nothing)
    troubles: Mapping[int, Trouble] = field(default_factory=dict)

    @classmethod
    def of(cls, watermarks: Iterable[Watermark]) -> Self:
        given = list(watermarks)
        values = np.array([row_of(watermark) for watermark in given], np.int64).reshape(-1, len(FIELDS))
        troubles = {index: trouble for index, watermark in enumerate(given) if (trouble := trouble_of(watermark))}
        return cls([watermark.tag_webid for watermark in given], values, troubles)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Watermark]:
        low, high, last, rows, digest, ahead, behind = self.values.T
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
        statuses, errors = zip(*(self.troubles.get(index, WELL) for index in range(len(self))), strict=True)
        return statuses, errors

    @property
    def low(self) -> Ints:
        return self.values[:, _LOW]

    @property
    def high(self) -> Ints:
        return self.values[:, _HIGH]

    @property
    def present(self) -> Ints:
        """As `Watermark.present` of each."""
        ahead_from = self.values[:, _AHEAD_FROM]
        return np.where(ahead_from == NEVER, self.high, np.minimum(self.high, ahead_from))

    def select(self, indices: RowIndices, web_ids: Sequence[str]) -> WatermarkColumns:
        """The watermarks at these indices, which belong to these tags."""
        troubles = {}
        if self.troubles:
            found = ((at, self.troubles.get(index)) for at, index in enumerate(indices.tolist()))
            troubles = {at: trouble for at, trouble in found if trouble}
        return WatermarkColumns(web_ids, self.values[indices], troubles)

    def at(self, index: int) -> Watermark:
        return watermark_of(self.web_ids[index], self.values[index].tolist(), self.troubles.get(index))


def _or_none(values: Ints) -> Iterable[int | None]:
    known = values != NEVER
    if not known.any():
        return repeat(None)
    given: list[int | None] = values.tolist()
    for index in np.flatnonzero(~known).tolist():
        given[index] = None
    return given


def watermark_of(web_id: str, row: Sequence[int], trouble: Trouble | None = None) -> Watermark:
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


def row_of(watermark: Watermark) -> tuple[int, ...]:
    """Give the row of `FIELDS` that a watermark is."""
    digest, last, ahead = watermark.last_event_digest, watermark.last_event, watermark.ahead_from
    return (
        watermark.low,
        watermark.high,
        NEVER if last is None else last,
        watermark.rows_total,
        NEVER if digest is None else digest,
        NEVER if ahead is None else ahead,
        watermark.rows_behind,
    )


def trouble_of(watermark: Watermark) -> Trouble | None:
    trouble = watermark.status, watermark.last_error
    return None if trouble == WELL else trouble


class WatermarkStore(Mapping[str, Watermark]):
    """The watermark of each tag, by its WebID. Every commit updates it.

    Other threads may look tags up while one thread calls `grow`. `holes` are windows inside of what is done that the
    source could not give; a commit that changes them replaces the mapping. `holes_unknown_before`: when the watermarks
    were rebuilt; older holes were lost then.
    """

    def __init__(self, columns: WatermarkColumns | None = None) -> None:
        self.holes_unknown_before: int | None = None
        self.replace_all(columns or WatermarkColumns())

    @classmethod
    def of(cls, watermarks: Iterable[Watermark]) -> Self:
        return cls(WatermarkColumns.of(watermarks))

    def replace_all(self, columns: WatermarkColumns, holes: Holes | None = None) -> None:
        """Replace all watermarks and holes."""
        self.holes: Holes = holes or {}
        self._web_ids = list(columns.web_ids)
        self.columns = replace(columns, web_ids=self._web_ids)
        self._row_indices = dict(zip(self._web_ids, range(len(self._web_ids)), strict=True))

    def grow(self, more: Iterable[str], values: Ints, troubles: Mapping[int, Trouble]) -> None:
        """Replace the values of all tags, and add tags."""
        known = len(self._web_ids)
        self._web_ids += more
        self.columns = WatermarkColumns(self._web_ids, values, troubles)
        # Last: an index that is found must be there.
        self._row_indices.update(zip(self._web_ids[known:], range(known, len(self._web_ids)), strict=True))

    def row_indices(self, web_ids: Sequence[str]) -> RowIndices:
        """Give the index of each of these tags; -1: none."""
        return np.fromiter(map(self._row_indices.get, web_ids, repeat(-1)), np.intp, len(web_ids))

    def chosen(self, web_ids: Sequence[str]) -> WatermarkColumns:
        """The watermarks of these tags; tags without one are left out."""
        return self._found(web_ids, self.row_indices(web_ids))

    def each(self, web_ids: Iterable[str]) -> Iterator[Watermark | None]:
        """Look up one tag after the other, as `get` does, but many at a time."""
        left = iter(web_ids)
        while some := list(islice(left, _MANY)):
            indices = self.row_indices(some)
            found = iter(self._found(some, indices))
            yield from found if indices.min() >= 0 else (None if n < 0 else next(found) for n in indices.tolist())

    def _found(self, web_ids: Sequence[str], indices: RowIndices) -> WatermarkColumns:
        there = indices >= 0
        if not there.all():
            web_ids, indices = list(compress(web_ids, there.tolist())), indices[there]
        return self.columns.select(indices, web_ids)

    def __repr__(self) -> str:
        return f"WatermarkStore({len(self)} tags)"

    def __len__(self) -> int:
        return len(self._row_indices)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row_indices)

    def __contains__(self, web_id: object) -> bool:
        return web_id in self._row_indices

    def __getitem__(self, web_id: str) -> Watermark:
        index = self._row_indices[web_id]  # before the columns are: later ones have it, too
        return self.columns.at(index)

    @overload
    def get(self, web_id: str, default: None = None, /) -> Watermark | None: ...
    @overload
    def get(self, web_id: str, default: Watermark | D, /) -> Watermark | D: ...
    def get(self, web_id: str, default: D | None = None, /) -> Watermark | D | None:
        index = self._row_indices.get(web_id)
        return default if index is None else self.columns.at(index)
