"""Which variants of a test run by default, and which with `make test-slow`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import product
from typing import Any

import pytest

__all__ = ["crossed", "first_of", "slowly"]


def first_of(values: Iterable[Any]) -> list[Any]:
    """The first value by default, the others with `make test-slow`."""
    first, *others = values
    return [first, *slowly(*others)]


def slowly(*values: Any) -> list[Any]:
    """Variants of a default test, which run with `make test-slow`."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow) for value in values
    ]


def crossed(*dimensions: Iterable[Any] | Mapping[str, Any], slow: Collection[str] = ()) -> list[Any]:
    """All combinations of the values of each dimension. By default those that differ from the first combination in
    one dimension at most, so that every value has its turn, but for those whose names are `slow`.
    """
    named = [_named(dimension) for dimension in dimensions]
    return [
        pytest.param(
            *(value for _, (_, value) in places),
            id="-".join(name for _, (name, _) in places),
            marks=[pytest.mark.slow]
            if sum(place > 0 for place, _ in places) > 1 or any(name in slow for _, (name, _) in places)
            else [],
        )
        for places in product(*(list(enumerate(values)) for values in named))
    ]


def _named(values: Iterable[Any] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(values.items()) if isinstance(values, Mapping) else [(str(value), value) for value in values]
