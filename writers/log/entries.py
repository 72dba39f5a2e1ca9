"""What became of a commit, read from the log entries that are newer than our snapshot.

Invariant: only our own token proves that our commit landed. An exception does not prove that it did not (the answer
may have been lost, and the storage client then takes its own first attempt for another writer's), and a sequence
number does not prove that it was our payload.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .actions import Action
from .lines import read_action
from .model import Commit

# Values of the partition columns; None where the log does not say.
Partition: TypeAlias = Mapping[str, Any] | None

_READ = (b'"txn"', b'"commitInfo"', b'"remove"', b'"metaData"', b'"protocol"')
# The count in the statistics of a file, which stand in the entry as JSON inside JSON; text in them is escaped twice.
_ROWS = re.compile(rb'numRecords\\":\s*(\d+)')

# Our entries in the commit's metadata, in addition to those of delta-rs.
_PREFIX = "osipi."
APP_ID = "app_id"
SEQUENCE = "sequence"
TOKEN = "token"  # noqa: S105  a name, no secret
# Marks a commit whose rows were computed from the table. One that only inserts looks like any append.
CORRECTS = "corrects"
# The version up to which the writer knew the log when it committed.
READ_VERSION = "seen"
# Operations that replace the whole table.
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
    # Where rows were removed; files that were only compacted do not count.
    removed_partitions: tuple[Partition, ...] = ()
    at: int = 0
    rows: int = 0
    # Of every file added or removed; `parse_entry` leaves out those added.
    touched_partitions: tuple[Partition, ...] = ()

    @property
    def is_foreign(self) -> bool:
        """Whether no pipeline of this product made the commit."""
        return TOKEN not in self.metadata

    @property
    def seen(self) -> int:
        """The version up to which its writer knew the log; the one before it where it does not say."""
        version = self.metadata.get(READ_VERSION, "")
        return int(version) if version.isascii() and version.isdigit() and len(version) < 20 else self.version - 1

    @property
    def replaces(self) -> bool:
        """Whether another writer has replaced the table by another one, or by an older state."""
        return self.is_foreign and any(word in self.operation.upper() for word in _REPLACED)

    def takes_from(self, where: Mapping[str, str]) -> bool:
        """Whether another writer has deleted or changed rows in this partition."""
        return self.is_foreign and any(
            values is None or where.items() <= values.items() for values in self.removed_partitions
        )

    @property
    def correctors(self) -> frozenset[str]:
        """The app_ids of the commit, if it corrects."""
        return frozenset(self.sequences) if CORRECTS in self.metadata else frozenset()


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """`version`: where our commit landed, if it did. `rivals`: app_id to metadata of its newest foreign commit.
    `removed`, `reshaped`, `touched_partitions`: what foreign commits have done to the table; `correctors`: the app_ids
    of those that correct.
    """

    version: int | None
    rivals: Mapping[str, Mapping[str, str]]
    removed: frozenset[str] = frozenset()
    reshaped: bool = False
    correctors: frozenset[str] = frozenset()
    touched_partitions: tuple[Partition, ...] = ()

    def conflicts_with(self, commit: Commit) -> bool:
        """Whether the other commits have made untrue what `commit` requires, apart from its app_id."""
        if commit.corrects:
            prefix, removes = commit.conflicts_with_prefix, {file.path for file in commit.removes}
            corrected = prefix is not None and any(app_id.startswith(prefix) for app_id in self.correctors)
            return self.reshaped or corrected or not removes.isdisjoint(self.removed)
        where = commit.replace_where
        return where is not None and any(
            values is None or where.items() <= values.items() for values in self.touched_partitions
        )


def labelled(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"{_PREFIX}{key}": value for key, value in metadata.items()}


def parse_entry(version: int, content: bytes) -> LogEntry:
    """Read a commit file of a Delta log: one action a line."""
    actions: list[Action] = []
    rows = 0
    for line in content.splitlines():
        # Few kinds of lines matter. Of the others (new files, perhaps thousands) only the rows are counted.
        if any(kind in line for kind in _READ):
            actions.append(read_action(line, f"version {version}"))
        else:
            found = _ROWS.search(line)
            rows += int(found[1]) if found else 0
    return read_entry(version, actions, rows)


def read_entry(version: int, actions: Iterable[Action], rows: int = 0) -> LogEntry:
    """Read the actions of one commit. `rows`: those of the files added, as far as they are known."""
    sequences: dict[str, int] = {}
    metadata: dict[str, str] = {}
    removed: list[str] = []
    lost: list[Partition] = []
    touched: list[Partition] = []
    reshaped, operation, at = False, "", 0
    for action in actions:
        if "remove" in action:
            removed.append(action["remove"]["path"])
            touched.append(action["remove"].get("partitionValues"))
            if action["remove"].get("dataChange", True):
                lost.append(touched[-1])
        if "add" in action:
            touched.append(action["add"]["partitionValues"])
        reshaped = reshaped or "metaData" in action or "protocol" in action
        if "txn" in action:
            sequences[action["txn"]["appId"]] = int(action["txn"]["version"])
        info = action.get("commitInfo", {})
        operation = info.get("operation") or operation
        at = int(info.get("timestamp") or info.get("inCommitTimestamp") or 0) * 1000 or at
        metadata.update({k.removeprefix(_PREFIX): str(v) for k, v in info.items() if k.startswith(_PREFIX)})
    return LogEntry(
        *(version, sequences, metadata, frozenset(removed), reshaped, operation),
        removed_partitions=tuple(lost),
        at=at,
        rows=rows,
        touched_partitions=tuple(touched),
    )


def classify(entries: Iterable[LogEntry], token: str) -> CommitOutcome:
    """Summarize the entries that our snapshot did not know, newest first."""
    version: int | None = None
    rivals: dict[str, Mapping[str, str]] = {}
    others: list[LogEntry] = []
    for entry in entries:
        if entry.metadata.get(TOKEN) == token:
            version = entry.version
            continue
        others.append(entry)
        for app_id in entry.sequences:
            rivals.setdefault(app_id, entry.metadata)
    return CommitOutcome(
        version,
        rivals,
        removed=frozenset(path for entry in others for path in entry.removed),
        reshaped=any(entry.reshaped for entry in others),
        correctors=frozenset(app_id for entry in others for app_id in entry.correctors),
        touched_partitions=tuple(values for entry in others for values in entry.touched_partitions),
    )
