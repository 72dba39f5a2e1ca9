"""The file actions of a checkpoint as a typed table, which becomes a Parquet sidecar. Pure.

Statistics and partition values stand there parsed, too, where the table asks for it (`writeStatsAsStruct`), so that
readers skip files without parsing JSON. Invariant: a bound that cannot be parsed is absent, never wrong. Fields that the
protocol does not name are left out, as it allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from .actions import Action

_TEXTS = pa.map_(pa.string(), pa.string())
_VECTOR = pa.struct(
    [
        ("storageType", pa.string()),
        ("pathOrInlineDv", pa.string()),
        ("offset", pa.int32()),
        ("sizeInBytes", pa.int32()),
        ("cardinality", pa.int64()),
        ("maxRowIndex", pa.int64()),
    ]
)
_ADD: tuple[tuple[str, pa.DataType], ...] = (
    ("path", pa.string()),
    ("partitionValues", _TEXTS),
    ("size", pa.int64()),
    ("modificationTime", pa.int64()),
    ("dataChange", pa.bool_()),
    ("stats", pa.string()),
    ("tags", _TEXTS),
    ("deletionVector", _VECTOR),
    ("baseRowId", pa.int64()),
    ("defaultRowCommitVersion", pa.int64()),
    ("clusteringProvider", pa.string()),
)
_REMOVE = pa.struct(
    [
        ("path", pa.string()),
        ("deletionTimestamp", pa.int64()),
        ("dataChange", pa.bool_()),
        ("extendedFileMetadata", pa.bool_()),
        ("partitionValues", _TEXTS),
        ("size", pa.int64()),
        ("deletionVector", _VECTOR),
    ]
)


def is_file_action(action: Action) -> bool:
    return "add" in action or "remove" in action


def file_actions_table(
    actions: Iterable[Action], schema: pa.Schema, partition_by: Sequence[str], *, parsed: bool
) -> pa.Table:
    """Give adds and removes as one table. `schema`: of the table; `parsed`: with statistics as values."""
    stats = _stats_type(schema, partition_by) if parsed else None
    partitions = _partition_type(schema, partition_by) if parsed else None
    fields = [*_ADD]
    if partitions is not None:
        fields.append(("partitionValues_parsed", partitions))
    if stats is not None:
        fields.append(("stats_parsed", stats))
    add = pa.struct(fields)
    adds: list[dict[str, Any] | None] = []
    removes: list[dict[str, Any] | None] = []
    for action in actions:
        found = action.get("add")
        removes.append(_typed(action["remove"], _REMOVE) if found is None else None)
        if found is None:
            adds.append(None)
            continue
        row = _typed(found, add)
        if partitions is not None:
            row["partitionValues_parsed"] = _values(found["partitionValues"], partitions)
        if stats is not None:
            row["stats_parsed"] = _stats(found.get("stats"), stats)
        adds.append(row)
    return pa.table({"add": pa.array(adds, add), "remove": pa.array(removes, _REMOVE)})


def _typed(body: Mapping[str, Any], kind: pa.StructType) -> dict[str, Any]:
    """The fields of an action that the type has; maps as lists of pairs."""
    names = [kind.field(i).name for i in range(kind.num_fields)]
    return {
        name: list(value.items()) if isinstance(value, Mapping) and name in {"partitionValues", "tags"} else value
        for name in names
        if (value := body.get(name)) is not None
    }


def _stats_type(schema: pa.Schema, partition_by: Sequence[str]) -> pa.StructType:
    data = [field for field in schema if field.name not in partition_by]
    bounded = pa.struct([(field.name, field.type) for field in data if _is_readable(field.type)])
    counted = pa.struct([(field.name, pa.int64()) for field in data if not pa.types.is_struct(field.type)])
    return pa.struct(
        [
            ("numRecords", pa.int64()),
            ("minValues", bounded),
            ("maxValues", bounded),
            ("nullCount", counted),
            ("tightBounds", pa.bool_()),
        ]
    )


def _partition_type(schema: pa.Schema, partition_by: Sequence[str]) -> pa.StructType | None:
    """None where there is nothing to parse, or a type that we do not: a value left out would be taken for null."""
    kinds = [(name, schema.field(name).type) for name in partition_by]
    return pa.struct(kinds) if kinds and all(_is_readable(kind, floats=False) for _, kind in kinds) else None


def _is_readable(kind: pa.DataType, *, floats: bool = True) -> bool:
    is_one = (pa.types.is_string, pa.types.is_integer, pa.types.is_date32)
    return any(test(kind) for test in is_one) or (
        floats and (pa.types.is_floating(kind) or pa.types.is_timestamp(kind))
    )


def _stats(text: str | None, kind: pa.StructType) -> dict[str, Any] | None:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    counts = found.get("nullCount")
    names = {kind.field("nullCount").type.field(i).name for i in range(kind.field("nullCount").type.num_fields)}
    return {
        "numRecords": _value(found.get("numRecords"), pa.int64()),
        "minValues": _values(found.get("minValues"), kind.field("minValues").type),
        "maxValues": _values(found.get("maxValues"), kind.field("maxValues").type),
        "nullCount": {
            name: _value(count, pa.int64())
            for name, count in (counts.items() if isinstance(counts, dict) else ())
            if name in names
        },
        "tightBounds": found["tightBounds"] if isinstance(found.get("tightBounds"), bool) else None,
    }


def _values(found: Any, kind: pa.StructType) -> dict[str, Any]:
    found = found if isinstance(found, Mapping) else {}
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return {field.name: _value(found.get(field.name), field.type) for field in fields}


def _value(found: Any, kind: pa.DataType) -> Any:
    """One value of JSON, or of a partition; None where it is absent, or not of this type."""
    try:
        if found is None or isinstance(found, bool):
            return None
        if pa.types.is_string(kind):
            return found or None if isinstance(found, str) else None
        if pa.types.is_date32(kind):
            return date.fromisoformat(found)
        if pa.types.is_timestamp(kind):
            at = datetime.fromisoformat(found)
            return at if (at.tzinfo is None) == (kind.tz is None) else None
        if pa.types.is_integer(kind):
            return pa.scalar(int(found), kind).as_py() if not isinstance(found, float) else None
        return float(found)
    except (TypeError, ValueError, OverflowError, pa.ArrowInvalid):
        return None
