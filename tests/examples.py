"""How many examples a property test tries: in whole with the profile `thorough`, else a share of them."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples"]

_FEWEST = 4


def examples(thorough: int) -> settings:
    """So many with the profile `thorough` of `tests/conftest.py`, which stands for a hundred of a hundred."""
    share = settings().max_examples / 100
    return settings(max_examples=min(thorough, max(_FEWEST, round(thorough * share))))
