"""Which variants of a test are tried by default, and which are for `make test-slow`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import pytest

__all__ = ["crossed", "slowly"]


def slowly(*values: Any) -> list[Any]:
    """Variants of a default one."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow) for value in values
    ]


def crossed(*dimensions: Iterable[Any] | Mapping[str, Any]) -> list[Any]:
    """All combinations of the values of each dimension. By default what differs from the first of all of them in
    one dimension at most, so that every value has its turn.
    """
    named = [_named(dimension) for dimension in dimensions]
    return [
        pytest.param(
            *(value for _, (_, value) in places),
            id="-".join(name for _, (name, _) in places),
            marks=[pytest.mark.slow] if sum(place > 0 for place, _ in places) > 1 else [],
        )
        for places in product(*(list(enumerate(values)) for values in named))
    ]


def _named(values: Iterable[Any] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(values.items()) if isinstance(values, Mapping) else [(str(value), value) for value in values]
