"""Reads a catalog-managed log: checkpoint, published commits, and ratified ones not published yet.

Invariant: the catalog says which version is the last, and for a version that is not published which
staged file it is. Other files in the log folder (losers of a race, files of writers that died)
is not history, and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema

from config.errors import LostStateError

from ..log.actions import Action, encode
from ..log.checkpoint_table import file_actions_table, is_file_action
from ..log.snapshot import Snapshot
from ..storage.errors import storage_errors
from ..storage.location import TableLocation
from ..storage.log_checkpoints import LOG, SIDECARS, checkpointed, find_checkpoint, parse
from .delta_api import LoadedTable

STAGED = f"{LOG}/_staged_commits"

_READERS = 8


def published_path(version: int) -> str:
    return f"{LOG}/{version:020}.json"


def staged_path(file_name: str) -> str:
    return f"{STAGED}/{file_name}"


def entry_path(version: int, table: LoadedTable) -> str:
    """Return the path of a version; the staged file that the catalog names goes before a published copy."""
    staged = table.unpublished.get(version)
    return published_path(version) if staged is None else staged_path(staged)


def load_snapshot(place: TableLocation, table: LoadedTable) -> Snapshot:
    """Read the state of the table at its latest version."""
    snapshot = Snapshot()
    with storage_errors(place.uri):
        found = find_checkpoint(place.names(LOG), table.latest)
    if found is not None:
        with storage_errors(place.uri):
            snapshot.start(found.version, checkpointed(place, found))
            # A checkpoint does not say when its commit was made. If its entry has been cleaned up since, the commit is
            # older than any clock.
            path = entry_path(found.version, table)
            content = place.read_small(path)
            at = Snapshot(version=found.version - 1)
            at.advance(found.version, parse(content or b"", path))
            snapshot.timestamp = at.timestamp
    for version, actions in read_entries(place, table, snapshot.version + 1):
        snapshot.advance(version, actions)
    return snapshot


def read_entries(place: TableLocation, table: LoadedTable, start: int) -> Iterator[tuple[int, Sequence[Action]]]:
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


def write_checkpoint(place: TableLocation, snapshot: Snapshot, now_ms: int) -> None:
    """Write a checkpoint: the files in a Parquet sidecar, the rest as JSON. Only for a version that is published, with
    every one before it.
    """
    actions = list(snapshot.checkpoint(now_ms))
    files = file_actions_table(
        (action for action in actions if is_file_action(action)),
        pa.schema(Schema.from_json(snapshot.metadata["schemaString"]).to_arrow()),
        snapshot.metadata.get("partitionColumns") or (),
        parsed=snapshot.properties.get("delta.checkpoint.writeStatsAsStruct") == "true",
    )
    sink = pa.BufferOutputStream()
    pq.write_table(files, sink, compression="snappy")
    content = sink.getvalue().to_pybytes()
    sidecar = {"path": f"{uuid4()}.parquet", "sizeInBytes": len(content), "modificationTime": now_ms}
    head = {"checkpointMetadata": {"version": snapshot.version}}
    rest = (action for action in actions if not is_file_action(action))
    with storage_errors(place.uri):
        place.write_small(f"{SIDECARS}/{sidecar['path']}", content)
        # Last: a checkpoint counts once this file is there.
        name = f"{snapshot.version:020}.checkpoint.{uuid4()}.json"
        place.write_small(f"{LOG}/{name}", encode([head, {"sidecar": sidecar}, *rest]))
