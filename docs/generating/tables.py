"""docs/reference/tables.md: every table and column."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from engine.datasets.registry import DATASETS
from writers.tables import PI_CONNECTOR_METRICS, PI_QUARANTINE, TIMESTAMP, TableSpec

from .markdown import MADE, code, table

SPECS = (*DATASETS.tables, PI_CONNECTOR_METRICS, PI_QUARANTINE)
_HEAD = f"""{MADE}

# Tables and columns

Every table and column. [Tables](../tables.md) says how values land, and has queries to begin with. Catalog, schemas and
tables have other names where [the configuration](configuration.md#unity_catalog) says so. A column that is *key* tells rows
apart, and holds a value in every row. Any other column may be null.
"""
_ROLES = {
    "schema": "unity_catalog.schema",
    "checkpoint_schema": "unity_catalog.checkpoint_schema",
    "monitoring_schema": "unity_catalog.monitoring_schema",
}
_SQL = {
    pa.string(): "STRING", pa.float64(): "DOUBLE", pa.int32(): "INT", pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE", TIMESTAMP: "TIMESTAMP",
}  # fmt: skip


def names() -> list[str]:
    """Every column, with the prefix `column:`."""
    return [f"column:{spec.name}.{field.name}" for spec in SPECS for field in spec.schema]


def page(since: Mapping[str, str]) -> str:
    """The page. `since` has the version of each of `names`."""
    return "\n".join([_HEAD, *(_section(spec, since) for spec in SPECS)])


def _section(spec: TableSpec, since: Mapping[str, str]) -> str:
    rows = [
        (
            code(field.name),
            sql_type(field.type),
            "key" if field.name in spec.grain.key else "may be null" if field.nullable else "never null",
            field.metadata[b"comment"].decode(),
            since[f"column:{spec.name}.{field.name}"],
        )
        for field in spec.schema
    ]
    parted = f" Partitioned by {', '.join(map(code, spec.partition_by))}." if spec.partition_by else ""
    about = f"{spec.comment} In the schema `{_ROLES[spec.schema_role]}`.{parted}"
    return f"## {spec.name}\n\n{about}\n\n" + table(("column", "type", "null", "meaning", "since"), rows) + "\n"


def sql_type(kind: pa.DataType) -> str:
    """The type as SQL has it."""
    if pa.types.is_map(kind):
        return f"MAP<{sql_type(kind.key_type)}, {sql_type(kind.item_type)}>"
    if pa.types.is_list(kind):
        return f"ARRAY<{sql_type(kind.value_type)}>"
    return _SQL[kind]
