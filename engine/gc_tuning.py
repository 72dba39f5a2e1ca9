"""How the garbage collector is tuned for a run, whose many tags live as long as the run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from .own_process import RARELY


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Collect garbage less often. Going through hundreds of thousands of tags each time took half the time of reading
    many small answers.
    """
    before = gc.get_threshold()
    gc.set_threshold(*RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def live_objects_frozen() -> Iterator[None]:
    """Freeze the objects that are live now. Later collections scan only new ones, which takes milliseconds.

    Where the program around us has frozen its own, nothing is thawed: Python can only thaw everything.
    """
    frozen_by_others = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen_by_others:
            gc.unfreeze()
