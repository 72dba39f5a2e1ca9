"""`python -m engine`, and the console script: the only place that ends the process."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

try:
    from .cli import main
except ModuleNotFoundError as error:  # a Python without so much as click
    from .ownership import missing

    found = missing(error)
    if found is None:
        raise
    sys.stderr.write(f"error: {found.sentence}\nhint: {found.hint}\n")
    sys.exit(2)


def end() -> NoReturn:
    """Run a command, and end the process with its exit code.

    Without taking the interpreter apart: threads of Arrow that let go of memory of ours in that moment would abort it
    ("terminate called without an active exception"), and a run that went well would look as if it had failed.
    """
    code = main()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads any more, or there is no room
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    end()
