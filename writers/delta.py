"""Tables at a path (folder, S3, Azure, Google), committed by delta-rs.

Imports `config` and third-party only. Invariant: a commit goes through the snapshot taken by `open`.
delta-rs checks app transactions against that snapshot alone, so every look at newer entries of the log
notes who else committed under which `app_id`, and a later commit under it is refused.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from config.errors import ExtractError, RetryError, SchemaDriftError, UnknownCommitError

from .actions import Action, encode
from .changes import FOLDER, change_spec, keeps_feed
from .commit import CommitKey, CommitReceipt, LastCommit, LiveFile, StagedFile
from .delta_entry import correcting_actions, entry_path, is_checkpoint_due, refuse_entries, refuse_vectors
from .delta_log import last_sequences
from .delta_reading import files_with_vector, read_rows, read_tags
from .delta_shape import add_later_columns, arrow_schema, create_table, schema_of, shape_of, shape_wanted
from .delta_upkeep import HOOKS, look_after_delta
from .drift import absent_columns, check_shape
from .failures import FOREIGN_ERRORS, explain, recognise, storage_errors
from .foreign import find_commit
from .live import from_columns
from .maintenance import Upkeep, UpkeepReport
from .outcome import APP_ID, CORRECTS, SEEN, SEQUENCE, TOKEN, LogEntry, Outcome, judge, labelled, parse_entry
from .parquet import ParquetStage
from .reading import live_schema, read_live
from .refusals import conflict, fenced, unknown
from .storage import Place
from .tables import TableSpec

__all__ = ["DeltaCommitTable"]

# A handle grows slower with every commit it has seen.
_REOPEN_AFTER = 100
_ATTEMPTS = 3
# Each try that is lost is a commit that somebody else has won.
_RACES = 100


class DeltaCommitTable:
    """One Delta table; `open` before anything but `exists`."""

    def __init__(self, place: Place, spec: TableSpec) -> None:
        self._place = place
        self._spec = spec
        self._written = spec  # without the columns that the table is too old to have
        self._whole = spec  # and with those that others have added to it
        self._table: DeltaTable | None = None
        self._opened_with: dict[str, str] | None = None
        self._rivals: dict[str, Mapping[str, str]] = {}
        self._commits = 0

    def __repr__(self) -> str:
        version = "not open" if self._table is None else f"version {self._table.version()}"
        return f"DeltaCommitTable({self._place.uri!r}, {version})"

    @property
    def spec(self) -> TableSpec:
        return self._spec

    @property
    def uri(self) -> str:
        return self._place.uri

    def exists(self) -> bool:
        with storage_errors(self.uri):
            self._place.look_into("_delta_log")
            return bool(DeltaTable.is_deltatable(self.uri, storage_options=self._options()))

    def open(self) -> Self:
        if not self.exists():
            self._create()
        with storage_errors(self.uri):
            table = self._load()
            if add_later_columns(table, self._spec):
                table = self._load()
        found = shape_of(table)
        self._written = self._spec.without(absent_columns(self._spec, found))
        self._whole = self._written.widened(arrow_schema(table))
        check_shape(self.uri, shape_wanted(self._written), found)
        self._table, self._rivals, self._commits = table, {}, 0
        return self

    def last_sequence(self, app_id: str) -> int | None:
        with storage_errors(self.uri):  # read from the log when asked for, which may have been cleaned up
            sequence: int | None = self._snapshot().transaction_version(app_id)
        return sequence

    def last_commit(self, app_id: str) -> LastCommit | None:
        return find_commit(self, app_id)

    def last_sequences(self) -> Mapping[str, int]:
        return last_sequences(self._place, self.entries(), self.version)

    @property
    def version(self) -> int:
        version: int = self._snapshot().version()
        return version

    def entries(self) -> Iterator[LogEntry]:
        for version in range(self.version, -1, -1):
            with storage_errors(self.uri):
                entry = self._entry(version)
            if entry is None:
                return
            yield entry

    @property
    def properties(self) -> Mapping[str, str | None]:
        return self._configuration()

    @property
    def columns(self) -> tuple[str, ...]:
        self._snapshot()
        return tuple(self._whole.schema.names)

    def stage(self, *, whole: bool = False) -> ParquetStage:
        return ParquetStage(self._place, self._whole if whole else self._written)

    def stage_changes(self) -> ParquetStage | None:
        if not keeps_feed(self._configuration()):
            return None
        return ParquetStage(self._place, change_spec(self._whole), folder=FOLDER)

    def discard(self, files: Sequence[StagedFile]) -> None:
        for file in files:
            self._place.remove(file.path)

    def has_file(self, file: StagedFile) -> bool:
        with storage_errors(self.uri):
            return self._place.has(file.path)

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
        self._snapshot()
        if key.app_id in self._rivals:
            raise fenced(self.uri, key, self._rivals[key.app_id])
        last = self.last_sequence(key.app_id)
        if last is not None and key.sequence < last:
            raise fenced(self.uri, key, {})
        if replace_where is not None and self._configuration().get("delta.appendOnly") == "true":
            raise SchemaDriftError(
                f"The table at {self.uri} is append-only, and rows have to be replaced.",
                hint="Unset its property delta.appendOnly.",
            )
        token = uuid4().hex
        ours = {APP_ID: key.app_id, SEQUENCE: str(key.sequence), TOKEN: token, SEEN: str(self.version)}
        labels = {**(metadata or {}), **ours, **({} if beside is None else {CORRECTS: "true"})}
        if remove or beside is not None:
            version = self._land_correction(key, files, remove, changes, labels=labels, beside=beside)
        else:
            version = self._land(key, [_add_action(f) for f in files], labels, replace_where)
        self._commits += 1
        return CommitReceipt(
            key=key,
            version=version,
            rows=sum(f.rows for f in files),
            files=len(files),
            size_bytes=sum(f.size_bytes for f in files),
        )

    def read(
        self, columns: Sequence[str] | None = None, *, where: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        names = list(columns or self._spec.schema.names)
        absent = frozenset(self._spec.schema.names) - frozenset(self.columns)
        return read_rows(self._snapshot(), self.uri, self._spec, names, where=where or {}, absent=absent)

    def allow_removing(self) -> None:
        refuse_entries(self.uri, self._configuration(), {**os.environ, **(self._options() or {})})

    def live_files(self, low: int, high: int) -> Sequence[LiveFile]:
        with storage_errors(self.uri):
            table = self._snapshot()
            adds = pa.table(table.get_add_actions(flatten=True))
            return list(from_columns(adds, low, high, with_vector=files_with_vector(table)))

    def read_file(
        self, file: LiveFile, columns: Sequence[str], *, window: tuple[int, int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        refuse_vectors(self.uri, [file])
        return read_live(self._place, file, live_schema(self._whole, columns), window=window)

    def file_count(self, *, where: Mapping[str, str]) -> int:
        with storage_errors(self.uri):
            files = pa.table(self._snapshot().get_add_actions(flatten=True))
        for name, value in where.items():
            files = files.filter(pc.equal(files[f"partition.{name}"].cast(pa.string()), value))
        return int(files.num_rows)

    def scan_tags(self) -> pa.Table:
        return read_tags(self._snapshot(), self.uri)

    def look_after(self, wish: Upkeep) -> UpkeepReport:
        """Compact, cluster and vacuum, as wished; takes a fresh snapshot."""
        with storage_errors(self.uri):
            self._table = self._load()
            try:
                return look_after_delta(self._table, self._spec, wish)
            except CommitFailedError as error:
                raise conflict(self.uri, error) from None

    def _create(self) -> None:
        with storage_errors(self.uri):
            self._place.make_root()
            try:
                create_table(self.uri, self._spec, self._options())
            except FOREIGN_ERRORS:
                # Another shard may have been quicker; then its table is as good as ours.
                if not self.exists():
                    raise

    def _land(
        self, key: CommitKey, actions: list[AddAction], labels: dict[str, str], replace_where: Mapping[str, str] | None
    ) -> int:
        """Send the commit until the log says what became of it, and give its version."""
        failure: BaseException | None = None
        failures = 0
        for _ in range(_RACES):
            base = self._snapshot().version()
            failure = self._send(key, actions, labels, replace_where)
            outcome = self._look(base, labels[TOKEN])
            if outcome.version is not None:
                return outcome.version
            if key.app_id in outcome.rivals:
                raise fenced(self.uri, key, outcome.rivals[key.app_id])
            if failure is None:
                break
            known = recognise(failure, self.uri)
            if known is not None and not isinstance(known, RetryError):
                raise known
            lost = known is None and isinstance(failure, CommitFailedError)
            if lost and replace_where is None and outcome.removed and not outcome.reshaped:
                continue  # delta-rs takes us for a reader of what another has removed; we have only rows to add
            # A replace is right only for the snapshot it was made from: it is never sent over another one.
            if lost or (replace_where is not None and self._moved_past(base)):
                raise conflict(self.uri, failure)
            failures += 1
            if failures == _ATTEMPTS:
                break
        raise unknown(self.uri, key, failure)

    def _land_correction(
        self,
        key: CommitKey,
        files: Sequence[StagedFile],
        remove: Sequence[LiveFile],
        changes: Sequence[StagedFile],
        *,
        labels: Mapping[str, str],
        beside: str | None,
    ) -> int:
        """Put an entry of our own at the end of the log, until the log says what became of it."""
        self.allow_removing()
        refuse_vectors(self.uri, remove)
        gone, failures = {file.path for file in remove}, 0
        for _ in range(_RACES):
            base = self._snapshot().version()
            now_ms = time.time_ns() // 1_000_000
            actions = correcting_actions(key, files, remove, changes, labels, read_version=base, now_ms=now_ms)
            failure = self._put_entry(base, actions)
            outcome = self._look(base, labels[TOKEN])
            if outcome.version is not None:
                self._checkpoint_if_due(outcome.version)
                return outcome.version
            if key.app_id in outcome.rivals:
                raise fenced(self.uri, key, outcome.rivals[key.app_id])
            if outcome.reshaped or outcome.removed & gone or outcome.corrected(beside):
                raise conflict(self.uri)
            if isinstance(failure, FileExistsError) or self._moved_past(base):
                continue  # another's commit, which does not touch our files, has taken the version
            known = None if failure is None else recognise(failure, self.uri)
            if known is not None and not isinstance(known, RetryError):
                raise known
            failures += 1
            if failure is None or failures == _ATTEMPTS:
                raise unknown(self.uri, key, failure)
        raise conflict(self.uri)

    def _put_entry(self, base: int, actions: Sequence[Action]) -> OSError | None:
        try:
            self._place.create_small(entry_path(base + 1), encode(actions))
        except OSError as error:
            return error
        return None

    def _checkpoint_if_due(self, version: int) -> None:
        """delta-rs sees to checkpoints after its own commits alone. Without one readers only take longer."""
        if is_checkpoint_due(version, self._configuration()):
            with contextlib.suppress(*FOREIGN_ERRORS):
                self._snapshot().create_checkpoint()

    def _configuration(self) -> Mapping[str, str | None]:
        configuration: Mapping[str, str | None] = self._snapshot().metadata().configuration
        return configuration

    def _send(
        self, key: CommitKey, actions: list[AddAction], labels: dict[str, str], replace_where: Mapping[str, str] | None
    ) -> BaseException | None:
        """Send once. An exception is an answer too: it is returned, and the log decides what it meant."""
        try:
            self._snapshot().create_write_transaction(
                actions,
                mode="append" if replace_where is None else "overwrite",
                schema=schema_of(self._written),
                partition_by=list(self._spec.partition_by),
                partition_filters=[(name, "=", value) for name, value in (replace_where or {}).items()] or None,
                commit_properties=CommitProperties(
                    custom_metadata=labelled(labels),
                    # Without a time of its own an app transaction never expires.
                    app_transactions=[Transaction(key.app_id, key.sequence)],
                ),
                post_commithook_properties=HOOKS,
            )
        except FOREIGN_ERRORS as error:
            return error
        return None

    def _look(self, base: int, token: str) -> Outcome:
        """Advance the snapshot, and judge the entries that it did not know."""
        try:
            table = self._snapshot()
            if self._commits % _REOPEN_AFTER == _REOPEN_AFTER - 1:
                table = self._load()
            else:
                table.update_incremental()
            # (The handle's own `history` counts from the newest version there is, not from the handle's.)
            newer = [self._entry(version) for version in range(table.version(), base, -1)]
            outcome = judge([entry for entry in newer if entry is not None], token)
        except (*FOREIGN_ERRORS, ExtractError) as error:
            known = error if isinstance(error, ExtractError) else explain(error, self.uri)
            raise UnknownCommitError(
                f"A commit was sent to {self.uri}, and its log cannot be read: {known.message}",
                hint="Run again: the next run looks into the log first, and continues from there.",
            ) from None
        self._table = table
        self._rivals.update(outcome.rivals)
        return outcome

    def _entry(self, version: int) -> LogEntry | None:
        """Read one version of the log; None where it has been cleaned up."""
        content = self._place.read_small(entry_path(version))
        return None if content is None else parse_entry(version, content)

    def _moved_past(self, base: int) -> bool:
        return bool(self._snapshot().version() > base)

    def _snapshot(self) -> DeltaTable:
        if self._table is None:
            return self.open()._snapshot()  # noqa: SLF001
        if self._options() != self._opened_with:
            # A handle keeps the credentials it was opened with. New ones mean a new handle, of the same
            # version: it is our snapshot that tells us who has committed since.
            with storage_errors(self.uri):
                self._table = self._load(self._table.version())
        return self._table

    def _load(self, version: int | None = None) -> DeltaTable:
        self._opened_with = self._options()
        return DeltaTable(self.uri, version=version, storage_options=self._opened_with)

    def _options(self) -> dict[str, str] | None:
        return self._place.options() or None


def _add_action(file: StagedFile) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.size_bytes,
        partition_values=dict(file.partition_values),
        modification_time=file.modified_ms,
        data_change=True,
        stats=file.stats_json,
    )
