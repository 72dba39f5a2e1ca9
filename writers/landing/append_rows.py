"""Tables that are only added to: one row a run, one row a rejected piece.

Invariant: rows are only added. Runs that end at once meet in their app transaction: one of them tries
again. A table of many small files is put into one file as part of an addition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, FencedError

from ..ports import Commit, CommitKey, Lakehouse, OpenTable, commit_or_discard, stage_rows
from ..tables import PI_CONNECTOR_METRICS, TableSpec

_ATTEMPTS = 8
_MANY_FILES = 100


def add_rows(lakehouse: Lakehouse, spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows; times are microseconds since 1970. Raises what the destination raises."""
    table = lakehouse.table(spec)
    added = _as_table(spec, rows)
    # Shared by all runs of all pipelines, so that two that end at once conflict, and one tries again.
    app_id = f"osipi/{spec.name}"
    for _ in range(_ATTEMPTS):
        try:
            _add(table.open(), app_id, added)
        except (CommitConflictError, FencedError):
            continue
        return
    raise CommitConflictError(f"Other runs changed {table.uri} {_ATTEMPTS} times while a row was being added.")


def add_run(lakehouse: Lakehouse, row: Mapping[str, Any]) -> None:
    """Add the row of a run; times are microseconds since 1970. Raises what the destination raises."""
    add_rows(lakehouse, PI_CONNECTOR_METRICS, [row])


def newest_runs(lakehouse: Lakehouse, pipeline: str, *, limit: int) -> list[dict[str, Any]]:
    """Give the rows of a pipeline, newest first; times are microseconds since 1970. None without a table."""
    table = lakehouse.table(PI_CONNECTOR_METRICS)
    if not table.exists():
        return []
    rows = table.open().read().read_all()
    rows = rows.filter(pc.equal(rows["pipeline"], pipeline)).sort_by([("started_at", "descending")]).slice(0, limit)
    place = rows.schema.get_field_index("started_at")
    return [dict(row) for row in rows.set_column(place, "started_at", rows["started_at"].cast(pa.int64())).to_pylist()]


def _add(table: OpenTable, app_id: str, rows: pa.Table) -> None:
    many = table.file_count(where={}) >= _MANY_FILES
    files = stage_rows(table, (*(table.read() if many else ()), *rows.to_batches()))
    key = CommitKey(app_id, (table.last_sequence(app_id) or 0) + 1)
    commit_or_discard(table, Commit(key, files, replace_where={} if many else None), files)


def _as_table(spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    columns = [
        pa.array([row[field.name] for row in rows], pa.int64()).cast(field.type)
        if pa.types.is_timestamp(field.type)
        else pa.array([row[field.name] for row in rows], field.type)
        for field in spec.schema
    ]
    return pa.Table.from_arrays(columns, schema=spec.schema)
