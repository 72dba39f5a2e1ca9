"""The ports of a destination: what it must do, for every way of committing.

All calls block (delta-rs releases the GIL); the engine runs them in worker threads, one at a time
per table. A new kind of destination is a new file that satisfies `Lakehouse`, `CommitTable` and `OpenTable`, and
passes tests/contract. `commit_rules` decides what became of a commit, for all of them.

Invariant: a commit is numbered (`CommitKey`), and goes through the snapshot of an `OpenTable`. If another writer has
committed under the same `app_id` since that snapshot, the commit fails with `FencedError` and nothing lands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import pyarrow as pa

from config.errors import ExtractError, UnknownCommitError

from .log.entries import LogEntry
from .log.model import Commit, CommitKey, CommitReceipt, LastCommit, LiveFile, StagedFile
from .tables import TableSpec

__all__ = [
    "ROW",
    "AccessChecked",
    "Commit",
    "CommitKey",
    "CommitReceipt",
    "CommitTable",
    "Lakehouse",
    "LastCommit",
    "Lease",
    "LiveFile",
    "OpenTable",
    "Stage",
    "StagedFile",
    "commit_or_discard",
    "stage_rows",
]

# A column that `read_file` can give in addition to those of the table: the row number in the file, from 0.
ROW = "_row_of_file"


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
    """One table at a destination. Making one touches nothing."""

    @property
    def spec(self) -> TableSpec: ...

    @property
    def uri(self) -> str: ...

    def exists(self) -> bool: ...

    def open(self) -> OpenTable:
        """Create the table if it is not there, check it, and take a fresh snapshot.

        Raises `SchemaDriftError` naming the column or feature we cannot write, `StorageError`.
        """


class OpenTable(CommitTable, Protocol):
    """A snapshot of a table, and the way to commit on top of it. Each commit of its own advances it."""

    @property
    def version(self) -> int:
        """Version of the snapshot."""

    @property
    def properties(self) -> Mapping[str, str | None]:
        """Delta properties of the table as it is, which may differ from those configured."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the table, those that others have added included."""

    def last_sequence(self, app_id: str) -> int | None:
        """Highest sequence committed under `app_id` in the snapshot; None for never."""

    def last_sequences(self) -> Mapping[str, int]:
        """Read the last sequence of every app_id; asking for one after the other costs much more."""

    def entries(self) -> Iterator[LogEntry]:
        """Read the log from the snapshot's newest entry back, as far as it has not been cleaned up."""

    def stage(self, *, whole: bool = False) -> Stage:
        """Begin new files. `whole`: with every column of the table, for rows that are carried over."""

    def stage_changes(self) -> Stage | None:
        """Begin change files for the table's change data feed; None where it keeps none.

        They take batches of `change_feed.change_rows`.
        """

    def discard(self, files: Sequence[StagedFile]) -> None:
        """Remove staged files that were never committed."""

    def has_file(self, file: StagedFile) -> bool:
        """Say whether a staged file is still there."""

    def commit(self, commit: Commit) -> CommitReceipt:
        """Land the commit. A receipt says that it has landed; an error says what happened instead.

        Raises `FencedError` (another writer has committed under this `app_id` since the snapshot),
        `CommitConflictError` (something else that the commit requires is no longer true: `open` again and compute
        it anew), `StorageError`. Nothing has landed when it raises, except `UnknownCommitError`: the log could
        not say. A lost answer is first looked up in the log, by a token in the commit's metadata.
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
        """Give one row a tag (tag_webid, low, high, rows) of a table with tag_webid and timestamp.

        `low` and `high` are the first and last timestamp. Computed in bounded memory.
        """


class Lease(Protocol):
    """Says which run works on a pipeline and shard, so that a second run can refuse to start.

    It is a hint for people. What keeps a second run out is `OpenTable.commit`.
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
        """Say who seems to hold it (run, host, since); None if no run does. Does not wait, so a
        holder that has just died still counts.
        """

    @property
    def renew_secs(self) -> float: ...


class StateFile(Protocol):
    """A small state of a pipeline, which outlives its runs. Several runs may change it: each version is written once."""

    def read(self) -> tuple[int, bytes]:
        """Give the newest version and its content; 0 and nothing where there is none. Raises what the storage raises."""

    def write(self, version: int, content: bytes) -> bool:
        """Write the version after the one that was read. False where another run has written it: read again.

        Raises `StorageError`, also where there is no checkpoint table yet to keep it beside.
        """


@runtime_checkable
class AccessChecked(Protocol):
    """A lakehouse that can be asked whether a run may use it."""

    def check_access(self, specs: Sequence[TableSpec]) -> str:
        """Say in a sentence what was found; change no table.

        Raises `ConfigurationError` (no such catalog, no storage for managed tables), `AccessDeniedError`.
        """


class Lakehouse(Protocol):
    """Where tables live: a folder or bucket, or a catalog."""

    def table(self, spec: TableSpec) -> CommitTable: ...

    def lease(self, pipeline: str, shard: str, run_id: str) -> Lease: ...

    def state_file(self, name: str) -> StateFile: ...

    def prepare(self, specs: Sequence[TableSpec]) -> None:
        """Before several shards begin: create the tables, or wait until another run has created them. Does nothing
        where the storage sees to it that a table is created once.

        Raises `UnavailableError` where no run creates them.
        """

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        """Shards ("0-of-1", ...) that hold, or ever held, a lease of this pipeline, and parts of them with a lease
        of their own ("backfill.0-of-1", ...).
        """


def stage_rows(table: OpenTable, batches: Iterable[pa.RecordBatch]) -> tuple[StagedFile, ...]:
    """Write rows into files; none stays where that fails."""
    stage = table.stage()
    try:
        for batch in batches:
            stage.write(batch)
        return stage.close()
    except BaseException:
        stage.abort()
        raise


def commit_or_discard(table: OpenTable, commit: Commit, staged: Sequence[StagedFile]) -> CommitReceipt:
    """Commit; remove what was staged for it, if nothing has landed for sure."""
    try:
        return table.commit(commit)
    except UnknownCommitError:
        raise
    except ExtractError:
        table.discard(staged)
        raise
