"""Name filters: `*` any text, `?` any one character, case ignored. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=256)
def wildcard(pattern: str) -> Callable[[str], bool]:
    """A test for names. `[` and `]` are plain characters, unlike in `fnmatch`."""
    parts = (".*" if sign == "*" else "." if sign == "?" else re.escape(sign) for sign in pattern)
    compiled = re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None
