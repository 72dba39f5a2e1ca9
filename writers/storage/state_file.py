"""A small state that several runs of a pipeline change, beside the leases: one file for each version of it.

Invariant: of several writers of a version one succeeds, and the others learn that they came too late.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from config.errors import StorageError

from .errors import storage_errors
from .location import TableLocation

FOLDER = "_osipi"  # vacuum leaves names with an underscore alone
# Older versions are removed. A writer that slept through so many is recognised below.
KEPT = 8
_READS = 5
_VERSION = re.compile(r"\d{10}\.json")


class FileState:
    """The state of one name. Blocks."""

    def __init__(self, place: Callable[[], TableLocation | None], name: str) -> None:
        """`place` is asked at each use, as a catalog may have to be. None: there is no place yet."""
        self._place = place
        self._folder = f"{FOLDER}/{plain_name(name)}"

    def read(self) -> tuple[int, bytes]:
        """The newest version and its content; 0 and nothing if there is none."""
        place = self._place()
        if place is None:
            return 0, b""
        with storage_errors(place.uri):
            for _ in range(_READS):
                newest = max(self._versions(place), default=0)
                content = b"" if newest == 0 else place.read_small(self._path(newest))
                if content is not None:
                    return newest, content
        raise StorageError(f"The state at {place.uri}/{self._folder} changes faster than it can be read.")

    def write(self, version: int, content: bytes) -> bool:
        """Write a version, the one after that which was read. False if another writer has written it.

        Raises `StorageError`, also if there is no place yet.
        """
        place = self._place()
        if place is None:
            raise StorageError("There is no checkpoint table yet, beside which a state could be kept.")
        with storage_errors(place.uri):
            place.make_root()
            try:
                place.create_small(self._path(version), content)
            except FileExistsError:
                return False
            versions = self._versions(place)
            oldest = max(versions, default=version) - KEPT
            for old in versions:
                if old <= oldest:
                    place.remove(self._path(old))
        # Only versions as old as this are ever removed: one that could be written there again came too late.
        return version > oldest

    def _versions(self, place: TableLocation) -> list[int]:
        return [int(name.partition(".")[0]) for name in place.names(self._folder) if _VERSION.fullmatch(name)]

    def _path(self, version: int) -> str:
        return f"{self._folder}/{version:010}.json"


def plain_name(name: str) -> str:
    """Make a name fit for a file of any storage, and keep different names different."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if plain == name:
        return plain
    return f"{plain}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"
