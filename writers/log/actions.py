"""The actions of a Delta log that we write ourselves.

Invariant: `commitInfo` comes first; an action is encode_path as the Delta protocol says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import uuid4

from .model import CommitKey, StagedFile

Action: TypeAlias = Mapping[str, Any]

_ENGINE = "osipi-connector"


def encode(actions: Iterable[Action]) -> bytes:
    return b"".join(json.dumps(a, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for a in actions)


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


def next_timestamp(now_ms: int, previous_ms: int) -> int:
    """In-commit timestamps rise strictly, also if the clocks of the writers differ."""
    return max(now_ms, previous_ms + 1)


def transaction_action(key: CommitKey, timestamp: int) -> Action:
    return {"txn": {"appId": key.app_id, "version": key.sequence, "lastUpdated": timestamp}}


def add_action(file: StagedFile) -> Action:
    return {
        "add": {
            "path": encode_path(file.path),
            "partitionValues": dict(file.partition_values),
            "size": file.size_bytes,
            "modificationTime": file.modified_ms,
            "dataChange": True,
            "stats": file.stats_json,
        }
    }


def change_action(file: StagedFile) -> Action:
    """Add a change file to the feed; the table itself does not change by it."""
    return {
        "cdc": {
            "path": encode_path(file.path),
            "partitionValues": dict(file.partition_values),
            "size": file.size_bytes,
            "dataChange": False,
        }
    }


def encode_path(path: str) -> str:
    """The path of a file as the log spells it."""
    return quote(path, safe="/=~")


def remove_action(add: Action, timestamp: int) -> Action:
    """Remove the file of an `add`, which is known by its path and its deletion vector."""
    kept = ("path", "partitionValues", "size", "deletionVector")
    return {
        "remove": {
            **{name: add[name] for name in kept if add.get(name) is not None},
            "deletionTimestamp": timestamp,
            "dataChange": True,
            "extendedFileMetadata": True,
        }
    }
