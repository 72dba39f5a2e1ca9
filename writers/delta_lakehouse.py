"""Tables and leases below one folder or prefix, committed by delta-rs.

Imports nothing of the engine. Invariant: making a table or a lease touches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from .commit import Lease
from .delta import DeltaCommitTable
from .lease import FileLease, shards_with_lease
from .storage import Place
from .tables import PI_WATERMARKS, Names, TableSpec

__all__ = ["DeltaLakehouse"]


class DeltaLakehouse:
    """Tables at `<root>/<catalog>/<schema>/<table>`."""

    def __init__(self, place: Place, names: Names, properties: Mapping[str, Mapping[str, str]]) -> None:
        self._place = place
        self._names = names
        self._properties = properties

    def __repr__(self) -> str:
        return f"DeltaLakehouse({self._place.uri!r})"

    def table(self, spec: TableSpec) -> DeltaCommitTable:
        return DeltaCommitTable(self._place.child(*self._names.parts(spec)), spec.wished(self._properties))

    def lease(self, pipeline: str, shard: str, run_id: str) -> Lease:
        return FileLease(self._lease_place(), pipeline, shard, run_id)

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        return shards_with_lease(self._lease_place(), pipeline)

    def _lease_place(self) -> Place:
        return self._place.child(*self._names.parts(PI_WATERMARKS))
