"""Tables and leases below one folder or prefix, committed by delta-rs.

Invariant: making a table or a lease touches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ports import Lease, StateFile
from ..storage.lease import FileLease, shards_with_lease
from ..storage.location import TableLocation
from ..storage.state_file import FileState
from ..tables import PI_WATERMARKS, Names, TableSpec
from .table import DeltaCommitTable


class DeltaLakehouse:
    """Tables at `<root>/<catalog>/<schema>/<table>`."""

    def __init__(self, place: TableLocation, names: Names, properties: Mapping[str, Mapping[str, str]]) -> None:
        self._place = place
        self._names = names
        self._properties = properties

    def __repr__(self) -> str:
        return f"DeltaLakehouse({self._place.uri!r})"

    def table(self, spec: TableSpec) -> DeltaCommitTable:
        return DeltaCommitTable(self._place.child(*self._names.parts(spec)), spec.with_properties(self._properties))

    def lease(self, pipeline: str, shard: str, run_id: str) -> Lease:
        return FileLease(self._lease_place, pipeline, shard, run_id)

    def state_file(self, name: str) -> StateFile:
        return FileState(self._lease_place, name)

    def prepare(self, specs: Sequence[TableSpec]) -> None:
        """Nothing to do: the first entry of a log is put only where there is none."""

    def shards_seen(self, pipeline: str) -> tuple[str, ...]:
        return shards_with_lease(self._lease_place(), pipeline)

    def _lease_place(self) -> TableLocation:
        return self._place.child(*self._names.parts(PI_WATERMARKS))
