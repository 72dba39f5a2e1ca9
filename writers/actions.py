"""The lines of a Delta commit file that we write ourselves, and those that we take back. Pure; no I/O.

Imports ports only. Invariant: `commitInfo` comes first; an action is spelled as the Delta protocol says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import uuid4

from .commit import CommitKey, StagedFile

__all__ = [
    "Action",
    "add_action",
    "change_action",
    "commit_info",
    "encode",
    "remove_action",
    "spelled",
    "transaction_action",
]

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


def transaction_action(key: CommitKey, timestamp: int) -> Action:
    return {"txn": {"appId": key.app_id, "version": key.sequence, "lastUpdated": timestamp}}


def add_action(file: StagedFile) -> Action:
    return {
        "add": {
            "path": spelled(file.path),
            "partitionValues": dict(file.partition_values),
            "size": file.size_bytes,
            "modificationTime": file.modified_ms,
            "dataChange": True,
            "stats": file.stats_json,
        }
    }


def change_action(file: StagedFile) -> Action:
    """Tell the feed of changes; the table itself is what it is without it."""
    return {
        "cdc": {
            "path": spelled(file.path),
            "partitionValues": dict(file.partition_values),
            "size": file.size_bytes,
            "dataChange": False,
        }
    }


def spelled(path: str) -> str:
    """The path of a file as the log spells it."""
    return quote(path, safe="/=~")


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
