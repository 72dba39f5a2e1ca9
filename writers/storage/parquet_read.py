"""Reads rows of live files with Arrow, file by file.

delta-rs cannot open a table whose commits a catalog decides, and reads no single files. Invariant: rows that a deletion
vector deletes are not read, and a vector that cannot be understood is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from config.errors import SchemaDriftError

from ..log.actions import Action
from ..log.data_files import to_add_action
from ..log.deletion_vectors import Rows, deleted_rows, inline_or_path, slice_of_file
from ..ports import ROW, LiveFile
from ..tables import Grain, TableSpec
from .errors import storage_errors
from .location import TableLocation
from .parquet_stage import column_as, held_schema

_BATCH_ROWS = 1 << 16

Window = tuple[int, int]


def read_files(place: TableLocation, files: Iterable[Action], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Stream the columns of `schema`. A column that a file does not have is its partition value, or null."""
    for add in files:
        with storage_errors(place.uri):
            yield from _read_file(place, add, schema)


def read_live(
    place: TableLocation,
    file: LiveFile,
    schema: pa.Schema,
    *,
    time: str | None = None,
    window: Window | None = None,
) -> Iterator[pa.RecordBatch]:
    """Stream one file. `schema` may hold `ROW`, and dictionaries where they pay.

    With a window (microseconds) of the column `time` row groups that hold none of it are left out.
    """
    with storage_errors(place.uri):
        yield from _read_file(place, to_add_action(file), schema, time=time, window=window)


def live_schema(spec: TableSpec, columns: Sequence[str]) -> pa.Schema:
    """Columns of a table, `ROW` among them or not, in the types that `read_live` gives."""
    held = {f.name: f for f in held_schema(spec, [name for name in columns if name != ROW])}
    return pa.schema([held.get(name, pa.field(ROW, pa.int64())) for name in columns])


def _read_file(
    place: TableLocation, add: Action, schema: pa.Schema, *, time: str | None = None, window: Window | None = None
) -> Iterator[pa.RecordBatch]:
    gone = _deleted(place, add)
    encoded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    source = place.open_input(_below(place, add["path"]))
    with pq.ParquetFile(source, read_dictionary=encoded) as file:
        names = [name for name in schema.names if name in file.schema_arrow.names]
        for group, first in _groups(file.metadata, time, window):
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=names, use_threads=False):
                indices = np.arange(first, first + batch.num_rows)
                columns = [pa.array(indices) if f.name == ROW else _column(batch, f, add) for f in schema]
                rows = pa.RecordBatch.from_arrays(columns, schema=schema)
                inside = gone[(gone >= first) & (gone < first + batch.num_rows)] - first
                first += batch.num_rows  # noqa: PLW2901  goes on inside the group
                yield _without(rows, inside) if len(inside) else rows


def _groups(footer: pq.FileMetaData, time: str | None, window: Window | None) -> Iterator[tuple[int, int]]:
    """Return the row groups that may hold events of a window, and the first row of each."""
    place = next((i for i in range(footer.num_columns) if footer.schema.column(i).path == time), None)
    first = 0
    for group in range(footer.num_row_groups):
        found = footer.row_group(group)
        if window is None or place is None or _may_overlap(found.column(place), footer.schema.column(place), window):
            yield group, first
        first += found.num_rows


def _may_overlap(chunk: pq.ColumnChunkMetaData, column: pq.ColumnSchema, window: Window) -> bool:
    found = chunk.statistics
    if found is None or not found.has_min_max or "timeUnit=microseconds" not in str(column.logical_type):
        return True
    return bool(found.min_raw < window[1] and found.max_raw >= window[0])


def _deleted(place: TableLocation, add: Action) -> Rows:
    vector = add.get("deletionVector")
    if not vector:
        return np.empty(0, np.int64)
    try:
        found = inline_or_path(vector)
        if isinstance(found, str):
            content = place.read_small(_below(place, found))
            found = slice_of_file(content or b"", vector)
        return deleted_rows(found, vector)
    except (ValueError, struct.error) as error:
        raise SchemaDriftError(
            f"Rows of {place.uri} have been deleted in a way that we cannot read: {error}.",
            hint="Run REORG TABLE <the table> APPLY (PURGE), then run again.",
        ) from None


def _without(rows: pa.RecordBatch, gone: Rows) -> pa.RecordBatch:
    alive = np.ones(rows.num_rows, np.bool_)
    alive[gone] = False
    return rows.filter(pa.array(alive))


def _below(place: TableLocation, path: str) -> str:
    """Turn the path of an action, relative or a whole URI, into one below the table's root."""
    if ":" not in path.partition("/")[0] and not path.startswith("/"):
        return unquote(path)
    root = TableLocation.parse(place.uri).uri.rstrip("/") + "/"
    whole = unquote(urlsplit(path).path) if place.local else unquote(path)
    if not whole.startswith(root):
        raise SchemaDriftError(
            f"The table at {place.uri} holds files of another place (a shallow clone), which we do not read.",
            hint="Make a deep clone of the table.",
        )
    return whole.removeprefix(root)


def _column(batch: pa.RecordBatch, field: pa.Field, add: Action) -> pa.Array:
    if field.name in batch.schema.names:
        return column_as(batch.column(field.name), field.type)
    value = pa.repeat(pa.scalar(add["partitionValues"].get(field.name), pa.string()), batch.num_rows)
    return pa.nulls(batch.num_rows, field.type) if value.null_count else column_as(value, field.type)


def scan_tags(batches: Iterable[pa.RecordBatch], grain: Grain) -> pa.Table:
    """Return the first and last timestamp and the row count of each owner; memory grows with the number of owners."""
    summed: pa.Table | None = None
    for batch in batches:
        found = (
            pa.Table.from_batches([batch])
            .group_by(grain.owner, use_threads=False)
            .aggregate([(grain.time, "min"), (grain.time, "max"), ([], "count_all")])
            .rename_columns(_SUMMED)
        )
        summed = found if summed is None else _sum_up([summed, found])
    kind = pa.timestamp("us", tz="UTC")
    wanted = pa.schema([("tag_webid", pa.string()), ("low", kind), ("high", kind), ("rows", pa.int64())])
    return wanted.empty_table() if summed is None else summed.select(wanted.names).cast(wanted)


_SUMMED = ["tag_webid", "low", "high", "rows"]


def _sum_up(tables: Sequence[pa.Table]) -> pa.Table:
    return (
        pa.concat_tables(tables)
        .group_by("tag_webid", use_threads=False)
        .aggregate([("low", "min"), ("high", "max"), ("rows", "sum")])
        .rename_columns(_SUMMED)
    )
