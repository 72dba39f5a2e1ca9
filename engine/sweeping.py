"""How often Python looks for garbage in cycles, while there is much that lives long. Touches nothing else."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["rare_collections", "swept_quickly"]


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Have Python look for garbage in cycles less often: tags by the hundred thousand live as long as the
    run, and going through all of them took half the time of reading many small answers.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def swept_quickly() -> Iterator[None]:
    """Have the collector pass over what is there already, which is most: it takes milliseconds then."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
