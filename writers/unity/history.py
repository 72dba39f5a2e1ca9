"""Reads a catalog-managed log: checkpoint, published commits, and ratified ones not published yet.

Invariant: the catalog says which version is the last, and for a version that is not published which
staged file it is. Whatever else lies in the log folder (losers of a race, files of writers that died)
is not history, and is not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

import pyarrow.parquet as pq

from config.errors import LostStateError

from ..actions import Action, encode
from ..failures import storage_errors
from ..storage import Place
from .delta_api import LoadedTable
from .snapshot import Snapshot

__all__ = ["Checkpoint", "entry_path", "find_checkpoint", "load_snapshot", "parse", "read_entries", "write_checkpoint"]

LOG = "_delta_log"
STAGED = f"{LOG}/_staged_commits"

_READERS = 8
_NAME = re.compile(
    r"(?P<version>\d{20})\.checkpoint(?:\.(?P<part>\d{10})\.(?P<parts>\d{10})|\.(?P<uuid>[0-9a-fA-F-]{36}))?"
    r"\.(?P<kind>parquet|json)"
)
_ADD = ("path", "partitionValues", "size", "modificationTime", "dataChange", "stats", "tags", "deletionVector")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files of a checkpoint, all of its parts."""

    version: int
    names: tuple[str, ...]


def published_path(version: int) -> str:
    return f"{LOG}/{version:020}.json"


def staged_path(file_name: str) -> str:
    return f"{STAGED}/{file_name}"


def entry_path(version: int, table: LoadedTable) -> str:
    """Where a version lies; the staged file that the catalog names goes before a published copy."""
    staged = table.unpublished.get(version)
    return published_path(version) if staged is None else staged_path(staged)


def find_checkpoint(names: Iterable[str], latest: int) -> Checkpoint | None:
    """Choose the newest complete checkpoint that is not beyond `latest`. Pure."""
    whole: dict[int, Checkpoint] = {}
    parts: dict[tuple[int, int], dict[int, str]] = {}
    for name in sorted(names):
        found = _NAME.fullmatch(name)
        if found is None or int(found["version"]) > latest:
            continue
        version = int(found["version"])
        if found["part"] is None:
            whole[version] = Checkpoint(version, (name,))
            continue
        many = parts.setdefault((version, int(found["parts"])), {})
        many[int(found["part"])] = name
        if len(many) == int(found["parts"]):
            whole.setdefault(version, Checkpoint(version, tuple(many[i] for i in sorted(many))))
    return whole[max(whole)] if whole else None


def load_snapshot(place: Place, table: LoadedTable) -> Snapshot:
    """Read the state of the table at its latest version."""
    snapshot = Snapshot()
    with storage_errors(place.uri):
        found = find_checkpoint(place.names(LOG), table.latest)
    if found is not None:
        with storage_errors(place.uri):
            snapshot.start(found.version, _checkpointed(place, found))
            # A checkpoint does not say when its commit was made. Its entry may have been cleaned up since;
            # then it is so old that any clock is ahead of it.
            content = place.read_small(entry_path(found.version, table))
            at = Snapshot(version=found.version - 1)
            at.advance(found.version, parse(content or b""))
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
            yield version, parse(content)


def parse(content: bytes) -> list[Action]:
    return [json.loads(line) for line in content.splitlines() if line.strip()]


def write_checkpoint(place: Place, snapshot: Snapshot, now_ms: int) -> None:
    """Write what readers can start from. Only for a version that is published, as is every one before it."""
    head = [{"checkpointMetadata": {"version": snapshot.version}}]
    actions = [*head, *snapshot.checkpoint(now_ms)]
    name = f"{snapshot.version:020}.checkpoint.{uuid4()}.json"
    content = encode(actions)
    with storage_errors(place.uri):
        place.write_small(f"{LOG}/{name}", content)


def _checkpointed(place: Place, found: Checkpoint) -> Iterator[Action]:
    for name in found.names:
        for action in _actions_of(place, f"{LOG}/{name}"):
            if "sidecar" in action:
                yield from _actions_of(place, f"{LOG}/_sidecars/{action['sidecar']['path'].rpartition('/')[2]}")
            else:
                yield action


def _actions_of(place: Place, path: str) -> Iterator[Action]:
    if path.endswith(".json"):
        yield from parse(place.read_small(path) or b"")
        return
    with pq.ParquetFile(place.filesystem().open_input_file(path)) as file:
        there = {column.path for column in file.schema}
        wanted = [c for c in there if not c.startswith("add.") or c.split(".")[1] in _ADD]
        for batch in file.iter_batches(columns=wanted, use_threads=False):
            for row in batch.to_pylist():
                yield {kind: _plain(body) for kind, body in row.items() if body is not None}


def _plain(body: Action) -> Action:
    """Arrow gives maps as lists of pairs."""
    maps = ("partitionValues", "configuration", "tags", "options")
    return {
        name: dict(value) if name in maps and isinstance(value, list) else _plain(value) if name == "format" else value
        for name, value in body.items()
        if value is not None
    }
