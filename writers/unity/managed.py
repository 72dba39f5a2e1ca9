"""A managed table: files at the storage, commits decided by the catalog.

A commit is a staged file that the catalog ratifies for one version and any writer then publishes.
Invariant: nothing is proposed but on top of a snapshot that we have read, and a ratified commit is never
undone: what fails after it (publishing, reporting) is left to the next commit of anybody.

Data and watermarks are two tables, hence two commits (`writers.landing` says how they stay together).
Should the catalog offer one transaction over several tables, `ratify` is where it would be asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Self
from uuid import uuid4

import pyarrow as pa

from config.errors import CommitConflictError, ExtractError

from ..actions import Action, add_action, change_action, commit_info, encode, remove_action, transaction_action
from ..changes import FOLDER, change_spec, keeps_feed
from ..commit import CommitKey, CommitReceipt, LastCommit, LiveFile, StagedFile
from ..failures import storage_errors
from ..foreign import find_commit
from ..live import as_add, holding
from ..outcome import APP_ID, CORRECTS, SEEN, SEQUENCE, TOKEN, LogEntry, judge, labelled, parse_entry
from ..parquet import ParquetStage
from ..reading import live_schema, read_files, read_live, scan_tags
from ..refusals import conflict, fenced
from ..storage import Place
from ..tables import TableSpec
from .actions import next_timestamp
from .creation import managed_place
from .credentials import Vended
from .delta_api import DeltaApi, LoadedTable, Proposal
from .history import entry_path, load_snapshot, read_entries, staged_path, write_checkpoint
from .names import TableName
from .publish import publish
from .ratify import ratify
from .refuse import arrow_schema, refuse_foreign, refuse_removing, refuse_replaced, refuse_shape
from .snapshot import Snapshot

__all__ = ["ManagedTable"]

# Each try that is lost is a commit that somebody else has won.
_ATTEMPTS = 100
_CHECKPOINT_EVERY = 100


class ManagedTable:
    """One table; `open` before anything else. It exists already."""

    def __init__(
        self,
        api: DeltaApi,
        name: TableName,
        spec: TableSpec,
        options: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._api = api
        self._name = name
        self._spec = spec
        self._written = spec  # without the columns that the table is too old to have
        self._whole = spec  # and with those that others have added to it
        self._options = options
        self._clock = clock
        self._on_step = on_step
        self._vended = Vended(lambda: api.credentials(name), clock=clock)
        self._place: Place | None = None
        self._table_id = ""
        self._snapshot = Snapshot()
        self._rivals: dict[str, Mapping[str, str]] = {}

    def __repr__(self) -> str:
        return f"ManagedTable({str(self._name)!r}, version {self._snapshot.version})"

    @property
    def spec(self) -> TableSpec:
        return self._spec

    @property
    def uri(self) -> str:
        return str(self._name)

    @property
    def place(self) -> Place:
        if self._place is None:
            self.open()
        assert self._place is not None  # noqa: S101  `open` has set it
        return self._place

    def exists(self) -> bool:
        return True

    def open(self) -> Self:
        table = self._api.load(self._name)
        refuse_foreign(self._name, table)
        self._place = managed_place(table.location, self._options, self._vended)
        snapshot = load_snapshot(self._place, table)
        self._written = refuse_shape(self._name, self._spec, snapshot)
        self._whole = self._written.widened(arrow_schema(snapshot.metadata))
        self._snapshot, self._table_id, self._rivals = snapshot, table.table_id, {}
        return self

    def last_sequence(self, app_id: str) -> int | None:
        return self._snapshot.last_sequence(app_id)

    def last_commit(self, app_id: str) -> LastCommit | None:
        return find_commit(self, app_id)

    def last_sequences(self) -> Mapping[str, int]:
        return {app_id: int(txn["version"]) for app_id, txn in self._snapshot.transactions.items()}

    @property
    def version(self) -> int:
        return self._snapshot.version

    def entries(self) -> Iterator[LogEntry]:
        table = self._api.load(self._name)
        for version in range(self._snapshot.version, -1, -1):
            with storage_errors(self.place.uri):
                content = self.place.read_small(entry_path(version, table))
            if content is None:
                return
            yield parse_entry(version, content)

    @property
    def properties(self) -> Mapping[str, str | None]:
        return self._snapshot.properties

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._whole.schema.names)

    def stage(self, *, whole: bool = False) -> ParquetStage:
        return ParquetStage(self.place, self._whole if whole else self._written)

    def stage_changes(self) -> ParquetStage | None:
        if not keeps_feed(self._snapshot.properties):
            return None
        return ParquetStage(self.place, change_spec(self._whole), folder=FOLDER)

    def discard(self, files: Sequence[StagedFile]) -> None:
        for file in files:
            self.place.remove(file.path)

    def has_file(self, file: StagedFile) -> bool:
        with storage_errors(self.place.uri):
            return self.place.has(file.path)

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
        self._fence(key)
        if replace_where is not None or remove:
            self.allow_removing()
        replaced = [as_add(file) for file in remove]
        if replace_where is not None:
            replaced = list(self._snapshot.files(replace_where))
        labels = {**(metadata or {}), APP_ID: key.app_id, SEQUENCE: str(key.sequence), TOKEN: uuid4().hex}
        labels[SEEN] = str(self.version)
        if beside is not None:
            labels[CORRECTS] = "true"
        for _ in range(_ATTEMPTS):
            actions = self._actions(key, files, replaced, changes, labels)
            proposal, content = self._stage_commit(actions)
            self._on_step("staged")
            ratified = ratify(
                self._api, self._name, self.place, table_id=self._table_id, proposal=proposal, content=content
            )
            if ratified is not None:
                self._on_step("ratified")
                self._snapshot.advance(proposal.version, actions)
                self._finish(ratified, proposal, content, files, replaced)
                return _receipt(key, proposal.version, files)
            self._catch_up(replace_where, frozenset(file.path for file in remove), beside)
            self._fence(key)
        raise CommitConflictError(
            f"Other writers of {self._name} were quicker {_ATTEMPTS} times in a row.",
            hint="Nothing of this commit was written; the next run continues from the last one.",
        )

    def read(
        self, columns: Sequence[str] | None = None, *, where: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        names = list(columns or self._spec.schema.names)
        schema = pa.schema([self._spec.schema.field(name).remove_metadata() for name in names])
        files = list(self._snapshot.files(where or {}))
        return pa.RecordBatchReader.from_batches(schema, read_files(self.place, files, schema))

    def allow_removing(self) -> None:
        refuse_removing(self._name, self._snapshot)

    def live_files(self, low: int, high: int) -> Sequence[LiveFile]:
        return list(holding(self._snapshot.files({}), low, high))

    def read_file(
        self, file: LiveFile, columns: Sequence[str], *, window: tuple[int, int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        return read_live(self.place, file, live_schema(self._whole, columns), window=window)

    def file_count(self, *, where: Mapping[str, str]) -> int:
        return sum(1 for _ in self._snapshot.files(where))

    def scan_tags(self) -> pa.Table:
        return scan_tags(self.read(["tag_webid", "timestamp"]))

    def _actions(
        self,
        key: CommitKey,
        files: Sequence[StagedFile],
        replaced: Sequence[Action],
        changes: Sequence[StagedFile],
        labels: Mapping[str, str],
    ) -> list[Action]:
        """Everything the next version shall say."""
        now = next_timestamp(self._now_ms(), self._snapshot.timestamp)
        info = commit_info(
            now,
            operation="WRITE",
            parameters={"mode": "Overwrite" if replaced else "Append"},
            blind=not replaced and CORRECTS not in labels,
            labels=labelled(labels),
        )
        removes = (remove_action(add, now) for add in replaced)
        return [info, transaction_action(key, now), *removes, *map(add_action, files), *map(change_action, changes)]

    def _stage_commit(self, actions: Sequence[Action]) -> tuple[Proposal, bytes]:
        version, content = self._snapshot.version + 1, encode(actions)
        proposal = Proposal(
            version=version,
            timestamp=int(actions[0]["commitInfo"]["inCommitTimestamp"]),
            file_name=f"{version:020}.{uuid4()}.json",
            size_bytes=len(content),
            modified_ms=self._now_ms(),
        )
        with storage_errors(self.place.uri):
            self.place.write_small(staged_path(proposal.file_name), content)
        return proposal, content

    def _finish(
        self,
        ratified: LoadedTable,
        proposal: Proposal,
        content: bytes,
        files: Sequence[StagedFile],
        replaced: Sequence[Action],
    ) -> None:
        """Publish and report. The commit stands, whatever happens here: the next one makes up for it."""
        with contextlib.suppress(ExtractError):
            publish(
                *(self._api, self._name, self.place, ratified),
                known={proposal.file_name: content},
                on_step=self._on_step,
            )
            self._on_step("published")
            if proposal.version % _CHECKPOINT_EVERY == 0:
                write_checkpoint(self.place, self._snapshot, self._now_ms())
        counts = {
            "num-files-added": len(files),
            "num-bytes-added": sum(f.size_bytes for f in files),
            "num-rows-inserted": sum(f.rows for f in files),
            "num-files-removed": len(replaced),
            "num-bytes-removed": sum(int(add["size"]) for add in replaced),
        }
        with contextlib.suppress(ExtractError):
            self._api.report_metrics(self._name, self._table_id, counts)

    def _catch_up(self, replace_where: Mapping[str, str] | None, gone: Collection[str], beside: str | None) -> None:
        """Read what others have committed, and look whether our commit is still right on top of it."""
        table = self._api.load(self._name)
        refuse_replaced(self._name, self._table_id, table)
        refuse_foreign(self._name, table)
        for version, actions in read_entries(self.place, table, self._snapshot.version + 1):
            entry = parse_entry(version, encode(a for a in actions if "txn" in a or "commitInfo" in a))
            self._rivals.update(dict.fromkeys(entry.sequences, entry.metadata))
            self._snapshot.advance(version, actions)
            if any("protocol" in action or "metaData" in action for action in actions):
                refuse_shape(self._name, self._spec, self._snapshot)
            corrected = judge([entry], "").corrected(beside)
            if corrected or any(_disturbs(action, replace_where, gone) for action in actions):
                raise conflict(self.uri)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _fence(self, key: CommitKey) -> None:
        last = self.last_sequence(key.app_id)
        if key.app_id not in self._rivals and (last is None or key.sequence >= last):
            return
        raise fenced(self.uri, key, self._rivals.get(key.app_id, {}))


def _disturbs(action: Action, where: Mapping[str, str] | None, gone: Collection[str]) -> bool:
    """Whether an action of another commit takes from under us what ours replaces: a file that we remove, or
    the partitions of `where`, where neither may an addition happen; for a correction also what the table is.
    """
    if gone:
        return "metaData" in action or "protocol" in action or action.get("remove", {}).get("path") in gone
    body = action.get("add") or action.get("remove")
    if where is None or body is None:
        return False
    values = body.get("partitionValues")
    return values is None or where.items() <= values.items()


def _receipt(key: CommitKey, version: int, files: Sequence[StagedFile]) -> CommitReceipt:
    return CommitReceipt(key, version, sum(f.rows for f in files), len(files), sum(f.size_bytes for f in files))
