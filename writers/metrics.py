"""The metrics table: one row a run. Imports nothing of the engine.

Invariant: rows are only added. Runs that end at once are told apart by their app transaction, and try
again; a table of many small files is put into one file as part of an addition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, ExtractError, FencedError, UnknownCommitError

from .commit import CommitKey, CommitTable, Lakehouse
from .tables import PI_CONNECTOR_METRICS

__all__ = ["add_run", "newest_runs"]

# Shared by all runs of all pipelines, so that any two that end at once are told apart.
_APP_ID = "osipi/pi_connector_metrics"
_ATTEMPTS = 8
_MANY_FILES = 100


def add_run(lakehouse: Lakehouse, row: Mapping[str, Any]) -> None:
    """Add the row of a run; times are microseconds since 1970. Raises what the destination raises."""
    table = lakehouse.table(PI_CONNECTOR_METRICS)
    rows = _as_table(row)
    for _ in range(_ATTEMPTS):
        table.open()
        try:
            _add(table, rows)
        except (CommitConflictError, FencedError):
            continue
        return
    raise CommitConflictError(f"Other runs changed {table.uri} {_ATTEMPTS} times while a row was being added.")


def _add(table: CommitTable, rows: pa.Table) -> None:
    many = table.file_count(where={}) >= _MANY_FILES
    stage = table.stage()
    try:
        for batch in (*(table.read() if many else ()), *rows.to_batches()):
            stage.write(batch)
        files = stage.close()
    except BaseException:
        stage.abort()
        raise
    key = CommitKey(_APP_ID, (table.last_sequence(_APP_ID) or 0) + 1)
    try:
        table.commit(key, files, replace_where={} if many else None)
    except UnknownCommitError:
        raise
    except ExtractError:
        table.discard(files)
        raise


def newest_runs(lakehouse: Lakehouse, pipeline: str, *, limit: int) -> list[dict[str, Any]]:
    """Give the rows of a pipeline, newest first; times are microseconds since 1970. None without a table."""
    table = lakehouse.table(PI_CONNECTOR_METRICS)
    if not table.exists():
        return []
    rows = table.open().read().read_all()
    rows = rows.filter(pc.equal(rows["pipeline"], pipeline)).sort_by([("started_at", "descending")]).slice(0, limit)
    place = rows.schema.get_field_index("started_at")
    return [dict(row) for row in rows.set_column(place, "started_at", rows["started_at"].cast(pa.int64())).to_pylist()]


def _as_table(row: Mapping[str, Any]) -> pa.Table:
    schema = PI_CONNECTOR_METRICS.schema
    columns = [
        pa.array([row[field.name]], pa.int64()).cast(field.type)
        if pa.types.is_timestamp(field.type)
        else pa.array([row[field.name]], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
