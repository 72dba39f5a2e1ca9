"""Folders and buckets: where the files of a table are, and reading and writing small ones there.

Invariant: a path given to a `TableLocation` is relative to it, with forward slashes, on every storage. Errors are
raised as they come; callers wrap them in `errors.storage_errors`.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from config.errors import ConfigurationError, ExtractError, StorageError

from .durable import create_file, make_folders, sync_new
from .errors import FOREIGN_ERRORS, shown
from .objects import (
    create_object,
    get_object,
    has_entries,
    names_under,
    open_object,
    put_object,
    read_object,
    remove_object,
)

SCHEMES = ("s3", "s3a", "abfss", "abfs", "az", "azure", "adl", "gs")

# delta-rs makes a URL of a folder: it would look for the table in another one, or fail.
_NOT_IN_A_URL = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\]")


@dataclass(frozen=True, slots=True)
class TableLocation:
    """A folder or prefix, and what is needed to reach it. Paths given to it are relative to it."""

    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    # Returns credentials that are valid for a while, where they expire before a run ends.
    vended: Callable[[], Mapping[str, str]] | None = field(default=None, repr=False)
    # Whether files in a folder of this machine are forced to the disk. Object stores do that by themselves.
    fsync: bool = False

    @classmethod
    def parse(
        cls, root: str | Path, storage_options: Mapping[str, str] | None = None, *, fsync: bool = False
    ) -> TableLocation:
        """Accept a folder, `file:`, `s3://`, `abfss://`, `az://` or `gs://`; local ones are made absolute."""
        text = str(root)
        scheme = urlsplit(text).scheme.lower()
        if scheme in SCHEMES:
            return cls(text.rstrip("/"), dict(storage_options or {}))
        if scheme == "file":
            text = url2pathname(urlsplit(text).path)
        elif "://" in text:
            raise ConfigurationError(
                f"Cannot store tables at {shown(text)}: {scheme}:// is not a kind of storage we know.",
                hint=f"Use a folder or one of {', '.join(f'{s}://' for s in SCHEMES)}.",
            )
        try:
            return cls(_as_delta_has_it(Path(text).expanduser().absolute().as_posix()), fsync=fsync)
        except RuntimeError:  # ~ of an unknown user, or no home folder
            message = f"Cannot store tables at {shown(text)}: whose folder ~ is cannot be found out."
        raise ConfigurationError(message, hint="Write the path in full.")

    @property
    def local(self) -> bool:
        return "://" not in self.uri

    def child(self, *parts: str) -> TableLocation:
        return replace(self, uri="/".join((self.uri.rstrip("/"), *parts)))

    def options(self) -> dict[str, str]:
        """Return the options that storage clients need now."""
        return {**self.storage_options, **(self.vended() if self.vended is not None else {})}

    def filesystem(self) -> pafs.FileSystem:
        """Open a filesystem whose root is this place. That of an object store may hold up all threads while it waits:
        there is a method for each use that waits long.
        """
        if self.local:
            return pafs.SubTreeFileSystem(self.uri, pafs.LocalFileSystem())
        return pafs.PyFileSystem(DeltaStorageHandler(self.uri, self.options()))

    def make_root(self) -> None:
        """Create the folder itself; object stores have none."""
        if self.fsync:
            make_folders(Path(self.uri))
        elif self.local:
            Path(self.uri).mkdir(parents=True, exist_ok=True)

    def has_log(self) -> bool:
        """Whether this is a Delta table."""
        if self.local:
            self.look_into("_delta_log")
            return bool(DeltaTable.is_deltatable(self.uri))
        return has_entries(self.uri, self.options(), "_delta_log")

    def look_into(self, folder: str) -> None:
        """Raise what keeps us from seeing what is in a folder of this machine, unless there is none.

        delta-rs takes a table that it may not see for one that does not exist.
        """
        if not self.local:
            return
        try:
            os.scandir(Path(self.uri, folder)).close()
        except (FileNotFoundError, NotADirectoryError):
            return
        except PermissionError:
            hint = "Give this user read permission on the folder and those above it."
            raise StorageError(f"We may not read {self.uri}.", hint=hint) from None

    def open_output(self, path: str) -> pafs.NativeFile:
        """Open a new file; the folders above it come into being."""
        if not self.local:
            return open_object(self.uri, self.options(), path)
        Path(self.uri, path).parent.mkdir(parents=True, exist_ok=True)
        return self.filesystem().open_output_stream(path)

    def open_input(self, path: str) -> pafs.NativeFile:
        """Open a file to read parts of it. Raises `FileNotFoundError` where there is none."""
        if not self.local:
            return read_object(self.uri, self.options(), path)
        return self.filesystem().open_input_file(path)

    def write_small(self, path: str, content: bytes) -> None:
        """Put a small file in one step: a reader sees the old content or the new, never half of it."""
        if not self.local:
            put_object(self.uri, self.options(), path, content)
            return
        target = Path(self.uri, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
        draft.write_bytes(content)
        draft.replace(target)

    def sync(self, path: str) -> None:
        """Force a new file and its name to the disk, if that is wanted here. Raises `OSError`."""
        if self.fsync:
            sync_new(Path(self.uri, path), up_to=Path(self.uri))

    def create_small(self, path: str, content: bytes) -> None:
        """Put a small file in one step where there is none, as delta-rs does it.

        Raises `FileExistsError` where there is one, `OSError` for everything else that the storage says.
        """
        if self.fsync:
            Path(self.uri, path).parent.mkdir(parents=True, exist_ok=True)
            create_file(Path(self.uri, path), content)
            return
        create_object(self.uri, self.options(), path, content)

    def read_small(self, path: str) -> bytes | None:
        """Read a small file; None where there is none."""
        try:
            if not self.local:
                return get_object(self.uri, self.options(), path)
            with self.filesystem().open_input_stream(path) as source:
                content: bytes = source.read()
        except FileNotFoundError:
            return None
        return content

    def has(self, path: str) -> bool:
        [info] = self.filesystem().get_file_info([path])
        return bool(info.type == pafs.FileType.File)

    def names(self, folder: str) -> tuple[str, ...]:
        """List the file names right under `folder`; none where it does not exist."""
        if not self.local:
            return tuple(sorted(names_under(self.uri, self.options(), folder)))
        selector = pafs.FileSelector(folder, allow_not_found=True)
        try:
            found = self.filesystem().get_file_info(selector)
        except FileNotFoundError:  # another writer created it between the listing and the look whether it is there
            found = self.filesystem().get_file_info(selector)
        return tuple(sorted(Path(info.path).name for info in found if info.type == pafs.FileType.File))

    def remove(self, path: str) -> None:
        """Remove a file; it is no error when it is not there, nor when it cannot be removed:
        an orphan costs bytes, not truth, and vacuum finds it.
        """
        with contextlib.suppress(*FOREIGN_ERRORS, ExtractError):
            if self.local:
                self.filesystem().delete_file(path)
            else:
                remove_object(self.uri, self.options(), path)


def _as_delta_has_it(folder: str) -> str:
    """A folder whose name means the same in a URL. Raises `ConfigurationError` for any other."""
    if found := _NOT_IN_A_URL.search(folder):
        raise ConfigurationError(
            f"Cannot store tables at {folder}: in the name of a folder, {found[0]} means something else to delta-rs.",
            hint="Choose a folder without %, [, ], ^, | and backslashes in its name, in storage.root and above it.",
        )
    return folder
