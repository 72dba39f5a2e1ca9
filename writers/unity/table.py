"""A table of the catalog, whatever its kind: looked up, or created, when it is opened.

Invariant: a table that is there is used as the kind it is; the configured kind is for those we create.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import pyarrow as pa

from config.errors import ConfigurationError, LostStateError, SchemaDriftError

from ..commit import CommitKey, CommitReceipt, CommitTable, LastCommit, LiveFile, Stage, StagedFile
from ..delta import DeltaCommitTable
from ..outcome import LogEntry
from ..storage import Place
from ..tables import TableSpec
from .client import CatalogClient, TableEntry
from .creation import create_external, create_managed
from .credentials import Vended
from .delta_api import DeltaApi
from .managed import ManagedTable
from .names import TableName

__all__ = ["Catalog", "CatalogTable"]

_SCHEMA_COMMENT = "Data of an AVEVA PI System"


@dataclass(frozen=True, slots=True)
class Catalog:
    """What tables need to know of their catalog."""

    client: CatalogClient
    delta: DeltaApi
    kind: str = "managed"  # of tables that we create
    location: str | None = None  # of external tables that we create
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    on_step: Callable[[str], None] = lambda _step: None
    clock: Callable[[], float] = time.time  # seconds since 1970


class CatalogTable:
    """A `CommitTable` by name; `open` before anything but `exists`."""

    def __init__(self, catalog: Catalog, name: TableName, spec: TableSpec) -> None:
        self._catalog = catalog
        self._name = name
        self._spec = spec
        self._inner: CommitTable | None = None

    def __repr__(self) -> str:
        return f"CatalogTable({str(self._name)!r})"

    @property
    def spec(self) -> TableSpec:
        return self._spec

    @property
    def uri(self) -> str:
        return str(self._name)

    def exists(self) -> bool:
        return self._catalog.client.find_table(self._name) is not None

    def open(self) -> Self:
        if self._inner is None:
            self._inner = self._found(self._catalog.client.find_table(self._name) or self._created())
        self._inner.open()
        return self

    def place(self) -> Place:
        """Where its files lie, without reading the log. Creates the table if it is not there."""
        entry = self._catalog.client.find_table(self._name) or self._created()
        return self._place_of(entry)

    def last_sequence(self, app_id: str) -> int | None:
        return self._opened().last_sequence(app_id)

    def last_commit(self, app_id: str) -> LastCommit | None:
        return self._opened().last_commit(app_id)

    def last_sequences(self) -> Mapping[str, int]:
        return self._opened().last_sequences()

    @property
    def version(self) -> int:
        return self._opened().version

    def entries(self) -> Iterator[LogEntry]:
        return self._opened().entries()

    @property
    def properties(self) -> Mapping[str, str | None]:
        return self._opened().properties

    @property
    def columns(self) -> tuple[str, ...]:
        return self._opened().columns

    def stage(self, *, whole: bool = False) -> Stage:
        return self._opened().stage(whole=whole)

    def stage_changes(self) -> Stage | None:
        return self._opened().stage_changes()

    def discard(self, files: Sequence[StagedFile]) -> None:
        self._opened().discard(files)

    def has_file(self, file: StagedFile) -> bool:
        return self._opened().has_file(file)

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
        return self._opened().commit(
            *(key, files),
            metadata=metadata,
            replace_where=replace_where,
            remove=remove,
            changes=changes,
            beside=beside,
        )

    def read(
        self, columns: Sequence[str] | None = None, *, where: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        return self._opened().read(columns, where=where)

    def allow_removing(self) -> None:
        self._opened().allow_removing()

    def live_files(self, low: int, high: int) -> Sequence[LiveFile]:
        return self._opened().live_files(low, high)

    def read_file(
        self, file: LiveFile, columns: Sequence[str], *, window: tuple[int, int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        return self._opened().read_file(file, columns, window=window)

    def file_count(self, *, where: Mapping[str, str]) -> int:
        return self._opened().file_count(where=where)

    def scan_tags(self) -> pa.Table:
        return self._opened().scan_tags()

    def _opened(self) -> CommitTable:
        if self._inner is None:
            self.open()
        assert self._inner is not None  # noqa: S101  `open` has set it
        return self._inner

    def _found(self, entry: TableEntry) -> CommitTable:
        catalog = self._catalog
        if entry.kind == "MANAGED" and entry.file_format == "DELTA":
            return ManagedTable(
                *(catalog.delta, self._name, self._spec, catalog.storage_options),
                clock=catalog.clock,
                on_step=catalog.on_step,
            )
        if entry.kind == "EXTERNAL" and entry.file_format == "DELTA":
            return DeltaCommitTable(self._place_of(entry), self._spec)
        what = f"a {entry.kind.lower().replace('_', ' ')}" if entry.kind not in _TABLES else entry.file_format
        raise SchemaDriftError(
            f"{self._name} is not a Delta table, but {what}.",
            hint="Configure another table name, or drop what has this one.",
        )

    def _created(self) -> TableEntry:
        catalog = self._catalog
        catalog.client.ensure_schema(self._name.parent, _SCHEMA_COMMENT)
        if catalog.kind == "external":
            create_external(catalog.client, self._name, self._spec, self._new_location(), catalog.storage_options)
        else:
            now_ms = int(catalog.clock() * 1000)
            create_managed(catalog.delta, self._name, self._spec, catalog.storage_options, now_ms=now_ms)
        entry = catalog.client.find_table(self._name)
        if entry is None:
            raise LostStateError(f"The table {self._name} was created, and has disappeared at once.")
        return entry

    def _new_location(self) -> str:
        if self._catalog.location is None:
            raise ConfigurationError(
                f"$.unity_catalog.location: not set; the external table {self._name} has to lie somewhere",
                hint="Set it to a path inside an external location, or use table_type: managed.",
            )
        return "/".join((self._catalog.location.rstrip("/"), self._name.schema, self._name.table))

    def _place_of(self, entry: TableEntry) -> Place:
        catalog = self._catalog
        if entry.kind == "MANAGED":
            vended = Vended(lambda: catalog.delta.credentials(self._name), clock=catalog.clock)
        else:
            vended = Vended(lambda: catalog.client.table_credentials(entry), clock=catalog.clock)
        place = Place.parse(entry.location, catalog.storage_options)
        return Place(place.uri, place.storage_options, None if place.local else vended.options)


_TABLES = frozenset({"MANAGED", "EXTERNAL"})
