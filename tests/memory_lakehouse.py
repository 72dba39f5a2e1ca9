"""A lakehouse in memory, with the same promises as the real ones.

The tables of one `MemoryLakehouse` share what is stored, as runs share a bucket.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import FencedError
from writers.commit_rules import CommitGuard
from writers.log.data_files import may_hold
from writers.log.entries import TOKEN, LogEntry, classify
from writers.log.model import Commit, CommitReceipt, LiveFile, StagedFile
from writers.ports import ROW
from writers.storage.parquet_read import scan_tags
from writers.storage.parquet_stage import split_by_partition
from writers.tables import Grain, TableSpec


@dataclass(slots=True)
class _Store:
    """What the handles of one table share: the log, and the files whether committed or not."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    log: list[LogEntry] = field(default_factory=list)
    added: dict[int, tuple[StagedFile, ...]] = field(default_factory=dict)  # by version
    contents: dict[str, pa.RecordBatch] = field(default_factory=dict)


class MemoryLakehouse:
    """Keeps tables and leases for as long as it lives."""

    def __init__(self) -> None:
        self._stores: dict[str, _Store] = {}
        self._leases: dict[tuple[str, str], str] = {}
        self._seen: dict[str, list[str]] = {}
        self._states: dict[str, MemoryState] = {}

    def table(self, spec: TableSpec) -> MemoryCommitTable:
        return MemoryCommitTable(spec, self._stores.setdefault(spec.name, _Store()))

    def lease(self, pipeline: str, shard: str, run_id: str) -> MemoryLease:
        return MemoryLease(self._leases, self._seen.setdefault(pipeline, []), pipeline, shard, run_id)

    def prepare(self, specs: Sequence[TableSpec]) -> None:
        """Nothing to do: a table is created when it is first opened."""

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        return tuple(sorted(self._seen.get(pipeline, ())))

    def state_file(self, name: str) -> MemoryState:
        return self._states.setdefault(name, MemoryState())

    def drop(self, spec: TableSpec) -> None:
        """Drop a table with its files, as a user would."""
        self._stores.pop(spec.name, None)


class MemoryState:
    """A list of versions."""

    def __init__(self) -> None:
        self._versions: list[bytes] = [b""]
        self._lock = threading.Lock()

    def read(self) -> tuple[int, bytes]:
        return len(self._versions) - 1, self._versions[-1]

    def write(self, version: int, content: bytes) -> bool:
        with self._lock:
            if version != len(self._versions):
                return False
            self._versions.append(content)
            return True


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
    """A table by name."""

    def __init__(self, spec: TableSpec, store: _Store) -> None:
        self._spec = spec
        self._store = store

    @property
    def spec(self) -> TableSpec:
        return self._spec

    @property
    def uri(self) -> str:
        return f"memory:{self._spec.name}"

    def exists(self) -> bool:
        return bool(self._store.log)

    def open(self) -> OpenMemoryTable:
        return OpenMemoryTable(self._spec, self._store)


class OpenMemoryTable(MemoryCommitTable):
    """A snapshot: the log up to one version."""

    def __init__(self, spec: TableSpec, store: _Store) -> None:
        super().__init__(spec, store)
        self._guard = CommitGuard(self.uri)
        with store.lock:
            if not store.log:
                store.log.append(LogEntry(0, {}, {}))
            self._version = len(store.log) - 1

    @property
    def version(self) -> int:
        return self._version

    def last_sequence(self, app_id: str) -> int | None:
        return self.last_sequences().get(app_id)

    def last_sequences(self) -> Mapping[str, int]:
        return {app_id: at for entry in self._store.log[: self._version + 1] for app_id, at in entry.sequences.items()}

    def entries(self) -> Iterator[LogEntry]:
        return reversed(self._store.log[: self._version + 1])

    @property
    def properties(self) -> Mapping[str, str | None]:
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._spec.schema.names)

    def stage(self, *, whole: bool = False) -> MemoryStage:
        return MemoryStage(self._store, self._spec)

    def stage_changes(self) -> None:
        """No feed of changes is kept here."""

    def discard(self, files: Sequence[StagedFile]) -> None:
        for file in files:
            self._store.contents.pop(file.path, None)

    def has_file(self, file: StagedFile) -> bool:
        return file.path in self._store.contents

    def commit(self, commit: Commit) -> CommitReceipt:
        with self._store.lock:
            labels = self._guard.admit(commit, last=self.last_sequence(commit.key.app_id), version=self._version)
            self._guard.decide(commit, classify(reversed(self._store.log[self._version + 1 :]), labels[TOKEN]))
            removed: list[StagedFile | LiveFile] = [*commit.removes]
            if commit.replace_where is not None:
                removed += self._live(commit.replace_where)
            entry = LogEntry(
                len(self._store.log),
                {commit.key.app_id: commit.key.sequence},
                labels,
                frozenset(file.path for file in removed),
                at=time.time_ns() // 1000,
                rows=sum(file.rows for file in commit.adds),
                touched_partitions=tuple(file.partition_values for file in (*removed, *commit.adds)),
            )
            self._store.log.append(entry)
            self._store.added[entry.version] = tuple(commit.adds)
            self._version = entry.version
        return commit.receipt(self._version)

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
        grain = self._spec.grain
        files = (_live_file(file, self._store.contents[file.path], grain) for file in self._live({}))
        return [file for file in files if may_hold(file, grain, low, high)]

    def read_file(
        self,
        file: LiveFile,
        columns: Sequence[str],
        *,
        window: tuple[int, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        rows = self._store.contents[file.path].append_column(ROW, pa.array(range(file.rows or 0), pa.int64()))
        yield rows.select(list(columns))

    def file_count(self, *, where: Mapping[str, str]) -> int:
        return len(self._live(where))

    def scan_tags(self) -> pa.Table:
        return scan_tags(self.read([self._spec.grain.owner, self._spec.grain.time or ""]), self._spec.grain)

    def _live(self, where: Mapping[str, str]) -> tuple[StagedFile, ...]:
        live: dict[str, StagedFile] = {}
        for entry in self._store.log[: self._version + 1]:
            for path in entry.removed:
                live.pop(path, None)
            live.update({file.path: file for file in self._store.added.get(entry.version, ())})
        return tuple(f for f in live.values() if where.items() <= f.partition_values.items())


def _live_file(file: StagedFile, rows: pa.RecordBatch, grain: Grain) -> LiveFile:
    owners = pc.min_max(rows[grain.owner]) if grain.owner else {}
    times = pc.min_max(rows[grain.time].cast(pa.int64())) if grain.time else {}
    return LiveFile(
        path=file.path,
        size_bytes=file.size_bytes,
        partition_values=file.partition_values,
        rows=file.rows,
        low=times["min"].as_py() if times else None,
        high=times["max"].as_py() if times else None,
        low_owner=owners["min"].as_py() if owners else None,
        high_owner=owners["max"].as_py() if owners else None,
    )
