"""Writes the files of a correction: what is left of files that lose rows, new rows, and the change data feed.

Invariant: a row that is carried over keeps every column of the table. The change data feed
names every row that the commit adds, changes or deletes, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from ..log.actions import encode_path
from ..log.change_feed import DELETED, INSERTED, UPDATED_FROM, UPDATED_TO, Kinds, change_rows
from ..ports import ROW, LiveFile, OpenTable, Stage, StagedFile
from .windows import Bools, Int64s, micros

# A file, the rows of it that go (ascending), and whether their keys stay.
Losing: TypeAlias = tuple[LiveFile, tuple[Int64s, Bools]]

# Files that lose rows are put together up to so much, so that many small ones end as fewer.
_TOGETHER_BYTES = 128 << 20


def rewrite(
    table: OpenTable,
    losing: Sequence[Losing],
    come: Iterable[tuple[pa.RecordBatch, Bools]],
    file_rows: int | None = None,
    appended: Callable[[], Sequence[StagedFile]] = tuple,
) -> tuple[tuple[StagedFile, ...], tuple[StagedFile, ...]]:
    """Stage what is left of files that lose rows, and rows that come (marked where their key is new).

    Give the staged files, and those of the table's change data feed. `file_rows`: a file is finished when it has
    so many. `appended` gives the files that the same commit adds; it is called where the feed must name them.

    Raises what reading and staging raise; then nothing stays staged.
    """
    rewriting = _Rewriting(table, table.stage_changes() if losing else None, file_rows)
    try:
        for file, rows in losing:
            rewriting.carry_over(file, rows)
        rewriting.insert(come)
        rewriting.tell(appended)
        return rewriting.close()
    except BaseException:
        rewriting.abort()
        raise


class _Rewriting:
    """Writes the files of a correction, some source files to each. `close` or `abort` at the end."""

    def __init__(self, table: OpenTable, changes: Stage | None, file_rows: int | None) -> None:
        self._table = table
        self._changes = changes
        self._file_rows = file_rows
        self._columns = table.columns
        self._stage: Stage | None = None
        self._read_bytes = 0
        self._done: list[StagedFile] = []

    def carry_over(self, file: LiveFile, losing: tuple[Int64s, Bools]) -> None:
        """Write what a file holds, but for some of its rows: their indices, and whether their keys stay."""
        gone, stays = losing
        if self._read_bytes and self._read_bytes + file.size_bytes > _TOGETHER_BYTES:
            self._finish()
        self._read_bytes += file.size_bytes
        for batch in self._table.read_file(file, [*self._columns, ROW]):
            indices = micros(batch.column(ROW))
            rows = batch.drop_columns([ROW])
            start, end = np.searchsorted(gone, [indices[0], indices[-1] + 1]) if len(indices) else (0, 0)
            if start == end:
                self._write(rows, all_columns=True)
                continue
            goes = np.isin(indices, gone[start:end])
            self._write(rows.filter(pa.array(~goes)), all_columns=True)
            self._tell(rows.filter(pa.array(goes)), np.where(stays[start:end], UPDATED_FROM, DELETED))

    def insert(self, batches: Iterable[tuple[pa.RecordBatch, Bools]]) -> None:
        """Write rows of the source, marked where their key is new. They have no values for columns that others
        have added to the table.
        """
        if set(self._columns) - set(self._table.spec.schema.names):
            self._finish()
        for batch, new in batches:
            self._write(batch, all_columns=False)
            self._tell(batch, np.where(new, INSERTED, UPDATED_TO))

    def tell(self, appended: Callable[[], Iterable[StagedFile]]) -> None:
        """Tell of rows that the same commit adds; they are read back, for there may be many."""
        for file in appended() if self._changes is not None else ():
            live = LiveFile(encode_path(file.path), file.size_bytes, file.partition_values)
            for batch in self._table.read_file(live, self._columns):
                self._tell(batch, INSERTED)

    def close(self) -> tuple[tuple[StagedFile, ...], tuple[StagedFile, ...]]:
        """Give the files, and those that tell what changes."""
        self._finish()
        return tuple(self._done), self._changes.close() if self._changes is not None else ()

    def abort(self) -> None:
        for stage in (self._stage, self._changes):
            if stage is not None:
                stage.abort()
        self._table.discard(self._done)

    def _tell(self, rows: pa.RecordBatch, kinds: str | Kinds) -> None:
        if self._changes is not None:
            self._changes.write(change_rows(rows, kinds, self._columns))

    def _write(self, rows: pa.RecordBatch, *, all_columns: bool) -> None:
        if self._stage is None:
            self._stage = self._table.stage(whole=all_columns)
        self._stage.write(rows)
        if self._file_rows is not None and self._stage.rows >= self._file_rows:
            self._finish()

    def _finish(self) -> None:
        if self._stage is not None:
            self._done += self._stage.close()
        self._stage, self._read_bytes = None, 0
