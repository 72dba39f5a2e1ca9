"""Tables at a path (folder, S3, Azure, Google), committed by delta-rs.

Invariant: a commit goes through the snapshot taken by `open`. delta-rs checks app transactions against that snapshot
alone, so every look at newer entries of the log tells `CommitGuard` who has committed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from config.errors import ExtractError, RetryError, UnknownCommitError

from ..commit_rules import MAX_RACES, CommitGuard, conflict, overtaken, unknown
from ..log.actions import encode
from ..log.data_files import from_columns
from ..log.entries import TOKEN, CommitOutcome, LogEntry, classify, labelled, parse_entry
from ..log.model import Commit, CommitReceipt, LiveFile, StagedFile
from ..log.schema_check import absent_columns, check_shape
from ..maintenance import MaintenanceOptions, MaintenanceReport
from ..storage.errors import FOREIGN_ERRORS, explain, recognise, storage_errors
from ..storage.location import TableLocation
from ..storage.log_checkpoints import last_sequences
from ..storage.sync_log import sync_commits
from ..storage.table_files import TableFiles
from ..tables import TableSpec
from .log_entry import (
    correcting_actions,
    entry_path,
    is_checkpoint_due,
    refuse_append_only,
    refuse_entries,
    refuse_vectors,
)
from .optimize import HOOKS, optimize_delta
from .query import files_with_vector, read_rows, read_tags
from .schema import (
    add_later_columns,
    arrow_schema,
    create_table,
    schema_of,
    shape_of,
    shape_wanted,
)

# A handle grows slower with every commit it has seen.
_REOPEN_AFTER = 100
_ATTEMPTS = 3


class DeltaCommitTable:
    """A table at a path."""

    def __init__(self, place: TableLocation, spec: TableSpec, *, name: str | None = None) -> None:
        """`name`: what a catalog calls the table."""
        self._place = place
        self.spec = spec
        self._name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._place.uri!r})"

    @property
    def uri(self) -> str:
        return self._name or self._place.uri

    def exists(self) -> bool:
        with storage_errors(self._place.uri):
            return self._place.has_log()

    def open(self) -> OpenDeltaTable:
        if not self.exists():
            self._create()
        return OpenDeltaTable(self._place, self.spec, name=self._name)

    def optimize_table(self, options: MaintenanceOptions) -> MaintenanceReport:
        """Compact, cluster and vacuum, as configured. Raises `CommitConflictError`, `StorageError`."""
        with storage_errors(self._place.uri):
            table = DeltaTable(self._place.uri, storage_options=storage_options(self._place))
            before = table.version()
            try:
                return optimize_delta(table, self.spec, options)
            except CommitFailedError as error:
                raise conflict(self._place.uri, error) from None
            finally:
                sync_commits(self._place, before + 1, table.version())

    def _create(self) -> None:
        with storage_errors(self._place.uri):
            self._place.make_root()
            try:
                create_table(self._place.uri, self.spec, storage_options(self._place))
                sync_commits(self._place, 0, 0)
            except FOREIGN_ERRORS:
                # Another shard may have been quicker; then its table is as good as ours.
                if not self.exists():
                    raise


class OpenDeltaTable(TableFiles, DeltaCommitTable):
    """A snapshot of a table that exists."""

    def __init__(self, place: TableLocation, spec: TableSpec, *, name: str | None = None) -> None:
        DeltaCommitTable.__init__(self, place, spec, name=name)
        with storage_errors(place.uri):
            self._table = self._load()
            if add_later_columns(self._table, spec):
                self._table = self._load()
        found = shape_of(self._table)
        written = spec.without(absent_columns(spec, found))
        check_shape(place.uri, shape_wanted(written), found)
        TableFiles.__init__(self, place, spec, written=written, columns=arrow_schema(self._table))
        self._guard = CommitGuard(place.uri)
        self._commits = 0
        self._synced = self.version - 1  # who has made the newest version may have died before it was on the disk

    def last_sequence(self, app_id: str) -> int | None:
        with storage_errors(self._place.uri):  # read from the log only now; it may have been cleaned up
            sequence: int | None = self._snapshot().transaction_version(app_id)
        return sequence

    def last_sequences(self) -> Mapping[str, int]:
        return last_sequences(self._place, self.entries(), self.version)

    @property
    def version(self) -> int:
        version: int = self._snapshot().version()
        return version

    def entries(self) -> Iterator[LogEntry]:
        for version in range(self.version, -1, -1):
            with storage_errors(self._place.uri):
                entry = self._entry(version)
            if entry is None:
                return
            yield entry

    @property
    def properties(self) -> Mapping[str, str | None]:
        properties: Mapping[str, str | None] = self._snapshot().metadata().configuration
        return properties

    def commit(self, commit: Commit) -> CommitReceipt:
        labels = self._guard.admit(commit, last=self.last_sequence(commit.key.app_id), version=self.version)
        if commit.corrects:
            self.allow_removing()
            refuse_vectors(self._place.uri, commit.removes)
        elif commit.replace_where is not None:
            refuse_append_only(self._place.uri, self.properties, "replaced")
        version = self._land(commit, labels)
        self._commits += 1
        return commit.receipt(version)

    def read(
        self, columns: Sequence[str] | None = None, *, where: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        names = list(columns or self.spec.schema.names)
        absent = frozenset(self.spec.schema.names) - frozenset(self.columns)
        return read_rows(self._snapshot(), self._place.uri, self.spec, names, where=where or {}, absent=absent)

    def allow_removing(self) -> None:
        refuse_entries(self._place.uri, self.properties, {**os.environ, **self._place.options()})

    def live_files(self, low: int, high: int) -> Sequence[LiveFile]:
        with storage_errors(self._place.uri):
            table = self._snapshot()
            adds = pa.table(table.get_add_actions(flatten=True))
            return list(from_columns(adds, self.spec.grain, low, high, with_vector=files_with_vector(table)))

    def read_file(
        self, file: LiveFile, columns: Sequence[str], *, window: tuple[int, int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        refuse_vectors(self._place.uri, [file])
        return super().read_file(file, columns, window=window)

    def file_count(self, *, where: Mapping[str, str]) -> int:
        with storage_errors(self._place.uri):
            files = pa.table(self._snapshot().get_add_actions(flatten=True))
        for name, value in where.items():
            files = files.filter(pc.equal(files[f"partition.{name}"].cast(pa.string()), value))
        return int(files.num_rows)

    def scan_tags(self) -> pa.Table:
        return read_tags(self._snapshot(), self._place.uri, self.spec.grain)

    def _land(self, commit: Commit, labels: Mapping[str, str]) -> int:
        """Send the commit until the log says what became of it; return its version.

        delta-rs replaces whole partitions, or merges in the memory that it takes. A commit that removes single files
        is an entry of our own.
        """
        failures = 0
        for _ in range(MAX_RACES):
            base = self.version
            failure = self._put_entry(commit, labels, base) if commit.corrects else self._send(commit, labels)
            outcome = self._look(base, labels[TOKEN])
            version = self._guard.decide(commit, outcome)
            if version is not None:
                if commit.corrects:
                    self._checkpoint_if_due(version)
                with storage_errors(self._place.uri):
                    sync_commits(self._place, self._synced + 1, version, files=False)
                self._synced = version
                return version
            if failure is None:
                raise unknown(self._place.uri, commit.key, None)
            if self._is_overtaken(commit, outcome, failure, base):
                continue
            failures += 1
            if failures == _ATTEMPTS:
                raise unknown(self._place.uri, commit.key, failure)
        raise overtaken(self._place.uri)

    def _is_overtaken(self, commit: Commit, outcome: CommitOutcome, failure: BaseException, base: int) -> bool:
        """Whether another commit, which does not disturb ours, has taken the version; False if that cannot be found out.

        Raises what surely keeps the commit from landing.
        """
        moved = self.version > base
        if commit.corrects and (moved or isinstance(failure, FileExistsError)):
            return True
        known = recognise(failure, self._place.uri)
        if known is not None and not isinstance(known, RetryError):
            raise known
        lost = known is None and isinstance(failure, CommitFailedError)
        replaces = commit.replace_where is not None
        if lost and not replaces and outcome.removed and not outcome.reshaped:
            return True  # delta-rs takes us for a reader of the files that another commit has removed; we only add
        # A replace is right only for the snapshot it was made from: it is never sent on top of another one.
        if lost or (replaces and moved):
            raise conflict(self._place.uri, failure)
        return False

    def _put_entry(self, commit: Commit, labels: Mapping[str, str], base: int) -> OSError | None:
        actions = correcting_actions(commit, labels, read_version=base, now_ms=time.time_ns() // 1_000_000)
        try:
            self._place.create_small(entry_path(base + 1), encode(actions))
        except OSError as error:
            return error
        return None

    def _checkpoint_if_due(self, version: int) -> None:
        """delta-rs writes checkpoints after its own commits only. Without one, readers only take longer."""
        if is_checkpoint_due(version, self.properties):
            with contextlib.suppress(*FOREIGN_ERRORS):
                self._snapshot().create_checkpoint()

    def _send(self, commit: Commit, labels: Mapping[str, str]) -> BaseException | None:
        """Send once. An exception is an answer too: it is returned, and the log decides what it meant."""
        where = commit.replace_where
        try:
            self._snapshot().create_write_transaction(
                [_add_action(file) for file in commit.adds],
                mode="append" if where is None else "overwrite",
                schema=schema_of(self._written),
                partition_by=list(self.spec.partition_by),
                partition_filters=[(name, "=", value) for name, value in (where or {}).items()] or None,
                commit_properties=CommitProperties(
                    custom_metadata=labelled(labels),
                    # Without a time of its own an app transaction never expires.
                    app_transactions=[Transaction(commit.key.app_id, commit.key.sequence)],
                ),
                post_commithook_properties=HOOKS,
            )
        except FOREIGN_ERRORS as error:
            return error
        return None

    def _look(self, base: int, token: str) -> CommitOutcome:
        """Advance the snapshot, and classify the entries that it did not know."""
        try:
            table = self._snapshot()
            if self._commits % _REOPEN_AFTER == _REOPEN_AFTER - 1:
                table = self._load()
            else:
                table.update_incremental()
            # (The handle's own `history` counts from the newest version there is, not from the handle's.)
            newer = [self._entry(version) for version in range(table.version(), base, -1)]
            outcome = classify([entry for entry in newer if entry is not None], token)
        except (*FOREIGN_ERRORS, ExtractError) as error:
            known = error if isinstance(error, ExtractError) else explain(error, self._place.uri)
            raise UnknownCommitError(
                f"A commit was sent to {self._place.uri}, and its log cannot be read: {known.message}",
                hint="Run again: the next run looks into the log first, and continues from there.",
            ) from None
        self._table = table
        return outcome

    def _entry(self, version: int) -> LogEntry | None:
        """Read one version of the log; None where it has been cleaned up."""
        content = self._place.read_small(entry_path(version))
        return None if content is None else parse_entry(version, content)

    def _snapshot(self) -> DeltaTable:
        if storage_options(self._place) != self._opened_with:
            # A handle keeps the credentials it was opened with. New ones mean a new handle, of the same
            # version: it is our snapshot that tells us who has committed since.
            with storage_errors(self._place.uri):
                self._table = self._load(self._table.version())
        return self._table

    def _load(self, version: int | None = None) -> DeltaTable:
        self._opened_with = storage_options(self._place)
        return DeltaTable(self._place.uri, version=version, storage_options=self._opened_with)


def storage_options(place: TableLocation) -> dict[str, str] | None:
    return place.options() or None


def _add_action(file: StagedFile) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.size_bytes,
        partition_values=dict(file.partition_values),
        modification_time=file.modified_ms,
        data_change=True,
        stats=file.stats_json,
    )
