"""`python -m engine`, and the console script: the only place that ends the process."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from .own_process import start_sooner

try:
    from .cli import main
except ModuleNotFoundError as error:  # click itself may be missing
    from .import_check import missing_package

    problem = missing_package(error)
    if problem is None:
        raise
    sys.stderr.write(f"error: {problem.sentence}\nhint: {problem.hint}\n")
    sys.exit(2)


def end() -> NoReturn:
    """Run a command, and end the process with its exit code.

    The interpreter is not shut down: an Arrow thread that frees our memory in that moment would abort the process
    ("terminate called without an active exception"), and a run that succeeded would seem to have failed.
    """
    start_sooner()
    # Files, folders and leases get what the umask leaves to owner and group, and nothing for others.
    os.umask(os.umask(0o077) | 0o007)
    code = main()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the output is not read any more, or the disk is full
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    end()
