"""Gives ratified commits their final names in the log, and tells the catalog.

Invariant: versions are published in order, and none is reported whose copy has not been finished; the
catalog forgets a version once it is reported. Any writer may publish what others left behind: the
bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from config.errors import LostStateError

from ..failures import storage_errors
from ..storage import Place
from .delta_api import DeltaApi, LoadedTable
from .history import published_path, staged_path
from .names import TableName

__all__ = ["publish"]


def publish(
    api: DeltaApi,
    name: TableName,
    place: Place,
    table: LoadedTable,
    *,
    known: Mapping[str, bytes] | None = None,
    on_step: Callable[[str], None] = lambda _step: None,
) -> int:
    """Publish every ratified commit of `table`; give the number of them. `known`: contents by file name."""
    last: int | None = None
    for version, file_name in sorted(table.unpublished.items()):
        with storage_errors(place.uri):
            content = (known or {}).get(file_name) or place.read_small(staged_path(file_name))
            if content is None:
                raise LostStateError(
                    f"Commit {version} of {name} is ratified, but its file {file_name} is missing.",
                    hint="Restore the file from a backup of the storage; no writer can go on without it.",
                )
            place.write_small(published_path(version), content)
        last = version
    if last is not None:
        on_step("copied")
        api.report_published(name, table.table_id, last)
    return len(table.unpublished)
