"""Which cells of the matrix a round tries: by default a few, with `make test-faults` all, or each n-th of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["cells_of"]

# FAULTS_EVERY=5: each fifth cell of those that do not run by default.
EVERY = max(1, int(os.environ.get("FAULTS_EVERY", "1")))


def cells_of(cells: Iterable[tuple[bool, tuple[Any, ...], str]]) -> list[Any]:
    """Parameters of a test from (whether it runs by default, values, name)."""
    found = []
    for place, (by_default, values, name) in enumerate(cells):
        if by_default or place % EVERY == 0:
            found.append(pytest.param(*values, id=name, marks=[] if by_default else [pytest.mark.faults]))
    return found
