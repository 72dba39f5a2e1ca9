"""A managed table: files at the storage, commits decided by the catalog.

A commit is a staged file that the catalog ratifies for one version and any writer then publishes.
Invariant: a commit is proposed only on top of a snapshot that we have read. A ratified commit is never undone: what
fails after it (publishing, reporting) is left to the next commit of any writer.

Data and watermarks are two tables, hence two commits (`writers.landing.landing` says how they stay together).
Should the catalog offer one transaction over several tables, `ratify` is where it would be asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pyarrow as pa

from config.errors import ExtractError

from ..commit_rules import MAX_RACES, CommitGuard, overtaken
from ..log.actions import (
    Action,
    add_action,
    change_action,
    commit_info,
    encode,
    next_timestamp,
    remove_action,
    transaction_action,
)
from ..log.data_files import files_in_range, to_add_action
from ..log.entries import LogEntry, classify, labelled, parse_entry, read_entry
from ..log.model import Commit, CommitReceipt, LiveFile
from ..storage.errors import storage_errors
from ..storage.parquet_read import read_files, scan_tags
from ..storage.table_files import TableFiles
from ..tables import TableSpec
from .compatibility import arrow_schema, refuse_foreign, refuse_removing, refuse_replaced, refuse_shape
from .creation import managed_place
from .credentials import VendedCredentials
from .delta_api import DeltaApi, LoadedTable, Proposal
from .log_history import entry_path, load_snapshot, read_entries, staged_path, write_checkpoint
from .names import TableName
from .ratify import publish, ratify

_CHECKPOINT_EVERY = 100


@dataclass(frozen=True, slots=True)
class ManagedTable:
    """A managed table that exists."""

    api: DeltaApi
    name: TableName
    spec: TableSpec
    options: Mapping[str, str]
    vended: VendedCredentials
    clock: Callable[[], float] = time.time
    on_step: Callable[[str], None] = lambda _step: None

    @property
    def uri(self) -> str:
        return str(self.name)

    def exists(self) -> bool:
        return True

    def open(self) -> OpenManagedTable:
        return OpenManagedTable(self)


class OpenManagedTable(TableFiles):
    """A snapshot of a managed table."""

    def __init__(self, table: ManagedTable) -> None:
        self._table = table
        self._api, self._name, self._on_step = table.api, table.name, table.on_step
        loaded = self._api.load(self._name)
        refuse_foreign(self._name, loaded)
        place = managed_place(loaded.location, table.options, table.vended)
        self._table_id = loaded.table_id
        self._snapshot = load_snapshot(place, loaded)
        written = refuse_shape(self._name, table.spec, self._snapshot)
        super().__init__(place, table.spec, written=written, columns=arrow_schema(self._snapshot.metadata))
        self._guard = CommitGuard(self.uri)

    def __repr__(self) -> str:
        return f"OpenManagedTable({self.uri!r}, version {self.version})"

    @property
    def uri(self) -> str:
        return self._table.uri

    def exists(self) -> bool:
        return True

    def open(self) -> OpenManagedTable:
        return OpenManagedTable(self._table)

    def last_sequence(self, app_id: str) -> int | None:
        return self._snapshot.last_sequence(app_id)

    def last_sequences(self) -> Mapping[str, int]:
        return {app_id: int(txn["version"]) for app_id, txn in self._snapshot.transactions.items()}

    @property
    def version(self) -> int:
        return self._snapshot.version

    def entries(self) -> Iterator[LogEntry]:
        table = self._api.load(self._name)
        for version in range(self._snapshot.version, -1, -1):
            with storage_errors(self._place.uri):
                content = self._place.read_small(entry_path(version, table))
            if content is None:
                return
            yield parse_entry(version, content)

    @property
    def properties(self) -> Mapping[str, str | None]:
        return self._snapshot.properties

    def commit(self, commit: Commit) -> CommitReceipt:
        labels = self._guard.admit(commit, last=self.last_sequence(commit.key.app_id), version=self.version)
        replaced = [to_add_action(file) for file in commit.removes]
        if commit.replace_where is not None:
            replaced = list(self._snapshot.files(commit.replace_where))
        if commit.replace_where is not None or commit.removes:
            self.allow_removing()
        for _ in range(MAX_RACES):
            actions = self._actions(commit, replaced, labels)
            proposal, content = self._stage_commit(actions)
            self._on_step("staged")
            ratified = ratify(
                self._api, self._name, self._place, table_id=self._table_id, proposal=proposal, content=content
            )
            if ratified is not None:
                self._on_step("ratified")
                self._snapshot.advance(proposal.version, actions)
                self._finish(ratified, proposal, content)
                self._report(commit, replaced)
                return commit.receipt(proposal.version)
            self._catch_up(commit)
        raise overtaken(self.uri)

    def read(
        self, columns: Sequence[str] | None = None, *, where: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        names = list(columns or self.spec.schema.names)
        schema = pa.schema([self.spec.schema.field(name).remove_metadata() for name in names])
        files = list(self._snapshot.files(where or {}))
        return pa.RecordBatchReader.from_batches(schema, read_files(self._place, files, schema))

    def allow_removing(self) -> None:
        refuse_removing(self._name, self._snapshot)

    def live_files(self, low: int, high: int) -> Sequence[LiveFile]:
        return list(files_in_range(self._snapshot.files({}), self.spec.grain, low, high))

    def file_count(self, *, where: Mapping[str, str]) -> int:
        return sum(1 for _ in self._snapshot.files(where))

    def scan_tags(self) -> pa.Table:
        grain = self.spec.grain
        return scan_tags(self.read([grain.owner, grain.time or ""]), grain)

    def _actions(self, commit: Commit, replaced: Sequence[Action], labels: Mapping[str, str]) -> list[Action]:
        """Return everything that the next version says."""
        now = next_timestamp(self._now_ms(), self._snapshot.timestamp)
        info = commit_info(
            now,
            operation="WRITE",
            parameters={"mode": "Overwrite" if replaced else "Append"},
            blind=not replaced and not commit.corrects,
            labels=labelled(labels),
        )
        removes = (remove_action(add, now) for add in replaced)
        adds, changes = map(add_action, commit.adds), map(change_action, commit.changes)
        return [info, transaction_action(commit.key, now), *removes, *adds, *changes]

    def _stage_commit(self, actions: Sequence[Action]) -> tuple[Proposal, bytes]:
        version, content = self.version + 1, encode(actions)
        file_name = f"{version:020}.{uuid4()}.json"
        with storage_errors(self._place.uri):
            self._place.write_small(staged_path(file_name), content)
        proposal = Proposal(
            version=version,
            timestamp=int(actions[0]["commitInfo"]["inCommitTimestamp"]),
            file_name=file_name,
            size_bytes=len(content),
            modified_ms=self._now_ms(),  # the specification: when the file was written
        )
        return proposal, content

    def _finish(self, ratified: LoadedTable, proposal: Proposal, content: bytes) -> None:
        """Publish. The commit stands if this fails: the next commit publishes both."""
        with contextlib.suppress(ExtractError):
            publish(
                *(self._api, self._name, self._place, ratified),
                known={proposal.file_name: content},
                on_step=self._on_step,
            )
            self._on_step("published")
            if proposal.version % _CHECKPOINT_EVERY == 0:
                write_checkpoint(self._place, self._snapshot, self._now_ms())

    def _report(self, commit: Commit, replaced: Sequence[Action]) -> None:
        receipt = commit.receipt(self.version)
        counts = {
            "num-files-added": receipt.files,
            "num-bytes-added": receipt.size_bytes,
            "num-rows-inserted": receipt.rows,
            "num-files-removed": len(replaced),
            "num-bytes-removed": sum(int(add["size"]) for add in replaced),
        }
        with contextlib.suppress(ExtractError):
            self._api.report_metrics(self._name, self._table_id, counts)

    def _catch_up(self, commit: Commit) -> None:
        """Read what others have committed, and check that the commit is still right on top of it."""
        table = self._api.load(self._name)
        refuse_replaced(self._name, self._table_id, table)
        refuse_foreign(self._name, table)
        for version, actions in read_entries(self._place, table, self.version + 1):
            self._snapshot.advance(version, actions)
            entry = read_entry(version, actions)
            self._guard.decide(commit, classify([entry], token=""))
            if entry.reshaped:
                refuse_shape(self._name, self.spec, self._snapshot)

    def _now_ms(self) -> int:
        return int(self._table.clock() * 1000)
