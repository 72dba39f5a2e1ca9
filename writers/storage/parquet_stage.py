"""Stages rows as Parquet files under a table, one file per partition, in bounded memory.

Invariant: only encodings that every reader of the last years takes (PLAIN, dictionary, DELTA_BINARY_PACKED for whole
numbers and timestamps, data page 1). BYTE_STREAM_SPLIT would be smaller, and unreadable for most Spark runtimes in use.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..log.model import StagedFile
from ..log.statistics import FloatStatistics, file_statistics
from ..tables import TableSpec
from .errors import FOREIGN_ERRORS, storage_errors
from .location import TableLocation

_ROW_GROUP_ROWS = 1 << 19
_PART_BYTES = 48 << 20  # a partition with so much waiting is written out
_STAGE_BYTES = 128 << 20  # the fullest partition is written out when all together hold so much
_OPEN_FILES = 24
_ENCODERS = 2
_LONG_RUN = 64  # rows of one partition in a row; shorter runs are gathered row by row, longer ones piece by piece
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


class ParquetStage:
    """Rows go in with `write`; `close` gives the finished files. Nothing is visible before a commit."""

    def __init__(
        self,
        place: TableLocation,
        spec: TableSpec,
        *,
        folder: str = "",
        open_files: int = _OPEN_FILES,
        stage_bytes: int = _STAGE_BYTES,
    ) -> None:
        self._place = place
        self._spec = spec
        self._folder = folder  # relative to the root of the table; empty, or with a slash at its end
        self._schema = held_schema(spec, [name for name in spec.schema.names if name not in spec.partition_by])
        self._open_files = open_files
        self._stage_bytes = stage_bytes
        self._waiting: dict[str | None, _Waiting] = {}
        self._files: OrderedDict[str | None, _PartFile] = OrderedDict()  # least recently written first
        self._finished: list[StagedFile] = []
        self._running: dict[str | None, Future[None]] = {}
        self._pool = ThreadPoolExecutor(max_workers=_ENCODERS, thread_name_prefix="osipi-parquet")
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        for value, rows in split_by_partition(batch, self._spec.partition_by):
            waiting = self._waiting.setdefault(value, _Waiting())
            waiting.add(_for_file(rows, self._schema))
            if waiting.rows >= _ROW_GROUP_ROWS or waiting.size_bytes >= _PART_BYTES:
                self._flush(value)
        while sum(w.size_bytes for w in self._waiting.values()) > self._stage_bytes:
            self._flush(max(self._waiting, key=lambda value: self._waiting[value].size_bytes))
        self.rows += batch.num_rows

    def flush(self) -> None:
        for value in list(self._waiting):
            self._flush(value)

    def close(self) -> tuple[StagedFile, ...]:
        for value in list({**self._waiting, **self._files}):
            self._start(value, partial(self._complete, value, self._waiting.pop(value, None)))
        while self._running:
            self._join(next(iter(self._running)))
        self._pool.shutdown()
        return tuple(self._finished)

    def abort(self) -> None:
        wait(self._running.values())
        self._pool.shutdown()
        for part in self._files.values():
            part.drop()
        for done in self._finished:
            self._place.remove(done.path)
        for held in (self._running, self._waiting, self._files, self._finished):
            held.clear()

    def _flush(self, value: str | None) -> None:
        """Write out what waits for one partition, and keep its file open for more."""
        while value not in self._files and len(self._files) >= self._open_files:
            oldest = next(iter(self._files))
            self._start(oldest, partial(self._complete, oldest, self._waiting.pop(oldest, None)))
            self._join(oldest)
        self._start(value, partial(self._append, value, self._waiting.pop(value)))
        self._files.move_to_end(value)

    def _start(self, value: str | None, work: Callable[[], None]) -> None:
        """Encode in a thread: Parquet releases the interpreter lock. At most a few at once,
        so that memory stays bounded; and one after the other for one file.
        """
        self._join(value)
        while len(self._running) >= _ENCODERS:
            self._join(next(iter(self._running)))
        if value not in self._files:
            with storage_errors(self._place.uri):
                self._files[value] = _PartFile(self._place, self._spec, self._schema, value, self._folder)
        self._running[value] = self._pool.submit(work)

    def _join(self, value: str | None) -> None:
        running = self._running.pop(value, None)
        if running is not None:
            with storage_errors(self._place.uri):
                running.result()

    def _append(self, value: str | None, waiting: _Waiting | None) -> None:
        if waiting is not None:
            self._files[value].write(waiting.table())

    def _complete(self, value: str | None, waiting: _Waiting | None) -> None:
        self._append(value, waiting)
        # It stays listed until it is done: if closing fails, `abort` still finds it.
        self._finished.append(self._files[value].finish())
        del self._files[value]


@dataclass(slots=True)
class _Waiting:
    """Rows of one partition that are not yet in a file."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.rows += batch.num_rows
        self.size_bytes += batch.nbytes

    def table(self) -> pa.Table:
        # One dictionary per row group: at the first differing one Parquet would fall back to PLAIN.
        return pa.Table.from_batches(self.batches).unify_dictionaries()


class _PartFile:
    """One Parquet file being written."""

    def __init__(
        self, place: TableLocation, spec: TableSpec, schema: pa.Schema, value: str | None, folder: str
    ) -> None:
        self._place = place
        self._value = value
        self._spec = spec
        self._path = f"{folder}{_folder(spec.partition_by, value)}part-{uuid.uuid4()}.zstd.parquet"
        self._footer: list[pq.FileMetaData] = []
        self._floats = {
            n: FloatStatistics()
            for n in spec.stats_columns
            if n in schema.names and pa.types.is_floating(schema.field(n).type)
        }
        self._sink = place.open_output(self._path)
        self._writer = pq.ParquetWriter(self._sink, schema, metadata_collector=self._footer, **_options(schema, spec))

    def write(self, rows: pa.Table) -> None:
        for name, statistics in self._floats.items():
            statistics.take(rows.column(name))
        self._writer.write_table(rows, row_group_size=_ROW_GROUP_ROWS)

    def finish(self) -> StagedFile:
        self._writer.close()
        size = self._sink.tell()
        self._sink.close()
        self._place.sync(self._path)
        [footer] = self._footer
        fields = [self._spec.schema.field(n) for n in self._spec.stats_columns if n not in self._spec.partition_by]
        return StagedFile(
            path=self._path,
            size_bytes=size,
            rows=footer.num_rows,
            partition_values=dict.fromkeys(self._spec.partition_by, self._value),
            stats_json=file_statistics(footer, fields, self._floats),
            modified_ms=time.time_ns() // 1_000_000,
        )

    def drop(self) -> None:
        """Close and remove; the disk may be full, so closing may fail once more, and then has no footer."""
        with contextlib.suppress(*FOREIGN_ERRORS, RuntimeError):
            self._writer.close()
        self._writer.is_open = False  # else it tries again when it is collected
        with contextlib.suppress(*FOREIGN_ERRORS):
            self._sink.close()
        self._place.remove(self._path)


def split_by_partition(
    batch: pa.RecordBatch, partition_by: Sequence[str]
) -> Iterator[tuple[str | None, pa.RecordBatch]]:
    """Split a batch by the value of its partition column. A batch of one value is passed on as it is."""
    if not partition_by:
        yield None, batch
        return
    [name] = partition_by
    column = batch.column(name)
    first = column[0]
    if column.null_count == 0 and not pa.types.is_dictionary(column.type):
        ends = pc.min_max(column)
        if ends["min"] == ends["max"]:
            yield _as_text(first), batch
            return
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    for code, rows in _grouped(batch, codes):
        yield _as_text(encoded.dictionary[code]) if code >= 0 else None, rows


def _grouped(batch: pa.RecordBatch, codes: npt.NDArray[np.int32]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Return the rows of each code, in their order: events of a tag must keep it."""
    cuts = np.flatnonzero(np.diff(codes)) + 1
    if len(cuts) + 1 > len(np.unique(codes)) and len(cuts) * _LONG_RUN > batch.num_rows:
        order = np.argsort(codes, kind="stable")
        indices, codes = pa.array(order), codes[order]
        # By column: twice as fast as RecordBatch.take.
        columns = [pc.take(column, indices, boundscheck=False) for column in batch.columns]
        batch = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
        cuts = np.flatnonzero(np.diff(codes)) + 1
    runs: dict[int, list[pa.RecordBatch]] = {}
    starts = [0, *cuts.tolist()]
    for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
        runs.setdefault(int(codes[start]), []).append(batch.slice(start, end - start))
    for code, pieces in runs.items():
        yield code, pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)


def _as_text(value: pa.Scalar) -> str | None:
    known = value.as_py()
    return None if known is None else known if isinstance(known, str) else known.isoformat()


def _folder(partition_by: Sequence[str], value: str | None) -> str:
    """Return the folder name of a partition. It is for people: the log says which partition a file belongs to,
    so characters that would need escaping are simply replaced.
    """
    shown = "__HIVE_DEFAULT_PARTITION__" if value is None else re.sub(r"[^A-Za-z0-9._-]", "_", value)
    return "".join(f"{name}={shown}/" for name in partition_by)


def held_schema(spec: TableSpec, names: Iterable[str]) -> pa.Schema:
    """Columns as they are held before writing and after reading: with dictionaries where they pay."""
    fields = [spec.schema.field(name) for name in names]
    return pa.schema(
        pa.field(f.name, _DICTIONARY if f.name in spec.dictionary_columns else f.type, nullable=f.nullable)
        for f in fields
    )


def _for_file(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([column_as(rows.column(f.name), f.type) for f in schema], schema=schema)


def column_as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Give a column the type it is held in."""
    if column.type == kind:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind != _DICTIONARY:
        return column.cast(kind)
    return column.cast(pa.string()).dictionary_encode()


def _options(schema: pa.Schema, spec: TableSpec) -> dict[str, Any]:
    whole = [
        f.name
        for f in schema
        if pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type) or pa.types.is_date32(f.type)
    ]
    return {
        "compression": "zstd",
        "use_dictionary": [n for n in spec.dictionary_columns if n in schema.names],
        "column_encoding": dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        "data_page_version": "1.0",
        # None of floats: they would leave NaN out, and readers skip by them (statistics.py).
        "write_statistics": [f.name for f in schema if not pa.types.is_floating(f.type)],
        "version": "2.6",
        "store_schema": False,  # Arrow readers would otherwise see our dictionaries
    }
