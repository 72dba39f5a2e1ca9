"""`python -m engine`: the only place that ends the process."""

from __future__ import annotations

import sys

try:
    from .cli import main
except ModuleNotFoundError as error:  # a Python without so much as click
    from .ownership import missing

    found = missing(error)
    if found is None:
        raise
    sys.stderr.write(f"error: {found.sentence}\nhint: {found.hint}\n")
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
