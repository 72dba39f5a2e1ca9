"""The values that a commit is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CommitKey:
    """Names one commit: `app_id` says whose (pipeline, dataset, shard), `sequence` which (1, 2, ...).

    A sequence below the last one is refused; the last one may be repeated by a commit that belongs to
    it (watermarks that move without data). Who is first is decided by the snapshot, not by the number.
    """

    app_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One Parquet file that lies under the table's root and is not part of the table yet."""

    path: str  # relative to the table root, forward slashes
    size_bytes: int
    rows: int
    partition_values: Mapping[str, str | None]
    stats_json: str
    modified_ms: int


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of a snapshot, and what its statistics say of it. Bounds may be loose, and never too narrow."""

    path: str  # as the log spells it
    size_bytes: int
    partition_values: Mapping[str, str | None]
    rows: int | None = None  # None: the statistics do not say
    low: int | None = None  # first and last time of the grain, both inclusive, in microseconds
    high: int | None = None
    low_owner: str | None = None
    high_owner: str | None = None
    deletion_vector: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """Proof that a commit is in the table's log."""

    key: CommitKey
    version: int
    rows: int
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LastCommit:
    """The newest commit under an `app_id`, read back from the log with its metadata."""

    key: CommitKey
    version: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Commit:
    """What one atomic commit does to a table, and what must still be true when it lands.

    It adds the rows of `adds`, and advances `key.app_id` to `key.sequence`. It lands only if no other writer has
    committed under `key.app_id` since the snapshot.

    `replace_where` (partition column to value; empty: the whole table) also removes the live files of these
    partitions. The commit lands only if no other commit has added or removed files there since the snapshot.

    `removes` also removes these live files of the snapshot; `adds` hold the rows of them that stay. The commit lands
    only if they are all still live. Not together with `replace_where`.

    `changes` are files of `OpenTable.stage_changes`. They tell every row that the commit adds, changes or deletes.

    `conflicts_with_prefix` is given with corrections, whose rows were computed from the snapshot. The commit lands
    only if no app_id with this prefix has corrected the table since.
    """

    key: CommitKey
    adds: Sequence[StagedFile] = ()
    replace_where: Mapping[str, str] | None = None
    removes: Sequence[LiveFile] = ()
    changes: Sequence[StagedFile] = ()
    conflicts_with_prefix: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def corrects(self) -> bool:
        """Whether its rows were computed from what the snapshot holds."""
        return bool(self.removes) or self.conflicts_with_prefix is not None

    def receipt(self, version: int) -> CommitReceipt:
        rows, size_bytes = sum(file.rows for file in self.adds), sum(file.size_bytes for file in self.adds)
        return CommitReceipt(self.key, version, rows, len(self.adds), size_bytes)
