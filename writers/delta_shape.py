"""The shape of a table, between our specs and delta-rs; and columns that came after the table.

Imports nothing of the engine. Invariant: a table is never changed but by columns that accept null.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema

from .delta_upkeep import HOOKS
from .drift import TableShape, absent_columns
from .failures import FOREIGN_ERRORS
from .tables import TableSpec

__all__ = ["add_later_columns", "arrow_schema", "create_table", "schema_of", "shape_of", "shape_wanted"]


def schema_of(spec: TableSpec) -> Schema:
    return Schema.from_arrow(spec.schema)


def shape_wanted(spec: TableSpec) -> TableShape:
    return TableShape(_fields(schema_of(spec)), spec.partition_by, (), {})


def shape_of(table: DeltaTable) -> TableShape:
    protocol, metadata = table.protocol(), table.metadata()
    return TableShape(
        fields=_fields(table.schema()),
        partition_by=metadata.partition_columns,
        features={*(protocol.reader_features or ()), *(protocol.writer_features or ())},
        configuration=metadata.configuration,
    )


def arrow_schema(table: DeltaTable) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())


def create_table(uri: str, spec: TableSpec, options: dict[str, str] | None) -> None:
    """Create it. Raises what delta-rs raises, also where somebody else was quicker."""
    DeltaTable.create(
        uri,
        schema_of(spec),
        partition_by=list(spec.partition_by),
        name=spec.name,
        description=spec.comment,
        configuration=dict(spec.properties),
        raise_if_key_not_exists=False,  # those of users, and those that only other engines know
        storage_options=options,
        # Tried again, a creation that lost lands on top of the winner's, as a change of the table's
        # metadata that fails every commit then under way.
        commit_properties=CommitProperties(max_commit_retries=0),
    )


def add_later_columns(table: DeltaTable, spec: TableSpec) -> bool:
    """Add the columns that came after the table; False if there are none.

    Who cannot (no permission, a rival at it) goes on without them: an upgrade never stops a run.
    """
    absent = absent_columns(spec, shape_of(table))
    if absent:
        fields = [field for field in schema_of(spec).fields if field.name in absent]
        with contextlib.suppress(*FOREIGN_ERRORS):
            table.alter.add_columns(fields, post_commithook_properties=HOOKS)
    return bool(absent)


def _fields(schema: Schema) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = json.loads(schema.to_json())["fields"]
    return fields
