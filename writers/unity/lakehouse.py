"""Tables and leases of a Unity Catalog.

Invariant: making any of these asks the catalog nothing; the first call that needs an answer does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ports import Lease, StateFile
from ..storage.lease import FileLease, shards_with_lease
from ..storage.location import TableLocation
from ..storage.state_file import FileState
from ..tables import PI_WATERMARKS, Names, TableSpec
from .access import check_access
from .names import TableName
from .table import Catalog, CatalogTable


class UnityLakehouse:
    """Tables by catalog, schema and name; leases are beside the files of the checkpoint table."""

    def __init__(self, catalog: Catalog, names: Names, properties: Mapping[str, Mapping[str, str]]) -> None:
        self._catalog = catalog
        self._names = names
        self._properties = properties
        self._leases: TableLocation | None = None

    def __repr__(self) -> str:
        return f"UnityLakehouse({self._names.catalog!r})"

    def table(self, spec: TableSpec) -> CatalogTable:
        return CatalogTable(self._catalog, TableName(*self._names.parts(spec)), spec.with_properties(self._properties))

    def lease(self, pipeline: str, shard: str, run_id: str) -> Lease:
        return FileLease(self._lease_place, pipeline, shard, run_id)

    def state_file(self, name: str) -> StateFile:
        return FileState(self._place_if_any, name)

    def prepare(self, specs: Sequence[TableSpec]) -> None:
        for spec in (PI_WATERMARKS, *specs):
            self.table(spec).place()

    def check_access(self, specs: Sequence[TableSpec]) -> str:
        return check_access(self._catalog, [self.table(spec) for spec in specs])

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        if not self.table(PI_WATERMARKS).exists():
            return ()
        return shards_with_lease(self._lease_place(), pipeline)

    def _place_if_any(self) -> TableLocation | None:
        """The place of the leases; None, and no table is created, where there is no checkpoint table yet."""
        return self._lease_place() if self._leases or self.table(PI_WATERMARKS).exists() else None

    def _lease_place(self) -> TableLocation:
        if self._leases is None:
            self._leases = self.table(PI_WATERMARKS).place()
        return self._leases
