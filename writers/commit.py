"""Ports of a destination: what every committer must do, whatever decides its commits. No I/O here.

All calls block (delta-rs releases the GIL); the engine runs them in worker threads, one at a time
per table. A new kind of destination (say Unity Catalog managed tables) is a new file that satisfies
`Lakehouse` and `CommitTable` and passes tests/contract.

The rule of exactness: a commit is numbered (`CommitKey`), and goes through a snapshot taken when the
table was opened. If anybody has committed under the same `app_id` since that snapshot, the commit
fails with `FencedError` and nothing lands. Commits of other `app_id`s never disturb.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import pyarrow as pa

from .outcome import LogEntry
from .tables import TableSpec

__all__ = [
    "ROW",
    "CommitKey",
    "CommitReceipt",
    "CommitTable",
    "Lakehouse",
    "LastCommit",
    "Lease",
    "LiveFile",
    "Stage",
    "StagedFile",
]

# A column that `read_file` can give beside those of the table: which row of the file it is, from 0.
ROW = "_row_of_file"


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
    low: int | None = None  # first and last timestamp, both inclusive, in microseconds
    high: int | None = None
    low_tag: str | None = None
    high_tag: str | None = None
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


class Stage(Protocol):
    """Writes record batches into Parquet files under the table; invisible until committed."""

    @property
    def rows(self) -> int: ...

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch of the table's schema. Raises `StorageError` (disk full, read-only)."""

    def flush(self) -> None:
        """Begin to write out what was given, without waiting for it; more may follow. Raises `StorageError`."""

    def close(self) -> tuple[StagedFile, ...]:
        """Finish the files. No file at all when nothing was written."""

    def abort(self) -> None:
        """Remove what was written; never raises for a file that is not there."""


class CommitTable(Protocol):
    """One table at a destination."""

    @property
    def spec(self) -> TableSpec: ...

    @property
    def uri(self) -> str: ...

    def exists(self) -> bool: ...

    def open(self) -> Self:
        """Create the table if it is not there, check it, and take a fresh snapshot.

        Raises `SchemaDriftError` naming the column or feature we cannot write, `StorageError`.
        """

    def last_sequence(self, app_id: str) -> int | None:
        """Highest sequence committed under `app_id` in the current snapshot; None for never."""

    def last_commit(self, app_id: str) -> LastCommit | None:
        """The commit behind `last_sequence`, with its metadata.

        Raises `LostStateError` if the log no longer holds it.
        """

    def last_sequences(self) -> Mapping[str, int]:
        """Read the last sequence of everybody who has committed; asking about one after the other costs much more."""

    @property
    def version(self) -> int:
        """Version of the current snapshot."""

    def entries(self) -> Iterator[LogEntry]:
        """Read the log from the snapshot's newest entry back, as far as it has not been cleaned up."""

    @property
    def properties(self) -> Mapping[str, str | None]:
        """Delta properties of the table as it is, whatever was wished of it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the table, those that others have added included."""

    def stage(self, *, whole: bool = False) -> Stage:
        """Begin new files. `whole`: with every column of the table, for rows that are carried over."""

    def stage_changes(self) -> Stage | None:
        """Begin files that tell the table's feed of changes what a commit does; None where it keeps none.

        They take batches of `changes.told`.
        """

    def discard(self, files: Sequence[StagedFile]) -> None:
        """Remove staged files that were never committed."""

    def has_file(self, file: StagedFile) -> bool:
        """Say whether a staged file is still there."""

    def commit(
        self,
        key: CommitKey,
        files: Sequence[StagedFile],
        *,
        metadata: Mapping[str, str] | None = None,
        replace_where: Mapping[str, str] | None = None,
        remove: Sequence[LiveFile] = (),
        changes: Sequence[StagedFile] = (),
        beside: str | None = None,
    ) -> CommitReceipt:
        """Add `files` in one atomic commit, and advance `app_id` to `key.sequence`.

        With `replace_where` (partition column to value; empty mapping: the whole table) the live
        files it matches are removed in the same commit. An outcome that is unknown is looked up in
        the log, by a token in the commit's metadata, before anything is sent again.

        `remove` names live files of the snapshot, which are removed in the same commit: `files` hold what
        is left of them. Not together with `replace_where`. `changes`, of `stage_changes`, then tell of every
        row that the commit adds, alters or takes out.

        `beside` is given with corrections, which were worked out from the snapshot: it is how the app_ids
        begin whose corrections may be of the same rows, so that none of them may have landed since.

        Raises `FencedError` (somebody committed under `app_id` since the snapshot),
        `CommitConflictError` (a replace lost against another writer, a file to be removed is gone
        already, or somebody of `beside` has corrected: `open` and rebuild),
        `StorageError`. Nothing has landed when it raises, except `UnknownCommitError`.
        """

    def read(
        self, columns: Sequence[str] | None = None, *, where: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream rows of the snapshot, at most the partitions of `where`, in no given order."""

    def allow_removing(self) -> None:
        """Raise `SchemaDriftError` or `ConfigurationError` where single files cannot be removed, and why."""

    def live_files(self, low: int, high: int) -> Sequence[LiveFile]:
        """Give the files of the snapshot that may hold events in `[low, high)`, microseconds since 1970."""

    def read_file(
        self, file: LiveFile, columns: Sequence[str], *, window: tuple[int, int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream rows of a file, as they lie in it; strings may come dictionary-encoded.

        `columns` may name `ROW`. With a `window`, parts of the file that hold no event in it may be left
        out. Rows that others have deleted do not come back.

        Raises `SchemaDriftError` for deletions that we cannot read, `StorageError`.
        """

    def file_count(self, *, where: Mapping[str, str]) -> int:
        """Count the live files of the snapshot in the partitions of `where`."""

    def scan_tags(self) -> pa.Table:
        """Of a table with tag_webid and timestamp: one row a tag (tag_webid, low, high, rows),
        the first and last timestamp and the count, computed in bounded memory.
        """


class Lease(Protocol):
    """Says who is at work on a pipeline and shard, so that a second run can refuse politely.

    A hint for people, not the guard: the guard is `CommitTable.commit`.
    """

    def acquire(self) -> None:
        """Take the lease, or raise `FencedError` naming the live holder. A holder that died is
        recognised within a few seconds by its silence; no clock of another machine is trusted.
        """

    def renew(self) -> None:
        """Say that we are alive; call every `renew_secs`."""

    def release(self) -> None:
        """Give it back, if it is still ours."""

    def holder(self) -> str | None:
        """Say who seems to hold it (run, host, since); None if nobody does. Does not wait, so a
        holder that has just died still counts.
        """

    @property
    def renew_secs(self) -> float: ...


class Lakehouse(Protocol):
    """Where tables live: a folder or bucket, or a catalog."""

    def table(self, spec: TableSpec) -> CommitTable: ...

    def lease(self, pipeline: str, shard: str, run_id: str) -> Lease: ...

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        """Shards ("0-of-1", ...) that hold, or ever held, a lease of this pipeline, and parts of them with a lease
        of their own ("backfill.0-of-1", ...).
        """
