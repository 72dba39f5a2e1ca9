"""What became of a commit, read from the log entries that are newer than our snapshot. Pure.

Imports nothing of ours. Invariant: only our own token proves that our commit landed. An exception
does not prove that it did not (the answer may have been lost, and the storage client then meets its
own first attempt as a stranger's), and a sequence number does not prove that it was our payload.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["APP_ID", "SEQUENCE", "TOKEN", "LogEntry", "Outcome", "judge", "labelled", "parse_entry"]

# Our entries in the commit's metadata, beside what delta-rs writes there itself.
_PREFIX = "osipi."
APP_ID = "app_id"
SEQUENCE = "sequence"
TOKEN = "token"  # noqa: S105  a name, no secret


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One version of a Delta log: its app transactions, and our own part of its metadata."""

    version: int
    sequences: Mapping[str, int]  # app_id -> sequence
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`version`: where our commit landed, if it did. `rivals`: app_id to metadata of its newest foreign commit."""

    version: int | None
    rivals: Mapping[str, Mapping[str, str]]


def labelled(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"{_PREFIX}{key}": value for key, value in metadata.items()}


def parse_entry(version: int, content: bytes) -> LogEntry:
    """Read a commit file of a Delta log: one action a line."""
    sequences: dict[str, int] = {}
    metadata: dict[str, str] = {}
    for line in content.splitlines():
        # Of the many lines only two kinds matter; the others (files, perhaps thousands) stay unread.
        if b'"txn"' not in line and b'"commitInfo"' not in line:
            continue
        action = json.loads(line)
        if "txn" in action:
            sequences[action["txn"]["appId"]] = int(action["txn"]["version"])
        info = action.get("commitInfo", {})
        metadata.update({k.removeprefix(_PREFIX): str(v) for k, v in info.items() if k.startswith(_PREFIX)})
    return LogEntry(version, sequences, metadata)


def judge(entries: Iterable[LogEntry], token: str) -> Outcome:
    """Judge by the entries that our snapshot did not know, newest first."""
    version: int | None = None
    rivals: dict[str, Mapping[str, str]] = {}
    for entry in entries:
        if entry.metadata.get(TOKEN) == token:
            version = entry.version
        else:
            for app_id in entry.sequences:
                rivals.setdefault(app_id, entry.metadata)
    return Outcome(version, rivals)
