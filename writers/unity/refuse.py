"""Managed tables that we cannot write, with the ways out. Pure.

Invariant: refused before a file is staged, by the name of what is in the way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from deltalake import Schema

from config.errors import LostStateError, SchemaDriftError

from ..drift import TableShape, absent_columns, check_shape
from ..tables import TableSpec
from .actions import struct_of
from .creation import HONOURED
from .delta_api import LoadedTable
from .names import TableName
from .snapshot import Snapshot

__all__ = ["arrow_schema", "refuse_foreign", "refuse_removing", "refuse_replaced", "refuse_shape"]


def refuse_foreign(name: TableName, table: LoadedTable) -> None:
    """Refuse by what the catalog says: no catalog commits, or a copy for Iceberg that we cannot make."""
    properties = table.properties
    if properties.get("delta.feature.catalogManaged") not in {"supported", "enabled"}:
        raise SchemaDriftError(
            f"The managed table {name} has no catalog commits, and takes writes of Databricks alone.",
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
    """Refuse another table that has taken the name: its history is not the one we have read."""
    if table.table_id != table_id:
        raise LostStateError(
            f"The table {name} was dropped, and made anew, while this run was writing to it.",
            hint="Run again, if that was meant; watermarks may have to be rebuilt (rebuild-watermarks).",
        )


def refuse_removing(name: TableName, snapshot: Snapshot) -> None:
    """Refuse to take files out of a table that does not allow it."""
    if snapshot.properties.get("delta.appendOnly") == "true":
        raise SchemaDriftError(
            f"The table {name} is append-only, and rows have to be replaced.",
            hint="Unset its property delta.appendOnly.",
        )


def arrow_schema(metadata: Mapping[str, Any]) -> pa.Schema:
    """Give the columns of a table, those that others have added included."""
    return pa.schema(Schema.from_json(metadata["schemaString"]).to_arrow())


def refuse_shape(name: TableName, spec: TableSpec, snapshot: Snapshot) -> TableSpec:
    """Refuse by what the log says: features that oblige writers to do what we do not, columns that do not fit.

    Gives the table as it can be written: without the columns that it is too old to have. (To add them is
    for the catalog, not for the log.)
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
