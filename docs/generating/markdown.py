"""Pieces of Markdown that GitHub and the site show alike. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

MADE = "<!-- Made by `make docs` from the code. Change the code, and not this page. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown, and may hold a `|`."""
    lines = [_row(head), "|" + "---|" * len(head), *(_row([cell(text) for text in row]) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(text: str) -> str:
    """`text` without what would end a cell."""
    one_line = " ".join(text.split())
    # In `code`, an entity would be shown as it is written.
    in_code = re.sub(
        r"`([^`]*[|][^`]*)`",
        lambda code: f"<code>{escape(code[1], quote=False)}</code>".replace("|", "&#124;"),
        one_line,
    )
    return in_code.replace("|", "&#124;")


def code(text: str) -> str:
    """`text` as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def anchor(heading: str, separator: str = "-") -> str:
    """Where a heading is found, as GitHub makes it: `A name: "x .."` is at `#a-name-x-`."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", separator)


def prose(text: str) -> str:
    """The text of a docstring as Markdown: what could be taken for HTML or emphasis is shown as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<*])", r"\\\1", part) for part in parts)
