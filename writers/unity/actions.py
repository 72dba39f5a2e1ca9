"""The lines of a first commit file, which say what a table is; and the spelling of the catalog's API. Pure.

Imports table shapes and the shared lines. Invariant: what the catalog asks for is written as it says it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deltalake import Schema

from ..actions import Action
from ..tables import TableSpec

__all__ = ["metadata_action", "next_timestamp", "protocol_action", "struct_of", "wire_type"]


def next_timestamp(now_ms: int, previous_ms: int) -> int:
    """In-commit timestamps rise strictly, whatever the clocks of the writers say."""
    return max(now_ms, previous_ms + 1)


def protocol_action(wanted: Mapping[str, Any]) -> Action:
    """Write the protocol that the catalog asks for, in the spelling of the log."""
    return {
        "protocol": {
            "minReaderVersion": wanted["min-reader-version"],
            "minWriterVersion": wanted["min-writer-version"],
            "readerFeatures": sorted(wanted.get("reader-features") or ()),
            "writerFeatures": sorted(wanted.get("writer-features") or ()),
        }
    }


def metadata_action(
    spec: TableSpec, *, table_id: str, name: str, properties: Mapping[str, str], created_ms: int
) -> Action:
    return {
        "metaData": {
            "id": table_id,
            "name": name,
            "description": spec.comment,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(struct_of(spec), ensure_ascii=False, separators=(",", ":")),
            "partitionColumns": list(spec.partition_by),
            "configuration": dict(properties),
            "createdTime": created_ms,
        }
    }


def struct_of(spec: TableSpec) -> dict[str, Any]:
    """The schema of a table as the Delta log spells it, comments included."""
    struct: dict[str, Any] = json.loads(Schema.from_arrow(spec.schema).to_json())
    return struct


def wire_type(kind: Any) -> Any:
    """Spell a type, or a whole struct, as the Delta API does: hyphens for camels."""
    if isinstance(kind, Mapping):
        # What stands in `metadata` is named by users and engines: it is passed on as it is.
        return {_WIRE.get(k, k): v if k == "metadata" else wire_type(v) for k, v in kind.items()}
    return [wire_type(item) for item in kind] if isinstance(kind, Sequence) and not isinstance(kind, str) else kind


_WIRE = {
    "keyType": "key-type",
    "valueType": "value-type",
    "valueContainsNull": "value-contains-null",
    "elementType": "element-type",
    "containsNull": "contains-null",
}
