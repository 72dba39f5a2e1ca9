"""Reads a catalog-managed log: checkpoint, published commits, and ratified ones not published yet.

Invariant: the catalog says which version is the last, and for a version that is not published which
staged file it is. Whatever else lies in the log folder (losers of a race, files of writers that died)
is not history, and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from config.errors import LostStateError

from ..actions import Action, encode
from ..delta_log import LOG, checkpointed, find_checkpoint, parse
from ..failures import storage_errors
from ..storage import Place
from .delta_api import LoadedTable
from .snapshot import Snapshot

__all__ = ["entry_path", "load_snapshot", "read_entries", "write_checkpoint"]

STAGED = f"{LOG}/_staged_commits"

_READERS = 8


def published_path(version: int) -> str:
    return f"{LOG}/{version:020}.json"


def staged_path(file_name: str) -> str:
    return f"{STAGED}/{file_name}"


def entry_path(version: int, table: LoadedTable) -> str:
    """Where a version lies; the staged file that the catalog names goes before a published copy."""
    staged = table.unpublished.get(version)
    return published_path(version) if staged is None else staged_path(staged)


def load_snapshot(place: Place, table: LoadedTable) -> Snapshot:
    """Read the state of the table at its latest version."""
    snapshot = Snapshot()
    with storage_errors(place.uri):
        found = find_checkpoint(place.names(LOG), table.latest)
    if found is not None:
        with storage_errors(place.uri):
            snapshot.start(found.version, checkpointed(place, found))
            # A checkpoint does not say when its commit was made. Its entry may have been cleaned up since;
            # then it is so old that any clock is ahead of it.
            path = entry_path(found.version, table)
            content = place.read_small(path)
            at = Snapshot(version=found.version - 1)
            at.advance(found.version, parse(content or b"", path))
            snapshot.timestamp = at.timestamp
    for version, actions in read_entries(place, table, snapshot.version + 1):
        snapshot.advance(version, actions)
    return snapshot


def read_entries(place: Place, table: LoadedTable, start: int) -> Iterator[tuple[int, Sequence[Action]]]:
    """Read the versions from `start` to the latest, in order."""
    versions = range(start, table.latest + 1)
    with storage_errors(place.uri), ThreadPoolExecutor(min(_READERS, max(1, len(versions)))) as readers:
        contents = readers.map(lambda version: place.read_small(entry_path(version, table)), versions)
        for version, content in zip(versions, contents, strict=True):
            if content is None:
                raise LostStateError(
                    f"The log of {place.uri} ends at version {table.latest}, but version {version} is missing.",
                    hint="Restore the file, or the table to a version before it.",
                )
            yield version, parse(content, entry_path(version, table))


def write_checkpoint(place: Place, snapshot: Snapshot, now_ms: int) -> None:
    """Write what readers can start from. Only for a version that is published, as is every one before it."""
    head = [{"checkpointMetadata": {"version": snapshot.version}}]
    actions = [*head, *snapshot.checkpoint(now_ms)]
    name = f"{snapshot.version:020}.checkpoint.{uuid4()}.json"
    content = encode(actions)
    with storage_errors(place.uri):
        place.write_small(f"{LOG}/{name}", content)
