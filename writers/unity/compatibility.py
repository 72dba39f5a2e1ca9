"""Refuses managed tables that we cannot write, and says what to do about it.

Invariant: a table is refused before a file is staged, and the message names the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from deltalake import Schema

from config.errors import LostStateError, SchemaDriftError

from ..log.schema_check import TableShape, absent_columns, check_shape
from ..log.snapshot import Snapshot
from ..tables import TableSpec
from .creation import HONOURED, struct_of
from .delta_api import LoadedTable
from .names import TableName


def refuse_foreign(name: TableName, table: LoadedTable) -> None:
    """Refuse a table without catalog commits, or with metadata for Iceberg that we cannot write."""
    properties = table.properties
    if properties.get("delta.feature.catalogManaged") not in {"supported", "enabled"}:
        raise SchemaDriftError(
            f"The managed table {name} has no catalog commits: only its catalog's own engine may write it.",
            hint=f"Enable them: ALTER TABLE {name.sql} SET TBLPROPERTIES ('delta.feature.catalogManaged' = "
            "'supported'); or configure another table name; or use unity_catalog.table_type: external.",
        )
    if table.uniform or properties.get("delta.universalFormat.enabledFormats"):
        raise SchemaDriftError(
            f"The table {name} is kept readable for Iceberg (UniForm), whose metadata we cannot write.",
            hint=f"ALTER TABLE {name.sql} UNSET TBLPROPERTIES ('delta.universalFormat.enabledFormats'), "
            "or configure another table name.",
        )


def refuse_replaced(name: TableName, table_id: str, table: LoadedTable) -> None:
    """Refuse another table under the same name: its history is not the one we have read."""
    if table.table_id != table_id:
        raise LostStateError(
            f"The table {name} was dropped, and made anew, while this run was writing to it.",
            hint="Run again, if that was meant; watermarks may have to be rebuilt (rebuild-watermarks).",
        )


def refuse_removing(name: TableName, snapshot: Snapshot) -> None:
    """Refuse to remove files of an append-only table."""
    if snapshot.properties.get("delta.appendOnly") == "true":
        raise SchemaDriftError(
            f"The table {name} is append-only, and rows have to be replaced.",
            hint="Unset its property delta.appendOnly.",
        )


def arrow_schema(metadata: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of a table, those that others have added included."""
    return pa.schema(Schema.from_json(metadata["schemaString"]).to_arrow())


def refuse_shape(name: TableName, spec: TableSpec, snapshot: Snapshot) -> TableSpec:
    """Refuse a table with features that require of writers what we do not do, or with columns that do not fit.

    Returns the spec of what can be written: without the columns that an older table lacks. (Only the catalog could
    add them, not a commit to the log.)
    """
    if snapshot.properties.get("delta.enableRowTracking") == "true":
        raise SchemaDriftError(
            f"The table {name} tracks its rows, which obliges writers to number them; we do not.",
            hint=f"ALTER TABLE {name.sql} SET TBLPROPERTIES ('delta.enableRowTracking' = 'false') and DROP FEATURE "
            "rowTracking, or configure another table name.",
        )
    metadata = snapshot.metadata
    fields: list[Mapping[str, Any]] = json.loads(metadata.get("schemaString") or '{"fields": []}')["fields"]
    found = TableShape(fields, metadata.get("partitionColumns") or (), snapshot.features, snapshot.properties)
    written = spec.without(absent_columns(spec, found))
    wanted = TableShape(struct_of(written)["fields"], written.partition_by, (), {})
    check_shape(str(name), wanted, found, honoured=HONOURED)
    return written
