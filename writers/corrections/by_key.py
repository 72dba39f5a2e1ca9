"""Rows of a table by their key: what is there, and replacing rows in only those files that hold them.

Mirrors and keyed records are built on it. Memory holds the key of each row, a hash of what the source says of it, and
where it lies. Invariant: a row that does not change stays as it is to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.errors import ConfigurationError, SchemaDriftError

from ..ports import ROW, LiveFile, OpenTable, StagedFile
from ..row_hash import Hashes, row_hashes
from ..tables import TableSpec
from .correction import Correction, CorrectionCounts, by_file
from .rewrite import rewrite
from .windows import Bools, Int64s, micros

# A file gets about so many rows, so that a changed row costs no more than it shares its file with.
FILE_ROWS = 50_000
# So many small files are put together by the next commit.
_MANY_SMALL_FILES = 64
_ALWAYS = -(1 << 62), 1 << 62


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The rows of a snapshot: their kept columns, a hash of the hashed ones, their files and their rows in these."""

    table: OpenTable
    rows: pa.Table
    hashes: Hashes
    files: Sequence[LiveFile]
    file_numbers: Int64s
    rows_in_file: Int64s
    everything: pa.Table | None = None  # every column, where the table does not let single files be removed


@dataclass(frozen=True, slots=True)
class _FileRows:
    file: LiveFile
    rows: pa.Table
    hashes: Hashes
    rows_in_file: Int64s


class KeyedTable:
    """Reads a table by key, and stages what replaces some of its rows. Files that were read are not read again."""

    def __init__(
        self, spec: TableSpec, *, kept: Sequence[str], hashed: Sequence[str], file_rows: int = FILE_ROWS
    ) -> None:
        self._schema = spec.schema
        self._kept = pa.schema([spec.schema.field(name) for name in kept])
        self._hashed = tuple(hashed)
        self._file_rows = file_rows
        self._known: dict[str, _FileRows] = {}

    def read(self, table: OpenTable) -> StoredRows:
        """Read a snapshot. Raises `SchemaDriftError`, `StorageError`."""
        try:
            table.allow_removing()
            files = [self._file(table, file) for file in table.live_files(*_ALWAYS)]
        except (SchemaDriftError, ConfigurationError):
            return self._everything(table)
        self._known = {found.file.path: found for found in files}
        rows = pa.concat_tables([self._kept.empty_table(), *(found.rows for found in files)])
        none = np.empty(0, np.int64)
        return StoredRows(
            table,
            rows,
            np.concatenate([np.empty(0, np.uint64), *(found.hashes for found in files)]),
            [found.file for found in files],
            np.repeat(np.arange(len(files)), [len(found.hashes) for found in files]),
            np.concatenate([none, *(found.rows_in_file for found in files)]),
        )

    def look(self, table: OpenTable) -> None:
        """Read a snapshot ahead: what is still so when it is read is not read again. Raises as `read` does."""
        self.read(table)

    def rows_with(self, table: OpenTable, name: str, values: pa.ChunkedArray) -> pa.Table:
        """Read the rows whose value of a kept column is one of these, with all columns of the spec. Raises as `read` does."""
        stored = self.read(table)
        found = pc.is_in(stored.rows[name], value_set=values.combine_chunks())
        return self.fetch(stored, np.flatnonzero(found.to_numpy()))

    def fetch(self, stored: StoredRows, indices: Int64s) -> pa.Table:
        """Read rows (ascending indices) with all columns of the spec."""
        schema, table = self._schema, stored.table
        if stored.everything is not None:
            return stored.everything.take(pa.array(indices))
        names = [name for name in schema.names if name in table.columns]
        found = [schema.empty_table()]
        for number in np.unique(stored.file_numbers[indices]).tolist():
            wanted = stored.rows_in_file[indices[stored.file_numbers[indices] == number]]
            for batch in table.read_file(stored.files[number], [*names, ROW]):
                rows = batch.filter(pa.array(np.isin(micros(batch.column(ROW)), wanted)))
                found.append(pa.Table.from_batches([_completed(rows, schema)]))
        return pa.concat_tables(found)

    def replace(
        self,
        stored: StoredRows,
        gone: Int64s,
        stays: Bools,
        *,
        come: pa.Table | Iterator[pa.RecordBatch],
        new: Bools,
        appended: Callable[[], Sequence[StagedFile]] = tuple,
    ) -> Correction:
        """Stage what takes the rows at `gone` (ascending) out and puts `come` in.

        `stays` says of each that goes whether its key stays, `new` of each that comes whether its key is new. Raises
        what reading and staging raise; then nothing stays staged.
        """
        inserted = int(new.sum())
        counts = CorrectionCounts(inserted, len(new) - inserted, int((~stays).sum()))
        if stored.everything is not None and len(gone):
            left = np.ones(stored.everything.num_rows, np.bool_)
            left[gone] = False
            arrived = come if isinstance(come, pa.Table) else pa.Table.from_batches(come, self._schema)
            rows = pa.concat_tables([stored.everything.filter(pa.array(left)), arrived])
            staged, _ = rewrite(stored.table, (), self._marked(rows, np.ones(len(rows), np.bool_)), self._file_rows)
            return Correction(staged, counts=counts, replaces_all=True)
        losing = by_file(stored.file_numbers[gone], stored.rows_in_file[gone], stays)
        for number in self._small(stored.files):
            losing.setdefault(number, (np.empty(0, np.int64), np.empty(0, np.bool_)))
        files = [(stored.files[number], losing[number]) for number in sorted(losing)]
        staged, changes = rewrite(stored.table, files, self._marked(come, new), self._file_rows, appended)
        counts += CorrectionCounts(files_rewritten=len(files))
        return Correction(staged, tuple(file for file, _ in files), counts, changes=changes)

    def _small(self, files: Sequence[LiveFile]) -> list[int]:
        small = [n for n, file in enumerate(files) if file.rows is not None and file.rows < self._file_rows // 2]
        return small if len(small) > _MANY_SMALL_FILES else []

    def _marked(self, rows: pa.Table | Iterator[pa.RecordBatch], new: Bools) -> Iterator[tuple[pa.RecordBatch, Bools]]:
        first = 0
        for some in rows.to_batches() if isinstance(rows, pa.Table) else rows:
            for start in range(0, some.num_rows, self._file_rows):
                batch = some.slice(start, self._file_rows)
                yield batch, new[first : first + batch.num_rows]
                first += batch.num_rows

    def _file(self, table: OpenTable, file: LiveFile) -> _FileRows:
        known = self._known.get(file.path)
        if known is not None and known.file == file:
            return known
        schema = pa.schema([self._schema.field(name) for name in dict.fromkeys((*self._kept.names, *self._hashed))])
        wanted = [name for name in schema.names if name in table.columns]
        rows: list[pa.RecordBatch] = []
        hashes, indices = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for batch in table.read_file(file, [*wanted, ROW]):
            indices.append(micros(batch.column(ROW)))
            whole = _completed(batch, schema)
            hashes.append(row_hashes(whole, self._hashed))
            rows.append(whole.select(self._kept.names))
        return _FileRows(file, pa.Table.from_batches(rows, self._kept), np.concatenate(hashes), np.concatenate(indices))

    def _everything(self, table: OpenTable) -> StoredRows:
        everything = table.read().read_all().cast(self._schema).combine_chunks()
        hashes = [np.empty(0, np.uint64), *(row_hashes(batch, self._hashed) for batch in everything.to_batches())]
        none = np.empty(0, np.int64)
        return StoredRows(
            table, everything.select(self._kept.names), np.concatenate(hashes), (), none, none, everything=everything
        )


def key_codes(columns: Sequence[str], one: pa.Table, other: pa.Table) -> tuple[Int64s, Int64s]:
    """Give a number to each row of two tables: the same for rows that agree in all these columns."""
    codes = np.zeros(one.num_rows + other.num_rows, np.int64)
    for name in columns:
        values = pa.chunked_array([*one[name].chunks, *other[name].chunks], one[name].type).combine_chunks()
        encoded = values.dictionary_encode(null_encoding="encode")
        codes = codes * max(1, len(encoded.dictionary)) + encoded.indices.to_numpy(zero_copy_only=False)
        codes = np.unique(codes, return_inverse=True)[1]
    return codes[: one.num_rows], codes[one.num_rows :]


def index_of(codes: Int64s, among: Int64s) -> Int64s:
    """Where each code first stands among others; -1 where it does not."""
    if not len(among):
        return np.full(len(codes), -1, np.int64)
    values, first = np.unique(among, return_index=True)
    at = np.minimum(np.searchsorted(values, codes), len(values) - 1)
    found: Int64s = np.where(values[at] == codes, first[at], -1)
    return found


def _completed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema in its types; what the table is too old to have is null."""
    known = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns = [
        known[field.name].cast(field.type) if field.name in known else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
