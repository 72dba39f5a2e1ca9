"""Compares and converts table shapes between our specs and delta-rs, and adds columns that older tables lack.

Invariant: the only change made to an existing table is to add columns that accept null.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema

from ..log.schema_check import TableShape, absent_columns
from ..storage.errors import FOREIGN_ERRORS
from ..tables import TableSpec
from .optimize import HOOKS


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
    """Create the table. Raises what delta-rs raises, also where another writer was quicker."""
    DeltaTable.create(
        uri,
        schema_of(spec),
        partition_by=list(spec.partition_by),
        name=spec.name,
        description=spec.comment,
        configuration=dict(spec.properties),
        raise_if_key_not_exists=False,  # users may set properties that only other engines know
        storage_options=options,
        # A retry of a creation that lost would land on top of the winner's, as a change of the table's metadata, and
        # fail every commit in progress.
        commit_properties=CommitProperties(max_commit_retries=0),
    )


def add_later_columns(table: DeltaTable, spec: TableSpec) -> bool:
    """Add the columns that an older table lacks; return False if there are none.

    A run that cannot (no permission, a concurrent change) goes on without them: an upgrade never stops a run.
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
