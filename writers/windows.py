"""Windows of tags against the files of a table: which files, which rows, and what their digests are.

Imports nothing of the engine. Invariant: no more of a table is read than its statistics cannot rule out,
and memory follows the number of tags and the size of a batch, never that of the table.
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

from .commit import CommitTable, LiveFile
from .digest import TRUTH, Digest, row_hashes, sums

__all__ = ["Bools", "Int64s", "Windows", "changed", "holding", "micros", "rows_inside", "window_digests"]

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Windows:
    """Half-open windows of some tags, laid out to be looked up for many rows at once."""

    tags: tuple[str, ...]  # rising; a tag is known by its place here, its code
    lows: tuple[Int64s, ...]  # the first window of each tag, the second, ...; empty where there is none
    highs: tuple[Int64s, ...]

    @classmethod
    def of(cls, windows: Iterable[tuple[str, int, int]]) -> Self:
        """Take (tag, low, high), any number of them for a tag."""
        found: dict[str, list[tuple[int, int]]] = {}
        for tag, low, high in windows:
            if low < high:
                found.setdefault(tag, []).append((low, high))
        found = {tag: _merged(each) for tag, each in found.items()}
        tags = tuple(sorted(found))
        depth = max(map(len, found.values()), default=0)
        laid = np.zeros((depth, 2, len(tags)), np.int64)
        for code, tag in enumerate(tags):
            for layer, window in enumerate(found[tag]):
                laid[layer, :, code] = window
        return cls(tags, tuple(laid[:, 0]), tuple(laid[:, 1]))

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Give (tag, low, high) of each window."""
        for lows, highs in zip(self.lows, self.highs, strict=True):
            for tag, low, high in zip(self.tags, lows.tolist(), highs.tolist(), strict=True):
                if low < high:
                    yield tag, low, high

    @property
    def span(self) -> tuple[int, int] | None:
        """From the start of the first window to the end of the last; None if there is none."""
        return self._span(0, len(self.tags), None, None)

    def span_in(self, file: LiveFile) -> tuple[int, int] | None:
        """The span of those windows of which a file may hold rows; None for a file that need not be read."""
        start = 0 if file.low_tag is None else bisect_left(self.tags, file.low_tag)
        end = len(self.tags) if file.high_tag is None else bisect_right(self.tags, file.high_tag)
        return self._span(start, end, file.low, file.high)

    def codes(self, column: pa.Array) -> Int64s:
        """Give the code of each tag of a column; -1 for a tag that has no window."""
        if pa.types.is_dictionary(column.type):
            known = self.codes(column.dictionary)
            if not column.null_count:
                return known[column.indices.to_numpy(zero_copy_only=False)] if len(known) else _none(len(column))
            column = column.dictionary_decode()
        found = pc.index_in(column.cast(pa.string()), value_set=pa.array(self.tags, pa.string()))
        codes: Int64s = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes

    def inside(self, codes: Int64s, times: Int64s) -> Bools:
        """Say of each row whether it lies in a window of its tag."""
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
    table: CommitTable, windows: Windows, columns: Sequence[str]
) -> Iterator[tuple[LiveFile, pa.RecordBatch, Int64s]]:
    """Stream the rows of the snapshot that lie in a window, with their files and the codes of their tags."""
    yield from _rows_of(table, holding(table, windows).values(), windows, columns)


def holding(table: CommitTable, windows: Windows) -> dict[str, LiveFile]:
    """Give the files of the snapshot that may hold rows of the windows, by path."""
    span = windows.span
    return {file.path: file for file in (table.live_files(*span) if span is not None else ())}


def _rows_of(
    table: CommitTable, files: Iterable[LiveFile], windows: Windows, columns: Sequence[str]
) -> Iterator[tuple[LiveFile, pa.RecordBatch, Int64s]]:
    for file in files:
        part = windows.span_in(file)
        if part is None:
            continue
        for batch in table.read_file(file, columns, window=part):
            codes = windows.codes(batch.column("tag_webid"))
            inside = windows.inside(codes, micros(batch.column("timestamp")))
            if inside.all():
                yield file, batch, codes
            elif inside.any():
                yield file, batch.filter(pa.array(inside)), codes[inside]


def window_digests(table: CommitTable, windows: Mapping[str, tuple[int, int]]) -> dict[str, Digest]:
    """Give the digest of what the snapshot holds of each tag in its window.

    Raises what `CommitTable.read_file` does.
    """
    wanted = Windows.of((tag, low, high) for tag, (low, high) in windows.items())
    rows, totals = _summed(table, holding(table, wanted).values(), wanted)
    known = dict(zip(wanted.tags, map(Digest, rows.tolist(), totals.tolist()), strict=True))
    return {tag: known.get(tag, Digest()) for tag in windows}


def changed(table: CommitTable, windows: Windows, before: Mapping[str, LiveFile]) -> set[str]:
    """Tags of which the snapshot holds something else in their windows than these files did, whoever rewrote them.

    Only files that are not there any more, and those that are new, are read; the former still lie at the storage.
    """
    now = holding(table, windows)
    gone = [file for path, file in before.items() if now.get(path) != file]
    new = [file for path, file in now.items() if before.get(path) != file]
    was, has = _summed(table, gone, windows), _summed(table, new, windows)
    return {windows.tags[code] for code in np.flatnonzero((was[0] != has[0]) | (was[1] != has[1])).tolist()}


def _summed(table: CommitTable, files: Collection[LiveFile], windows: Windows) -> tuple[Int64s, npt.NDArray[np.uint64]]:
    """Rows of each tag in its windows, and the sum of their hashes."""
    rows = np.zeros(len(windows.tags), np.int64)
    totals = np.zeros(len(windows.tags), np.uint64)
    for _, batch, codes in _rows_of(table, files, windows, ["tag_webid", *TRUTH]):
        more_rows, more = sums(row_hashes(batch), codes, len(rows))
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


def _none(size: int) -> Int64s:
    return np.full(size, -1, np.int64)
