"""A table of the catalog, external or managed. It is looked up, or created, when it is opened.

Invariant: an existing table is used as the kind it is; the configured kind is for tables that we create.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from config.errors import AccessDeniedError, ConfigurationError, SchemaDriftError, UnavailableError

from ..delta.table import DeltaCommitTable
from ..maintenance import LEFT_TO_CATALOG, NOT_COMPACTED, MaintenanceOptions, MaintenanceReport
from ..ports import OpenTable
from ..storage.location import TableLocation
from ..tables import TableSpec
from .answers import remedy
from .client import CatalogClient, TableEntry, grants_to_write
from .creation import create_external, create_managed
from .credentials import VendedCredentials
from .delta_api import DeltaApi
from .managed import ManagedTable
from .names import TableName

_SCHEMA_COMMENT = "Data of an AVEVA PI System"
# How long a run that may not create tables waits for the one that does.
_WAIT_SECS = 120
_POLL_SECS = 0.5


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
    # Whether this run creates tables that are not there. Of several shards one alone does: the open-source server does
    # not keep names unique, and two creations at the same time would break the table for good.
    creates: bool = True
    sleep: Callable[[float], None] = time.sleep


class CatalogTable:
    """A table by name."""

    def __init__(self, catalog: Catalog, name: TableName, spec: TableSpec) -> None:
        self._catalog = catalog
        self.name = name
        self.spec = spec
        self._found: ManagedTable | DeltaCommitTable | None = None

    def __repr__(self) -> str:
        return f"CatalogTable({str(self.name)!r})"

    @property
    def uri(self) -> str:
        return str(self.name)

    def exists(self) -> bool:
        return self._catalog.client.find_table(self.name) is not None

    def open(self) -> OpenTable:
        return self._table().open()

    def optimize_table(self, options: MaintenanceOptions) -> MaintenanceReport:
        """Optimize an external table. Raises what `DeltaCommitTable.optimize_table` does."""
        table = self._table()
        if isinstance(table, ManagedTable):
            skipped = LEFT_TO_CATALOG if self._catalog.client.databricks else NOT_COMPACTED
            return MaintenanceReport(self.spec.name, skipped=skipped)
        return table.optimize_table(options)

    def place(self) -> TableLocation:
        """Return the location of its files, without reading the log. Creates the table if it does not exist."""
        return self._place_of(self._entry())

    def check_writable(self) -> bool:
        """Whether the table exists. Raises `AccessDeniedError` where its files may not be read and written."""
        entry = self._catalog.client.find_table(self.name)
        if entry is None:
            return False
        if entry.kind == "MANAGED":
            self._catalog.delta.credentials(self.name)
        else:
            self._catalog.client.table_credentials(entry)
        return True

    def _entry(self) -> TableEntry:
        """Look the table up, create it, or wait until another run has done so."""
        found = self._catalog.client.find_table(self.name)
        if found is not None:
            return found
        return self._created() if self._catalog.creates else self._awaited()

    def _table(self) -> ManagedTable | DeltaCommitTable:
        """Look the table up, or create it; the answer is remembered."""
        if self._found is None:
            self._found = self._of_kind(self._entry())
        return self._found

    def _of_kind(self, entry: TableEntry) -> ManagedTable | DeltaCommitTable:
        catalog = self._catalog
        if entry.kind == "MANAGED" and entry.file_format == "DELTA":
            vended = VendedCredentials(lambda: catalog.delta.credentials(self.name), clock=catalog.clock)
            return ManagedTable(
                *(catalog.delta, self.name, self.spec, catalog.storage_options, vended),
                clock=catalog.clock,
                on_step=catalog.on_step,
            )
        if entry.kind == "EXTERNAL" and entry.file_format == "DELTA":
            return DeltaCommitTable(self._place_of(entry), self.spec, name=self.uri)
        what = f"a {entry.kind.lower().replace('_', ' ')}" if entry.kind not in _TABLES else entry.file_format
        raise SchemaDriftError(
            f"{self.name} is not a Delta table, but {what}.",
            hint="Configure another table name, or drop what has this one.",
        )

    def _created(self) -> TableEntry:
        catalog = self._catalog
        catalog.client.ensure_schema(self.name.parent, _SCHEMA_COMMENT)
        if catalog.kind == "external":
            create_external(
                *(catalog.client, self.name, self.spec, self.new_location(), catalog.storage_options),
                exists=self.exists,
            )
        else:
            now_ms = int(catalog.clock() * 1000)
            create_managed(
                *(catalog.delta, self.name, self.spec, catalog.storage_options), now_ms=now_ms, exists=self.exists
            )
        entry = catalog.client.find_table(self.name)
        if entry is None:
            raise AccessDeniedError(
                f"Unity Catalog says that the table {self.name} exists, and does not let us see it.",
                hint=remedy(grants_to_write(self.name), databricks=catalog.client.databricks),
            )
        return entry

    def _awaited(self) -> TableEntry:
        """Wait until another run has created the table."""
        for _ in range(round(_WAIT_SECS / _POLL_SECS)):
            self._catalog.sleep(_POLL_SECS)
            entry = self._catalog.client.find_table(self.name)
            if entry is not None:
                return entry
        raise UnavailableError(
            f"The table {self.name} does not exist. Shard 0 creates the tables of a catalog, and has not done so for "
            f"{_WAIT_SECS} s.",
            hint="Start shard 0 too (--shard 0/n), or again; then start this one again.",
        )

    def new_location(self) -> str:
        """Where the external table would lie. Raises `ConfigurationError` where that is not configured."""
        if self._catalog.location is None:
            raise ConfigurationError(
                f"$.unity_catalog.location: not set; the external table {self.name} has to lie somewhere",
                hint="Set it to a path inside an external location, or use table_type: managed.",
            )
        return "/".join((self._catalog.location.rstrip("/"), self.name.schema, self.name.table))

    def _place_of(self, entry: TableEntry) -> TableLocation:
        catalog = self._catalog
        if entry.kind == "MANAGED":
            vended = VendedCredentials(lambda: catalog.delta.credentials(self.name), clock=catalog.clock)
        else:
            vended = VendedCredentials(lambda: catalog.client.table_credentials(entry), clock=catalog.clock)
        place = TableLocation.parse(entry.location, catalog.storage_options)
        return TableLocation(place.uri, place.storage_options, None if place.local else vended.options)


_TABLES = frozenset({"MANAGED", "EXTERNAL"})
