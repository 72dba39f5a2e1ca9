"""Forces commits that delta-rs has made to the disk: their entries in the log, checkpoints, and files that it has written.

Files that we stage are on the disk before their commit is made (`TableLocation.sync`).
"""

from __future__ import annotations

import contextlib
from urllib.parse import unquote

from .location import TableLocation
from .log_checkpoints import LOG, parse

_LAST_CHECKPOINT = f"{LOG}/_last_checkpoint"


def sync_commits(place: TableLocation, first: int, last: int, *, files: bool = True) -> None:
    """Sync the versions `first` to `last`, as far as they are there; with `files` also the data files that they add.

    Does nothing where the location needs no syncing. Raises `OSError`, `StorageError`.
    """
    if not place.fsync:
        return
    for version in range(first, last + 1):
        path = f"{LOG}/{version:020}.json"
        content = place.read_small(path)
        if content is None:  # cleaned up
            continue
        for action in parse(content, path) if files else ():
            if "add" in action:
                with contextlib.suppress(FileNotFoundError):  # a later version may have removed it
                    place.sync(unquote(action["add"]["path"]))
        place.sync(path)
        _sync_checkpoint(place, version)


def _sync_checkpoint(place: TableLocation, version: int) -> None:
    """A pointer to a checkpoint that is half there would keep readers out: the checkpoint first."""
    checkpoint = f"{LOG}/{version:020}.checkpoint.parquet"
    if place.has(checkpoint):
        for path in (checkpoint, _LAST_CHECKPOINT):
            with contextlib.suppress(FileNotFoundError):
                place.sync(path)
