"""What became of a commit, read from the log entries that are newer than our snapshot. Pure.

Imports the reading of lines. Invariant: only our own token proves that our commit landed. An exception
does not prove that it did not (the answer may have been lost, and the storage client then meets its
own first attempt as a stranger's), and a sequence number does not prove that it was our payload.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .log_lines import read_action

__all__ = [
    "APP_ID",
    "CORRECTS",
    "SEEN",
    "SEQUENCE",
    "TOKEN",
    "LogEntry",
    "Outcome",
    "judge",
    "labelled",
    "parse_entry",
]

# Values of the partition columns; None where the log does not say.
Partition: TypeAlias = Mapping[str, Any] | None

_READ = (b'"txn"', b'"commitInfo"', b'"remove"', b'"metaData"', b'"protocol"')
# The count in the statistics of a file, which stand in the entry as JSON inside JSON; text in them is escaped twice.
_ROWS = re.compile(rb'numRecords\\":\s*(\d+)')

# Our entries in the commit's metadata, beside what delta-rs writes there itself.
_PREFIX = "osipi."
APP_ID = "app_id"
SEQUENCE = "sequence"
TOKEN = "token"  # noqa: S105  a name, no secret
# Of a commit whose rows were worked out from what the table held. One that only inserts looks like any addition.
CORRECTS = "corrects"
# The version up to which the writer knew the log when it committed.
SEEN = "seen"
# Operations after which a table is what it was once, or another one.
_REPLACED = ("RESTORE", "REPLACE", "CLONE")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One version of a Delta log: its app transactions, and our own part of its metadata.

    `at` is what the committing machine's clock said, in microseconds since 1970; `rows` are those of the files added.
    """

    version: int
    sequences: Mapping[str, int]  # app_id -> sequence
    metadata: Mapping[str, str]
    removed: frozenset[str] = frozenset()  # paths of files, as the log spells them
    reshaped: bool = False  # whether it says anew what the table is: schema, properties, protocol
    operation: str = ""
    lost: tuple[Partition, ...] = ()  # where rows have gone, which is more than files put together
    at: int = 0
    rows: int = 0

    @property
    def is_foreign(self) -> bool:
        """Whether it is no commit of ours, of whatever pipeline."""
        return TOKEN not in self.metadata

    @property
    def seen(self) -> int:
        """Up to where its writer knew the log; where it does not say, up to itself."""
        told = self.metadata.get(SEEN, "")
        return int(told) if told.isascii() and told.isdigit() and len(told) < 20 else self.version - 1

    @property
    def replaces(self) -> bool:
        """Whether somebody has put another table, or an older state, in the place of the table."""
        return self.is_foreign and any(word in self.operation.upper() for word in _REPLACED)

    def takes_from(self, where: Mapping[str, str]) -> bool:
        """Whether somebody has taken rows out of this partition, or changed them there."""
        return self.is_foreign and any(values is None or where.items() <= values.items() for values in self.lost)

    @property
    def correctors(self) -> frozenset[str]:
        """Whose commit it is, if it corrects."""
        return frozenset(self.sequences) if CORRECTS in self.metadata else frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """`version`: where our commit landed, if it did. `rivals`: app_id to metadata of its newest foreign commit.
    `removed`, `reshaped`: what foreign commits have done to the table; `correctors`: the app_ids of those that correct.
    """

    version: int | None
    rivals: Mapping[str, Mapping[str, str]]
    removed: frozenset[str] = frozenset()
    reshaped: bool = False
    correctors: frozenset[str] = frozenset()

    def corrected(self, beside: str | None) -> bool:
        """Whether one whose app_id begins so has corrected."""
        return beside is not None and any(app_id.startswith(beside) for app_id in self.correctors)


def labelled(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"{_PREFIX}{key}": value for key, value in metadata.items()}


def parse_entry(version: int, content: bytes) -> LogEntry:
    """Read a commit file of a Delta log: one action a line."""
    sequences: dict[str, int] = {}
    metadata: dict[str, str] = {}
    removed: list[str] = []
    reshaped, operation = False, ""
    lost: list[Partition] = []
    at = rows = 0
    for line in content.splitlines():
        # Of the many lines few kinds matter; of the others (new files, perhaps thousands) their rows are counted.
        if not any(kind in line for kind in _READ):
            found = _ROWS.search(line)
            rows += int(found[1]) if found else 0
            continue
        action = read_action(line, f"version {version}")
        if "remove" in action:
            removed.append(action["remove"]["path"])
            if action["remove"].get("dataChange", True):
                lost.append(action["remove"].get("partitionValues"))
        reshaped = reshaped or "metaData" in action or "protocol" in action
        if "txn" in action:
            sequences[action["txn"]["appId"]] = int(action["txn"]["version"])
        info = action.get("commitInfo", {})
        operation = info.get("operation") or operation
        at = int(info.get("timestamp") or info.get("inCommitTimestamp") or 0) * 1000 or at
        metadata.update({k.removeprefix(_PREFIX): str(v) for k, v in info.items() if k.startswith(_PREFIX)})
    return LogEntry(version, sequences, metadata, frozenset(removed), reshaped, operation, tuple(lost), at, rows)


def judge(entries: Iterable[LogEntry], token: str) -> Outcome:
    """Judge by the entries that our snapshot did not know, newest first."""
    version: int | None = None
    rivals: dict[str, Mapping[str, str]] = {}
    removed: frozenset[str] = frozenset()
    correctors: frozenset[str] = frozenset()
    reshaped = False
    for entry in entries:
        if entry.metadata.get(TOKEN) == token:
            version = entry.version
            continue
        removed |= entry.removed
        reshaped = reshaped or entry.reshaped
        correctors |= entry.correctors
        for app_id in entry.sequences:
            rivals.setdefault(app_id, entry.metadata)
    return Outcome(version, rivals, removed, reshaped, correctors)
