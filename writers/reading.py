"""Rows of live files, read with Arrow file by file. No log, no catalog.

delta-rs cannot open a table whose commits a catalog decides, so these files are read here. Invariant:
rows that a deletion vector takes out are not read, and a vector that cannot be understood is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from config.errors import SchemaDriftError

from .actions import Action
from .failures import storage_errors
from .storage import Place
from .vectors import Rows, deleted_rows, inline_or_path, slice_of_file

__all__ = ["read_files", "scan_tags"]

_BATCH_ROWS = 1 << 16


def read_files(place: Place, files: Iterable[Action], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Stream the columns of `schema`. A column that a file does not have is its partition value, or null."""
    for add in files:
        with storage_errors(place.uri):
            yield from _read_file(place, add, schema)


def _read_file(place: Place, add: Action, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    gone, first = _deleted(place, add), 0
    with pq.ParquetFile(place.filesystem().open_input_file(_below(place, add["path"]))) as file:
        names = [name for name in schema.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
            rows = pa.RecordBatch.from_arrays([_column(batch, field, add) for field in schema], schema=schema)
            inside = gone[(gone >= first) & (gone < first + batch.num_rows)] - first
            first += batch.num_rows
            yield _without(rows, inside) if len(inside) else rows


def _deleted(place: Place, add: Action) -> Rows:
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


def _below(place: Place, path: str) -> str:
    """Turn the path of an action, relative or a whole URI, into one below the table's root."""
    if ":" not in path.partition("/")[0] and not path.startswith("/"):
        return unquote(path)
    root = Place.parse(place.uri).uri.rstrip("/") + "/"
    whole = unquote(urlsplit(path).path) if place.local else unquote(path)
    if not whole.startswith(root):
        raise SchemaDriftError(
            f"The table at {place.uri} holds files of another place (a shallow clone), which we do not read.",
            hint="Make a deep clone of the table.",
        )
    return whole.removeprefix(root)


def _column(batch: pa.RecordBatch, field: pa.Field, add: Action) -> pa.Array:
    if field.name in batch.schema.names:
        return batch.column(field.name).cast(field.type)
    value = add["partitionValues"].get(field.name)
    return pa.repeat(pa.scalar(value, pa.string()).cast(field.type), batch.num_rows)


def scan_tags(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """First, last and count of each tag, in memory that follows the number of tags."""
    summed: pa.Table | None = None
    for batch in batches:
        found = (
            pa.Table.from_batches([batch])
            .group_by("tag_webid", use_threads=False)
            .aggregate([("timestamp", "min"), ("timestamp", "max"), ([], "count_all")])
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
