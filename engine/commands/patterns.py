"""Name patterns as PI takes them: `*` any text, `?` any one character, case ignored. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["matcher"]


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Give a test whether a name matches one of the patterns. `[` and `]` are plain characters, unlike in `fnmatch`."""
    texts = ("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern) for pattern in patterns)
    compiled = [re.compile(text, re.IGNORECASE | re.DOTALL) for text in texts]
    return lambda name: any(pattern.fullmatch(name) for pattern in compiled)
