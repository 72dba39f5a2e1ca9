"""docs/reference/glossary.md: the words of ARCHITECTURE.md, in the order of the alphabet."""

from __future__ import annotations

import re
from pathlib import Path

from .markdown import MADE, table

_ARCHITECTURE = Path(__file__).resolve().parents[2] / "ARCHITECTURE.md"
_HEAD = f"""{MADE}

# Glossary

Each word has one meaning, in code, messages and documents.
"""


def words() -> list[tuple[str, str]]:
    """Each word with its meaning."""
    listed = _ARCHITECTURE.read_text(encoding="utf-8").partition("\n## Words\n")[2]
    found = re.findall(r"^\| (.+?) \| (.+) \|$", listed, flags=re.MULTILINE)
    return sorted(found[1:], key=lambda pair: pair[0].lower())  # the first row is the head


def page() -> str:
    """The page."""
    return "\n".join([_HEAD, table(("word", "meaning"), words()), ""])
