"""Which variants of a test are tried by default, and which are for `make test-slow`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

__all__ = ["crossed", "slowly"]


def slowly(*values: Any) -> list[Any]:
    """Variants of a default one."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow) for value in values
    ]


def crossed(first: Iterable[Any] | Mapping[str, Any], second: Iterable[Any] | Mapping[str, Any]) -> list[Any]:
    """All pairs. By default the first of either is tried with each of the other, so that each has its turn."""
    ones, others = _named(first), _named(second)
    return [
        pytest.param(one, other, id=f"{name}-{called}", marks=[pytest.mark.slow] if row and column else [])
        for row, (name, one) in enumerate(ones)
        for column, (called, other) in enumerate(others)
    ]


def _named(values: Iterable[Any] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(values.items()) if isinstance(values, Mapping) else [(str(value), value) for value in values]
