"""Reads rows of a Delta table by SQL, through the DataFusion inside delta-rs.

It honours deletion vectors, streams, and (unlike the Arrow dataset of DeltaTable) leaves no threads behind that abort
the interpreter at exit. Invariant: rows come in the types of our schema, also if the files have others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from ..log.data_files import base_name
from ..storage.errors import explain, storage_errors
from ..tables import TIMESTAMP, Grain, TableSpec

_TAGS = pa.schema([("tag_webid", pa.string()), ("low", TIMESTAMP), ("high", TIMESTAMP), ("rows", pa.int64())])


def read_rows(
    table: DeltaTable,
    uri: str,
    spec: TableSpec,
    columns: Sequence[str],
    *,
    where: Mapping[str, str],
    absent: Collection[str] = (),
) -> pa.RecordBatchReader:
    """Stream columns of the partitions of `where`; those of `absent` are null."""
    condition = " AND ".join(f"{_quoted(name)} = {_literal(value)}" for name, value in where.items())
    shown = ", ".join(f"NULL AS {_quoted(name)}" if name in absent else _quoted(name) for name in columns)
    schema = pa.schema([spec.schema.field(name).remove_metadata() for name in columns])
    sql = f"SELECT {shown} FROM t WHERE {condition or 'true'}"  # noqa: S608  quoted above
    return _query(table, uri, sql, schema)


def read_tags(table: DeltaTable, uri: str, grain: Grain) -> pa.Table:
    """Return the first and last timestamp and the row count of each owner."""
    owner, at = _quoted(grain.owner), _quoted(grain.time or "")
    sql = (
        f"SELECT {owner} AS tag_webid, min({at}) AS low, max({at}) AS high, "  # noqa: S608  quoted above
        f'count(*) AS "rows" FROM t GROUP BY {owner}'
    )
    return _query(table, uri, sql, _TAGS).read_all()


def files_with_vector(table: DeltaTable) -> frozenset[str]:
    """Base names of the files of which rows have been deleted, where the table can have such files."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return frozenset()
    found = pa.RecordBatchReader.from_stream(table.deletion_vectors())
    return frozenset(base_name(path) for batch in found for path in batch.column("filepath").to_pylist())


def _query(table: DeltaTable, uri: str, sql: str, schema: pa.Schema) -> pa.RecordBatchReader:
    with storage_errors(uri):
        found = pa.RecordBatchReader.from_stream(QueryBuilder().register("t", table).execute(sql))
    return pa.RecordBatchReader.from_batches(schema, _cast_batches(found, schema, uri))


def _cast_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, uri: str) -> Iterable[pa.RecordBatch]:
    try:
        with storage_errors(uri):
            for batch in batches:
                yield batch.cast(schema)
    except pa.ArrowInvalid as error:  # raised for a file that is missing or damaged
        raise explain(error, uri) from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
