"""Checks whether we can write a table, before the first file is staged.

Invariant: what is not known to be harmless is refused by name. A writer that ignores a table
feature produces a table that looks right and is not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.errors import SchemaDriftError

from ..tables import TableSpec

# Features under which adding plain Parquet files is right. Those that require more of us only when they are in use
# (constraints, generated columns, column mapping) are checked one by one below.
_HARMLESS = frozenset(
    {
        "appendOnly",
        "changeDataFeed",
        "checkConstraints",
        "columnMapping",
        "deletionVectors",
        "generatedColumns",
        "invariants",
        "timestampNtz",
        "v2Checkpoint",
        "variantType",
        "variantType-preview",
    }
)
# Settings that a table with an old protocol can carry without naming a feature.
_SETTINGS = {
    "delta.enableRowTracking": "rowTracking",
    "delta.enableIcebergCompatV1": "icebergCompatV1",
    "delta.enableIcebergCompatV2": "icebergCompatV2",
}
_MAPPING = "delta.columnMapping.mode"
_CONSTRAINT = "delta.constraints."
_PER_COLUMN = {
    "delta.generationExpression": "a generated column",
    "delta.identity.start": "an identity column",
    "delta.invariants": "a column with an invariant",
    "CURRENT_DEFAULT": "a column with a default",
}


@dataclass(frozen=True, slots=True)
class TableShape:
    """What the log says about a table: fields as in the schema JSON of the Delta protocol."""

    fields: Sequence[Mapping[str, Any]]
    partition_by: Sequence[str]
    features: Collection[str]
    configuration: Mapping[str, str | None]


def check_shape(uri: str, wanted: TableShape, found: TableShape, *, honoured: Collection[str] = ()) -> None:
    """Raise `SchemaDriftError` naming the column or the feature that we cannot write.

    `honoured`: features beyond the harmless ones that the caller does what they ask for.
    """
    features = sorted(set(found.features) - _HARMLESS - set(honoured)) or _in_use(found.configuration)
    if features:
        raise SchemaDriftError(
            f"The table at {uri} cannot be written: it uses the table feature {' and '.join(features)}.",
            hint="Drop it (ALTER TABLE <the table> DROP FEATURE <the feature>, with TRUNCATE HISTORY if that is "
            "allowed), or configure another table name.",
        )
    for problem in (
        _constraint_problem(found),
        _column_problem(wanted, found),
        _extra_problem(wanted, found),
        _partition_problem(wanted, found),
    ):
        if problem is not None:
            raise SchemaDriftError(
                f"The table at {uri} cannot be written: {problem}.",
                hint="Configure another table name, or change the table so that it fits.",
            )


def absent_columns(spec: TableSpec, found: TableShape) -> tuple[str, ...]:
    """Return the columns that an older table lacks, and that rows can be written without."""
    there = {field["name"] for field in found.fields}
    return tuple(name for name in spec.later_columns if name not in there)


def _in_use(configuration: Mapping[str, str | None]) -> list[str]:
    """Features that settings turn on, also if the protocol does not name them."""
    found = [feature for key, feature in _SETTINGS.items() if configuration.get(key) == "true"]
    return found + (["columnMapping"] if configuration.get(_MAPPING, "none") != "none" else [])


def _constraint_problem(found: TableShape) -> str | None:
    for key in found.configuration:
        if key.startswith(_CONSTRAINT):
            return f"it has the check constraint {key.removeprefix(_CONSTRAINT)}"
    return None


def _column_problem(wanted: TableShape, found: TableShape) -> str | None:
    there = {field["name"]: field for field in found.fields}
    for field in wanted.fields:
        name = field["name"]
        other = there.get(name)
        if other is None:
            return f"the column {name} is missing"
        if other["type"] != field["type"]:
            return f"the column {name} is {_type_name(other['type'])} where {_type_name(field['type'])} is needed"
        if field["nullable"] and not other["nullable"]:
            return f"the column {name} does not accept null"
    return None


def _extra_problem(wanted: TableShape, found: TableShape) -> str | None:
    ours = {field["name"] for field in wanted.fields}
    for field in found.fields:
        for key, what in _PER_COLUMN.items():
            if key in field.get("metadata", {}):
                return f"{field['name']} is {what}"
        if field["name"] not in ours and not field["nullable"]:
            return f"it has a column {field['name']} of its own that does not accept null"
    return None


def _partition_problem(wanted: TableShape, found: TableShape) -> str | None:
    if tuple(wanted.partition_by) == tuple(found.partition_by):
        return None
    return f"it is partitioned by {_listed(found.partition_by)} where {_listed(wanted.partition_by)} is needed"


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "nothing"


def _type_name(kind: Any) -> str:
    return kind if isinstance(kind, str) else str(kind["type"])
