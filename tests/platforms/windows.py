"""Makes this Python as poor as that of Windows, before anything of ours is imported: the modules, signals and calls that
Windows lacks are gone, and folders cannot be opened. Run as a program, it then runs `python -m engine` with its arguments.
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
import errno
import os
import signal
import stat
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

# The Linux builds of these ask for what the builds for Windows do not, so they come first.
import aiohttp.web  # noqa: F401
import deltalake  # noqa: F401
import numpy  # noqa: F401, ICN001
import obstore.store  # noqa: F401
import pyarrow.fs  # noqa: F401
import rich.console  # noqa: F401
from databricks.sdk import WorkspaceClient  # noqa: F401

MODULES = frozenset({"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "posixshmem", "readline"})
# What `os` has not on Windows.
CALLS = (
    "fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getpgid", "getpgrp", "setsid", "killpg", "chown", "fchmod",
    "fchown", "mkfifo", "mknod", "uname", "wait", "sched_getaffinity", "getloadavg", "posix_spawn", "pread", "pwrite",
    "sync", "fdatasync",
)  # fmt: skip
SIGNALS = ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGKILL", "SIGWINCH", "SIGCHLD", "SIGTSTP", "SIGCONT")


class Absent(MetaPathFinder):
    def find_spec(self, name: str, *_: Any) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def impoverish() -> None:
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Absent())
    for name in CALLS:
        if hasattr(os, name):
            delattr(os, name)
    for name in SIGNALS:
        delattr(signal, name)

    def refuse(*_: Any) -> None:
        raise NotImplementedError

    asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = refuse
    asyncio.unix_events._UnixSelectorEventLoop.remove_signal_handler = refuse
    open_file, fsync = os.open, os.fsync
    writable: dict[int, bool] = {}

    def opened(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        descriptor = open_file(path, flags, *rest, **named)
        writable[descriptor] = bool(flags & (os.O_RDWR | os.O_WRONLY))
        return descriptor

    def synced(descriptor: int) -> None:
        assert not stat.S_ISDIR(os.fstat(descriptor).st_mode)
        assert writable.get(descriptor, True), "Windows syncs only what is open for writing"
        fsync(descriptor)

    os.open, os.fsync = opened, synced


if __name__ == "__main__":
    impoverish()
    sys.argv = ["osipi-connector", *sys.argv[1:]]
    import writers.storage.durable

    writers.storage.durable.WINDOWS = True
    from engine.__main__ import end

    end()
