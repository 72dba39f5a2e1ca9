"""Can tables be written there? Finds out by writing a small file, and takes it away again.

Imports nothing of the engine. Invariant: leaves nothing behind, no folder either.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from config.errors import StorageError

from .failures import shown, storage_errors
from .storage import Place

__all__ = ["probe_writing"]


def probe_writing(uri: str, storage_options: Mapping[str, str] | None = None) -> None:
    """Write a file under `uri`, read it back and remove it.

    Raises what storage raises: `StorageError`, `AccessDeniedError`, `UnavailableError`, `ExpiredError`.
    """
    place = Place.parse(uri, storage_options)
    name = f"_osipi_probe_{uuid.uuid4().hex}"
    with storage_errors(place.uri), _folders_as_before(place):
        place.write_small(name, b"probe")
        found = place.read_small(name)
        place.remove(name)
        if found != b"probe" or place.has(name):
            raise StorageError(
                f"A file written to {shown(place.uri)} cannot be read back and removed.",
                hint="Give this user permission to read, write and delete there.",
            )


@contextlib.contextmanager
def _folders_as_before(place: Place) -> Iterator[None]:
    """Remove the folders that came into being inside; object stores have none."""
    folder = Path(place.uri)
    missing = [path for path in (folder, *folder.parents) if not path.exists()] if place.local else []
    try:
        yield
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # not there after all, or in use by somebody else meanwhile
                path.rmdir()
