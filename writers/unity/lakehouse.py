"""Tables of a Unity Catalog, behind the ports that every destination has.

Invariant: making any of these touches nothing; the first call that needs an answer asks the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..commit import Lease
from ..lease import FileLease, shards_with_lease
from ..storage import Place
from ..tables import PI_WATERMARKS, Names, TableSpec
from .names import TableName
from .table import Catalog, CatalogTable

__all__ = ["UnityLakehouse"]


class UnityLakehouse:
    """Tables by catalog, schema and name; leases lie beside the checkpoint table's files."""

    def __init__(self, catalog: Catalog, names: Names, properties: Mapping[str, Mapping[str, str]]) -> None:
        self._catalog = catalog
        self._names = names
        self._properties = properties
        self._leases: Place | None = None

    def __repr__(self) -> str:
        return f"UnityLakehouse({self._names.catalog!r})"

    def table(self, spec: TableSpec) -> CatalogTable:
        return CatalogTable(self._catalog, TableName(*self._names.parts(spec)), spec.wished(self._properties))

    def lease(self, pipeline: str, shard: str, run_id: str) -> Lease:
        return _LateLease(self, pipeline, shard, run_id)

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        if not self.table(PI_WATERMARKS).exists():
            return ()
        return shards_with_lease(self.lease_place(), pipeline)

    def lease_place(self) -> Place:
        if self._leases is None:
            self._leases = self.table(PI_WATERMARKS).place()
        return self._leases


class _LateLease:
    """Finds out where leases lie when it is first used: that takes a question to the catalog."""

    def __init__(self, lakehouse: UnityLakehouse, pipeline: str, shard: str, run_id: str) -> None:
        self._lakehouse = lakehouse
        self._who = (pipeline, shard, run_id)
        self._lease: FileLease | None = None

    @property
    def renew_secs(self) -> float:
        return self._found().renew_secs

    def acquire(self) -> None:
        self._found().acquire()

    def renew(self) -> None:
        self._found().renew()

    def release(self) -> None:
        self._found().release()

    def holder(self) -> str | None:
        return self._found().holder()

    def _found(self) -> FileLease:
        if self._lease is None:
            self._lease = FileLease(self._lakehouse.lease_place(), *self._who)
        return self._lease
