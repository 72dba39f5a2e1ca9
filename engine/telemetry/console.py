"""The console of rich that every command and every display uses.

Invariant: no character of a text reaches the stream that is not printable. What steers the terminal comes from rich.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.protocol import rich_cast
from rich.segment import Segment
from rich.text import Text

from .formats import one_line


class PrintableConsole(Console):
    """Replaces control characters of texts where rich turns them into pieces of lines, in cells of tables too."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        renderable = rich_cast(renderable)
        if isinstance(renderable, str):
            renderable = one_line(renderable)
        elif isinstance(renderable, Text) and not renderable.plain.isprintable():
            renderable = renderable.copy()
            renderable.plain = one_line(renderable.plain)  # of the same length: styles stay where they are
        return super().render(renderable, options)
