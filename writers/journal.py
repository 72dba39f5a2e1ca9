"""Tables that are only added to: one row a run, one row a rejected piece. Imports nothing of the engine.

Invariant: rows are only added. Runs that end at once are told apart by their app transaction, and try
again; a table of many small files is put into one file as part of an addition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from config.errors import CommitConflictError, ExtractError, FencedError, UnknownCommitError

from .commit import CommitKey, CommitTable, Lakehouse
from .tables import TableSpec

__all__ = ["add_rows"]

_ATTEMPTS = 8
_MANY_FILES = 100


def add_rows(lakehouse: Lakehouse, spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows; times are microseconds since 1970. Raises what the destination raises."""
    table = lakehouse.table(spec)
    added = _as_table(spec, rows)
    # Shared by all runs of all pipelines, so that any two that end at once are told apart.
    app_id = f"osipi/{spec.name}"
    for _ in range(_ATTEMPTS):
        table.open()
        try:
            _add(table, app_id, added)
        except (CommitConflictError, FencedError):
            continue
        return
    raise CommitConflictError(f"Other runs changed {table.uri} {_ATTEMPTS} times while a row was being added.")


def _add(table: CommitTable, app_id: str, rows: pa.Table) -> None:
    many = table.file_count(where={}) >= _MANY_FILES
    stage = table.stage()
    try:
        for batch in (*(table.read() if many else ()), *rows.to_batches()):
            stage.write(batch)
        files = stage.close()
    except BaseException:
        stage.abort()
        raise
    key = CommitKey(app_id, (table.last_sequence(app_id) or 0) + 1)
    try:
        table.commit(key, files, replace_where={} if many else None)
    except UnknownCommitError:
        raise
    except ExtractError:
        table.discard(files)
        raise


def _as_table(spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    columns = [
        pa.array([row[field.name] for row in rows], pa.int64()).cast(field.type)
        if pa.types.is_timestamp(field.type)
        else pa.array([row[field.name] for row in rows], field.type)
        for field in spec.schema
    ]
    return pa.Table.from_arrays(columns, schema=spec.schema)
