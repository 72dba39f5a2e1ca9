"""The lines of a Delta commit file that we write ourselves. Pure; no I/O.

Imports ports and table shapes. Invariant: `commitInfo` comes first and carries the in-commit timestamp,
as tables whose commits a catalog decides require.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import uuid4

from deltalake import Schema

from ..commit import CommitKey, StagedFile
from ..tables import TableSpec

__all__ = [
    "Action",
    "add_action",
    "commit_info",
    "encode",
    "metadata_action",
    "next_timestamp",
    "protocol_action",
    "remove_action",
    "struct_of",
    "transaction_action",
    "wire_type",
]

Action: TypeAlias = Mapping[str, Any]

_ENGINE = "osipi-connector"


def encode(actions: Iterable[Action]) -> bytes:
    return b"".join(json.dumps(a, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for a in actions)


def next_timestamp(now_ms: int, previous_ms: int) -> int:
    """In-commit timestamps rise strictly, whatever the clocks of the writers say."""
    return max(now_ms, previous_ms + 1)


def commit_info(
    timestamp: int, *, operation: str, parameters: Mapping[str, str], blind: bool, labels: Mapping[str, str]
) -> Action:
    info = {
        "inCommitTimestamp": timestamp,
        "timestamp": timestamp,
        "operation": operation,
        "operationParameters": dict(parameters),
        "isBlindAppend": blind,
        "engineInfo": _ENGINE,
        "txnId": str(uuid4()),
        **labels,
    }
    return {"commitInfo": info}


def transaction_action(key: CommitKey, timestamp: int) -> Action:
    return {"txn": {"appId": key.app_id, "version": key.sequence, "lastUpdated": timestamp}}


def add_action(file: StagedFile) -> Action:
    return {
        "add": {
            "path": quote(file.path, safe="/=~"),
            "partitionValues": dict(file.partition_values),
            "size": file.size_bytes,
            "modificationTime": file.modified_ms,
            "dataChange": True,
            "stats": file.stats_json,
        }
    }


def remove_action(add: Action, timestamp: int) -> Action:
    """Take back an `add`; a deletion vector is part of what is taken back."""
    kept = ("path", "partitionValues", "size", "deletionVector")
    return {
        "remove": {
            **{name: add[name] for name in kept if add.get(name) is not None},
            "deletionTimestamp": timestamp,
            "dataChange": True,
            "extendedFileMetadata": True,
        }
    }


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
