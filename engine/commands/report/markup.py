"""Builds HTML and SVG of which no foreign text can become a part. Pure.

Invariant: text is escaped unless it was built here. So names from PI may hold tags, quotes and control characters.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ...telemetry.formats import one_line

# Elements that have no end tag in HTML. The slash lets an XML parser read the page, too.
_VOID = frozenset({"meta", "br"})


class Html(str):
    """Markup that was built here."""

    __slots__ = ()


def text(content: str) -> Html:
    """Text as markup: escaped, on one line, without characters that do not show."""
    return Html(escape(one_line(content), quote=True))


def element(tag: str, /, *children: str, **attributes: str | float | None) -> Html:
    """An element. Children that are `Html` stay as they are, all others are escaped.

    Attributes: `class_` is `class`, `stroke_width` is `stroke-width`; those that are None are left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{given}/>")
    return Html(f"<{tag}{given}>{joined(children)}</{tag}>")


def joined(parts: Iterable[str]) -> Html:
    """Parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
