"""Checkpoints of a Delta log: which exist, and what they hold.

Invariant: a checkpoint of which a part is missing does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from ..log.actions import Action
from ..log.entries import LogEntry
from ..log.lines import actions_in
from .errors import storage_errors
from .location import TableLocation

LOG = "_delta_log"
SIDECARS = f"{LOG}/_sidecars"

_NAME = re.compile(
    r"(?P<version>\d{20})\.checkpoint(?:\.(?P<part>\d{10})\.(?P<parts>\d{10})|\.(?P<uuid>[0-9a-fA-F-]{36}))?"
    r"\.(?P<kind>parquet|json)"
)
_ADD = (
    *("path", "partitionValues", "size", "modificationTime", "dataChange", "stats", "tags", "deletionVector"),
    *("baseRowId", "defaultRowCommitVersion", "clusteringProvider"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files of a checkpoint, all of its parts."""

    version: int
    names: tuple[str, ...]


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


def last_sequences(place: TableLocation, entries: Iterable[LogEntry], latest: int) -> dict[str, int]:
    """Read the last sequence of every app_id there is. `entries`: the log from version `latest` back.

    delta-rs can be asked about one app_id, and goes through the log for it.
    """
    found: dict[str, int] = {}
    with storage_errors(place.uri):
        checkpoint = find_checkpoint(place.names(LOG), latest)
    for entry in entries:
        if checkpoint is not None and entry.version <= checkpoint.version:
            break
        found = {**entry.sequences, **found}
    if checkpoint is not None:
        with storage_errors(place.uri):
            for action in checkpointed(place, checkpoint, only="txn"):
                if "txn" in action:
                    found.setdefault(action["txn"]["appId"], int(action["txn"]["version"]))
    return found


def parse(content: bytes, where: str = "an entry") -> list[Action]:
    """Read an entry. Raises `StorageError` for one that is damaged; `where` names it."""
    return list(actions_in(content, where))


def checkpointed(place: TableLocation, found: Checkpoint, only: str | None = None) -> Iterator[Action]:
    """Read the actions of a checkpoint; with `only` of one kind perhaps not those of other kinds."""
    for name in found.names:
        for action in _actions_of(place, f"{LOG}/{name}", only):
            if "sidecar" in action and only is None:  # files, and nothing else
                yield from _actions_of(place, f"{SIDECARS}/{action['sidecar']['path'].rpartition('/')[2]}", None)
            else:
                yield action


def _actions_of(place: TableLocation, path: str, only: str | None) -> Iterator[Action]:
    if path.endswith(".json"):
        yield from parse(place.read_small(path) or b"", path)
        return
    with pq.ParquetFile(place.open_input(path)) as file:
        there = {column.path for column in file.schema}
        wanted = [c for c in there if not c.startswith("add.") or c.split(".")[1] in _ADD]
        if only is not None:
            wanted = [c for c in there if c.startswith(f"{only}.")]
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
