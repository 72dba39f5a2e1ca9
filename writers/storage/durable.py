"""Forces files of this machine to the disk, so that they outlive a power loss.

A file is on the disk once its content is synced, and its name once its folder is. A function here returns when the disk
has what it was given: callers put a commit after the files that it names.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from pathlib import Path

# What file systems say that do not offer it, such as some network mounts and volumes.
_NOT_OFFERED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF})
# Windows opens no folders, and syncs only files that are open for writing.
WINDOWS = os.name == "nt"


def sync(path: Path) -> None:
    """Sync the content of a file, or which names stand in a folder. Raises `OSError`, also where there is none.

    On Windows names are left to the file system, which keeps a journal of them.
    """
    if WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        os.close(descriptor)


def sync_new(path: Path, *, up_to: Path) -> None:
    """Sync a new file: its content, then its name, then those of its folders up to a folder, which is included."""
    sync(path)
    for folder in path.parents:
        if not folder.is_relative_to(up_to):
            return
        sync(folder)


def make_folders(folder: Path) -> None:
    """Create a folder and those above it, and sync their names. Any of them may be a moment old: all are synced."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.parents:
        with contextlib.suppress(PermissionError):  # one that we may not read was there before us
            sync(each)


def create_file(path: Path, content: bytes) -> None:
    """Put a file where there is none, whole or not at all. Raises `FileExistsError` where there is one."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        draft.write_bytes(content)
        sync(draft)
        os.link(draft, path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    sync(path.parent)
