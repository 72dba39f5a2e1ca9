"""A lakehouse in memory, with the same promises as the real ones. Ships, so that users can test with it.

Imports nothing of the engine. Invariant: it passes tests/contract, like every destination. Handles
taken from one `MemoryLakehouse` share its tables, as runs share a bucket.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, FencedError

from .commit import ROW, CommitKey, CommitReceipt, LastCommit, LiveFile, StagedFile
from .live import may_hold
from .outcome import APP_ID, CORRECTS, SEEN, SEQUENCE, TOKEN, LogEntry
from .parquet import split_by_partition
from .tables import TableSpec

__all__ = ["MemoryCommitTable", "MemoryLakehouse"]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One commit in the log."""

    key: CommitKey | None
    metadata: Mapping[str, str]
    added: tuple[StagedFile, ...] = ()
    removed: tuple[str, ...] = ()  # paths
    at: int = 0  # microseconds since 1970


@dataclass(slots=True)
class _Store:
    """What the handles of one table share: the log, and the files whether committed or not."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    log: list[_Entry] = field(default_factory=list)
    contents: dict[str, pa.RecordBatch] = field(default_factory=dict)


class MemoryLakehouse:
    """Keeps tables and leases for as long as it lives."""

    def __init__(self) -> None:
        self._stores: dict[str, _Store] = {}
        self._leases: dict[tuple[str, str], str] = {}
        self._seen: dict[str, list[str]] = {}

    def table(self, spec: TableSpec) -> MemoryCommitTable:
        return MemoryCommitTable(spec, self._stores.setdefault(spec.name, _Store()))

    def lease(self, pipeline: str, shard: str, run_id: str) -> MemoryLease:
        return MemoryLease(self._leases, self._seen.setdefault(pipeline, []), pipeline, shard, run_id)

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        return tuple(sorted(self._seen.get(pipeline, ())))

    def drop(self, spec: TableSpec) -> None:
        """Drop a table with its files, as a user would."""
        self._stores.pop(spec.name, None)


class MemoryLease:
    """Held until released: nobody dies here."""

    def __init__(
        self, held: dict[tuple[str, str], str], seen: list[str], pipeline: str, shard: str, run_id: str
    ) -> None:
        self._held = held
        self._seen = seen
        self._key = (pipeline, shard)
        self._run_id = run_id

    @property
    def renew_secs(self) -> float:
        return 1.0

    def acquire(self) -> None:
        if self._key[1] not in self._seen:
            self._seen.append(self._key[1])
        if self._held.setdefault(self._key, self._run_id) != self._run_id:
            self._refuse()

    def renew(self) -> None:
        if self._held.get(self._key) != self._run_id:
            self._refuse()

    def release(self) -> None:
        if self._held.get(self._key) == self._run_id:
            del self._held[self._key]

    def holder(self) -> str | None:
        return None if self._key not in self._held else f"run {self._held[self._key]}"

    def _refuse(self) -> None:
        raise FencedError(
            f"Another run is at work on pipeline {self._key[0]}, shard {self._key[1]}: {self.holder()}.",
            hint="Wait until it has finished, or stop it.",
        )


class MemoryStage:
    """Cuts batches by partition and keeps them."""

    def __init__(self, store: _Store, spec: TableSpec) -> None:
        self._store = store
        self._spec = spec
        self._files: list[StagedFile] = []
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    def write(self, batch: pa.RecordBatch) -> None:
        plain = batch.select(self._spec.schema.names).cast(self._spec.schema)
        for value, rows in split_by_partition(plain, self._spec.partition_by) if batch.num_rows else ():
            path = f"part-{uuid4()}"
            self._store.contents[path] = rows
            values = dict.fromkeys(self._spec.partition_by, value)
            self._files.append(StagedFile(path, rows.nbytes, rows.num_rows, values, "{}", 0))
        self._rows += batch.num_rows

    def flush(self) -> None:
        pass

    def close(self) -> tuple[StagedFile, ...]:
        return tuple(self._files)

    def abort(self) -> None:
        for file in self._files:
            self._store.contents.pop(file.path, None)
        self._files.clear()


class MemoryCommitTable:
    """A handle on a table, with a snapshot of its own."""

    def __init__(self, spec: TableSpec, store: _Store) -> None:
        self._spec = spec
        self._store = store
        self._snapshot = -1  # the newest entry of the log that we have seen
        self._rivals: dict[str, Mapping[str, str]] = {}

    @property
    def spec(self) -> TableSpec:
        return self._spec

    @property
    def uri(self) -> str:
        return f"memory:{self._spec.name}"

    def exists(self) -> bool:
        return bool(self._store.log)

    def open(self) -> Self:
        with self._store.lock:
            if not self._store.log:
                self._store.log.append(_Entry(None, {}))
            self._snapshot, self._rivals = len(self._store.log) - 1, {}
        return self

    def last_sequence(self, app_id: str) -> int | None:
        last = self.last_commit(app_id)
        return None if last is None else last.key.sequence

    def last_sequences(self) -> Mapping[str, int]:
        keys = [entry.key for entry in self._store.log[: self._snapshot + 1] if entry.key is not None]
        return {key.app_id: key.sequence for key in keys}

    def last_commit(self, app_id: str) -> LastCommit | None:
        for version in range(self._snapshot, -1, -1):
            entry = self._store.log[version]
            if entry.key is not None and entry.key.app_id == app_id:
                return LastCommit(entry.key, version, entry.metadata)
        return None

    @property
    def version(self) -> int:
        return self._snapshot

    def entries(self) -> Iterator[LogEntry]:
        for version in range(self._snapshot, 0, -1):
            entry = self._store.log[version]
            assert entry.key is not None  # noqa: S101  only the first, which creates the table, has none
            yield LogEntry(
                version,
                {entry.key.app_id: entry.key.sequence},
                entry.metadata,
                frozenset(entry.removed),
                at=entry.at,
                rows=sum(file.rows for file in entry.added),
            )

    @property
    def properties(self) -> Mapping[str, str | None]:
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._spec.schema.names)

    def stage(self, *, whole: bool = False) -> MemoryStage:  # noqa: ARG002  nobody else adds columns here
        return MemoryStage(self._store, self._spec)

    def stage_changes(self) -> None:
        """No feed of changes is kept here."""

    def discard(self, files: Sequence[StagedFile]) -> None:
        for file in files:
            self._store.contents.pop(file.path, None)

    def has_file(self, file: StagedFile) -> bool:
        return file.path in self._store.contents

    def commit(
        self,
        key: CommitKey,
        files: Sequence[StagedFile],
        *,
        metadata: Mapping[str, str] | None = None,
        replace_where: Mapping[str, str] | None = None,
        remove: Sequence[LiveFile] = (),
        changes: Sequence[StagedFile] = (),  # noqa: ARG002  nobody listens
        beside: str | None = None,
    ) -> CommitReceipt:
        with self._store.lock:
            newer = self._store.log[self._snapshot + 1 :]
            self._rivals.update({e.key.app_id: e.metadata for e in newer if e.key is not None})
            last = self.last_sequence(key.app_id)
            if key.app_id in self._rivals or (last is not None and key.sequence < last):
                winner = self._rivals.get(key.app_id, {}).get("run_id", "unknown")
                raise FencedError(f"Run {winner} has committed to {self.uri} as {key.app_id} since this run started.")
            replaced = () if replace_where is None else self._live(replace_where)
            removed = (*(file.path for file in replaced), *(file.path for file in remove))
            rewritten = set(removed) & {path for entry in newer for path in entry.removed}
            if rewritten or any(_corrects(entry, beside) for entry in newer):
                raise CommitConflictError(f"Another writer has changed {self.uri} in the meantime.")
            labels = {**(metadata or {}), APP_ID: key.app_id, SEQUENCE: str(key.sequence), TOKEN: uuid4().hex}
            labels[SEEN] = str(self._snapshot)
            if beside is not None:
                labels[CORRECTS] = "true"
            self._store.log.append(_Entry(key, labels, tuple(files), removed, time.time_ns() // 1000))
            self._snapshot = len(self._store.log) - 1
        return CommitReceipt(
            key, self._snapshot, sum(f.rows for f in files), len(files), sum(f.size_bytes for f in files)
        )

    def read(
        self, columns: Sequence[str] | None = None, *, where: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        names = list(columns or self._spec.schema.names)
        schema = pa.schema([self._spec.schema.field(name).remove_metadata() for name in names])
        batches = [self._store.contents[f.path].select(names).cast(schema) for f in self._live(where or {})]
        return pa.RecordBatchReader.from_batches(schema, batches)

    def allow_removing(self) -> None:
        """Files can always be removed here."""

    def live_files(self, low: int, high: int) -> Sequence[LiveFile]:
        files = (_live_file(file, self._store.contents[file.path]) for file in self._live({}))
        return [file for file in files if may_hold(file, low, high)]

    def read_file(
        self,
        file: LiveFile,
        columns: Sequence[str],
        *,
        window: tuple[int, int] | None = None,  # noqa: ARG002  it is all one part
    ) -> Iterator[pa.RecordBatch]:
        rows = self._store.contents[file.path].append_column(ROW, pa.array(range(file.rows or 0), pa.int64()))
        yield rows.select(list(columns))

    def file_count(self, *, where: Mapping[str, str]) -> int:
        return len(self._live(where))

    def scan_tags(self) -> pa.Table:
        rows = self.read(["tag_webid", "timestamp"]).read_all()
        found = rows.group_by("tag_webid").aggregate([("timestamp", "min"), ("timestamp", "max"), ([], "count_all")])
        return pa.table(
            {
                "tag_webid": found["tag_webid"],
                "low": found["timestamp_min"],
                "high": found["timestamp_max"],
                "rows": pc.cast(found["count_all"], pa.int64()),
            }
        )

    def _live(self, where: Mapping[str, str]) -> tuple[StagedFile, ...]:
        live: dict[str, StagedFile] = {}
        for entry in self._store.log[: self._snapshot + 1]:
            for path in entry.removed:
                live.pop(path, None)
            live.update({file.path: file for file in entry.added})
        return tuple(f for f in live.values() if where.items() <= f.partition_values.items())


def _corrects(entry: _Entry, beside: str | None) -> bool:
    ours = beside is not None and entry.key is not None and entry.key.app_id.startswith(beside)
    return ours and CORRECTS in entry.metadata


def _live_file(file: StagedFile, rows: pa.RecordBatch) -> LiveFile:
    tags = pc.min_max(rows["tag_webid"]) if "tag_webid" in rows.schema.names else {}
    times = pc.min_max(rows["timestamp"].cast(pa.int64())) if "timestamp" in rows.schema.names else {}
    return LiveFile(
        path=file.path,
        size_bytes=file.size_bytes,
        partition_values=file.partition_values,
        rows=file.rows,
        low=times["min"].as_py() if times else None,
        high=times["max"].as_py() if times else None,
        low_tag=tags["min"].as_py() if tags else None,
        high_tag=tags["max"].as_py() if tags else None,
    )
