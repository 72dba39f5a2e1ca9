"""How many examples a property test tries: all of them with the profile `thorough`, by default a tenth."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples"]

_FEWEST = 2


def examples(thorough: int) -> settings:
    """Settings with this number of examples under the profile `thorough`, and with its share under another."""
    share = settings().max_examples / 100
    return settings(max_examples=min(thorough, max(_FEWEST, round(thorough * share))))
