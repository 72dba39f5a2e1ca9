"""Writes what a correction leaves of the files that lose rows, the rows that come, and the feed that tells of it.

Imports nothing of the engine. Invariant: a row that is carried over keeps every column of the table; a feed
of changes is told of every row that the commit adds, alters or takes out, and of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from .actions import spelled
from .changes import DELETED, INSERTED, UPDATED_FROM, UPDATED_TO, Kinds, told
from .commit import ROW, CommitTable, LiveFile, Stage, StagedFile
from .windows import Bools, Int64s, micros

__all__ = ["Rewriting"]

# Files that lose rows are put together up to so much, so that many small ones become fewer.
_TOGETHER_BYTES = 128 << 20


class Rewriting:
    """Writes the files of a correction, some source files to each. `close` or `abort` at the end."""

    def __init__(self, table: CommitTable, changes: Stage | None) -> None:
        self._table = table
        self._changes = changes
        self._columns = table.columns
        self._stage: Stage | None = None
        self._read_bytes = 0
        self._done: list[StagedFile] = []

    def carry_over(self, file: LiveFile, losing: tuple[Int64s, Bools]) -> None:
        """Write what a file holds, but for some of its rows: their places, and whether their keys stay."""
        gone, stays = losing
        if self._read_bytes and self._read_bytes + file.size_bytes > _TOGETHER_BYTES:
            self._finish()
        self._read_bytes += file.size_bytes
        stage = self._begun(whole=True)
        for batch in self._table.read_file(file, [*self._columns, ROW]):
            places = micros(batch.column(ROW))
            rows = batch.drop_columns([ROW])
            start, end = np.searchsorted(gone, [places[0], places[-1] + 1]) if len(places) else (0, 0)
            if start == end:
                stage.write(rows)
                continue
            goes = np.isin(places, gone[start:end])
            stage.write(rows.filter(pa.array(~goes)))
            self._tell(rows.filter(pa.array(goes)), np.where(stays[start:end], UPDATED_FROM, DELETED))

    def insert(self, batches: Iterable[tuple[pa.RecordBatch, Bools]]) -> None:
        """Write rows of the source, marked where their key is new. They have no values for columns that others
        have added to the table.
        """
        if set(self._columns) - set(self._table.spec.schema.names):
            self._finish()
        for batch, new in batches:
            self._begun(whole=False).write(batch)
            self._tell(batch, np.where(new, INSERTED, UPDATED_TO))

    def tell(self, appended: Callable[[], Iterable[StagedFile]]) -> None:
        """Tell of rows that the same commit adds; they are read back, for there may be many."""
        for file in appended() if self._changes is not None else ():
            live = LiveFile(spelled(file.path), file.size_bytes, file.partition_values)
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
            self._changes.write(told(rows, kinds, self._columns))

    def _begun(self, *, whole: bool) -> Stage:
        if self._stage is None:
            self._stage = self._table.stage(whole=whole)
        return self._stage

    def _finish(self) -> None:
        if self._stage is not None:
            self._done += self._stage.close()
        self._stage, self._read_bytes = None, 0
