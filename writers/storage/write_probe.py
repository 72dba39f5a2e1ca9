"""Finds out whether tables can be written to a place: writes a small file, and removes it.

Invariant: leaves nothing behind, no folder either.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from config.errors import StorageError

from .errors import shown, storage_errors
from .location import TableLocation


def probe_writing(uri: str, storage_options: Mapping[str, str] | None = None) -> None:
    """Write a file under `uri`, read it back, find it in a list, see that it cannot be put twice, and remove it.

    A storage that lets a second writer put what is there already would lose commits.

    Raises what storage raises: `StorageError`, `AccessDeniedError`, `UnavailableError`, `ExpiredError`.
    """
    place = TableLocation.parse(uri, storage_options)
    name = f"_osipi_probe_{uuid.uuid4().hex}"
    with storage_errors(place.uri), _folders_as_before(place):
        try:
            place.write_small(name, b"probe")
            if place.read_small(name) != b"probe" or name not in place.names(""):
                raise StorageError(
                    f"A file written to {shown(place.uri)} cannot be read back and listed.",
                    hint="Give this user permission to read, write, list and delete there.",
                )
            _put_once(place, f"{name}_once")
        finally:
            for each in (name, f"{name}_once"):
                place.remove(each)
        if place.has(name):
            raise StorageError(
                f"A file written to {shown(place.uri)} cannot be removed.",
                hint="Give this user permission to read, write, list and delete there.",
            )


def _put_once(place: TableLocation, name: str) -> None:
    """Put a file as a commit is put: where there is none. Raises `StorageError` if a second one takes its place."""
    place.create_small(name, b"first")
    with contextlib.suppress(FileExistsError):
        place.create_small(name, b"second")
        raise StorageError(
            f"The storage at {shown(place.uri)} lets a file be put where there is one already, so that one of two "
            "commits made at the same time would be lost.",
            hint="Use a storage with conditional writes (put-if-absent), or a newer release of this one.",
        )


@contextlib.contextmanager
def _folders_as_before(place: TableLocation) -> Iterator[None]:
    """Remove the folders that came into being inside; object stores have none."""
    folder = Path(place.uri)
    missing = [path for path in (folder, *folder.parents) if not path.exists()] if place.local else []
    try:
        yield
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # not there after all, or another writer uses it meanwhile
                path.rmdir()
