"""Windows of owners (tags) against the files of a table: which files, which rows, and what their digests are.

Invariant: no more of a table is read than its statistics cannot rule out, and memory follows the number of owners and
the size of a batch, never that of the table.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..ports import LiveFile, OpenTable
from ..row_hash import Digest, row_hashes, sums
from ..tables import Grain

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Windows:
    """Half-open windows of some owners, laid out to be looked up for many rows at once."""

    owners: tuple[str, ...]  # ascending; the index of an owner here is its code
    lows: tuple[Int64s, ...]  # the first window of each owner, the second, ...; empty where there is none
    highs: tuple[Int64s, ...]

    @classmethod
    def of(cls, windows: Iterable[tuple[str, int, int]]) -> Self:
        """Take (owner, low, high), any number of them for an owner."""
        found: dict[str, list[tuple[int, int]]] = {}
        for owner, low, high in windows:
            if low < high:
                found.setdefault(owner, []).append((low, high))
        found = {owner: _merged(each) for owner, each in found.items()}
        owners = tuple(sorted(found))
        depth = max(map(len, found.values()), default=0)
        laid = np.zeros((depth, 2, len(owners)), np.int64)
        for code, owner in enumerate(owners):
            for layer, window in enumerate(found[owner]):
                laid[layer, :, code] = window
        return cls(owners, tuple(laid[:, 0]), tuple(laid[:, 1]))

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Give (owner, low, high) of each window."""
        for lows, highs in zip(self.lows, self.highs, strict=True):
            for owner, low, high in zip(self.owners, lows.tolist(), highs.tolist(), strict=True):
                if low < high:
                    yield owner, low, high

    @property
    def span(self) -> tuple[int, int] | None:
        """From the start of the first window to the end of the last; None if there is none."""
        return self._span(0, len(self.owners), None, None)

    def span_in(self, file: LiveFile) -> tuple[int, int] | None:
        """The span of those windows of which a file may hold rows; None for a file that need not be read."""
        start = 0 if file.low_owner is None else bisect_left(self.owners, file.low_owner)
        end = len(self.owners) if file.high_owner is None else bisect_right(self.owners, file.high_owner)
        return self._span(start, end, file.low, file.high)

    def codes(self, column: pa.Array) -> Int64s:
        """Give the code of each owner of a column; -1 for one that has no window."""
        if pa.types.is_dictionary(column.type):
            known = self.codes(column.dictionary)
            if not column.null_count:
                taken: Int64s = known[column.indices.to_numpy(zero_copy_only=False)]
                return taken
            column = column.dictionary_decode()
        found = pc.index_in(column.cast(pa.string()), value_set=pa.array(self.owners, pa.string()))
        codes: Int64s = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes

    def inside(self, codes: Int64s, times: Int64s) -> Bools:
        """Say of each row whether it lies in a window of its owner."""
        found = np.zeros(len(codes), np.bool_)
        for low, high in zip(self.lows, self.highs, strict=True):
            found |= (times >= low[codes]) & (times < high[codes])
        return found & (codes >= 0)

    def _span(self, start: int, end: int, first: int | None, last: int | None) -> tuple[int, int] | None:
        ends: list[tuple[int, int]] = []
        for layer, limit in zip(self.lows, self.highs, strict=True):
            low, high = layer[start:end], limit[start:end]
            touched = low < high
            if first is not None:
                touched &= high > first
            if last is not None:
                touched &= low <= last
            if touched.any():
                ends.append((int(low[touched].min()), int(high[touched].max())))
        return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def micros(column: pa.Array) -> Int64s:
    times: Int64s = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return times


def rows_inside(
    table: OpenTable, windows: Windows, columns: Sequence[str]
) -> Iterator[tuple[LiveFile, pa.RecordBatch, Int64s]]:
    """Stream the rows of the snapshot that lie in a window, with their files and the codes of their owners."""
    yield from _rows_of(table, holding(table, windows).values(), windows, columns)


def columns_read(grain: Grain) -> list[str]:
    """The columns that tell whose a row is, when it is, and what the source says of it."""
    return list(dict.fromkeys((*grain.key, *grain.truth)))


def holding(table: OpenTable, windows: Windows) -> dict[str, LiveFile]:
    """Give the files of the snapshot that may hold rows of the windows, by path."""
    span = windows.span
    return {file.path: file for file in (table.live_files(*span) if span is not None else ())}


def _rows_of(
    table: OpenTable, files: Iterable[LiveFile], windows: Windows, columns: Sequence[str]
) -> Iterator[tuple[LiveFile, pa.RecordBatch, Int64s]]:
    grain = table.spec.grain
    for file in files:
        part = windows.span_in(file)
        if part is None:
            continue
        for batch in table.read_file(file, columns, window=part):
            codes = windows.codes(batch.column(grain.owner))
            inside = windows.inside(codes, micros(batch.column(grain.time)))
            if inside.all():
                yield file, batch, codes
            elif inside.any():
                yield file, batch.filter(pa.array(inside)), codes[inside]


def window_digests(table: OpenTable, windows: Mapping[str, tuple[int, int]]) -> dict[str, Digest]:
    """Give the digest of what the snapshot holds of each owner in its window.

    Raises what `OpenTable.read_file` does.
    """
    wanted = Windows.of((owner, low, high) for owner, (low, high) in windows.items())
    rows, totals = _summed(table, holding(table, wanted).values(), wanted)
    known = dict(zip(wanted.owners, map(Digest, rows.tolist(), totals.tolist()), strict=True))
    return {owner: known.get(owner, Digest()) for owner in windows}


def changed(table: OpenTable, windows: Windows, before: Mapping[str, LiveFile]) -> set[str]:
    """Owners of which the snapshot holds something else in their windows than these files did, after a rewrite by any writer.

    Only files that are not there any more, and those that are new, are read; the former still lie at the storage.
    """
    now = holding(table, windows)
    gone = [file for path, file in before.items() if now.get(path) != file]
    new = [file for path, file in now.items() if before.get(path) != file]
    was, has = _summed(table, gone, windows), _summed(table, new, windows)
    return {windows.owners[code] for code in np.flatnonzero((was[0] != has[0]) | (was[1] != has[1])).tolist()}


def _summed(table: OpenTable, files: Collection[LiveFile], windows: Windows) -> tuple[Int64s, npt.NDArray[np.uint64]]:
    """Rows of each owner in its windows, and the sum of their hashes."""
    grain = table.spec.grain
    rows = np.zeros(len(windows.owners), np.int64)
    totals = np.zeros(len(windows.owners), np.uint64)
    for _, batch, codes in _rows_of(table, files, windows, columns_read(grain)):
        more_rows, more = sums(row_hashes(batch, grain.truth), codes, len(rows))
        rows += more_rows
        totals += more
    return rows, totals


def _merged(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put together windows that touch."""
    if len(windows) == 1:
        return windows
    merged: list[tuple[int, int]] = []
    for low, high in sorted(windows):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged
