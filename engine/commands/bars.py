"""Pictures of one line: a column for each stretch of time.

Invariant: only what is whole is drawn as whole, and only what is empty as empty, however close it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..model import Micros
from ..plan.timeline import SECOND
from .terminal import lasting, stamp

__all__ = ["span", "strip", "timeline"]

_HEIGHTS, _DIGITS = "▁▂▃▄▅▆▇", "123456789"


def timeline(console: Console, start: Micros, step: Micros, shares: Sequence[float | None], *, good: bool) -> Text:
    """The columns with the times at both ends, and how long one of them is."""
    end = start + step * len(shares)
    return Text.assemble(
        f"  {_minute(start)} ", strip(console, shares, good=good), f" {_minute(end)}  (each {lasting(step / SECOND)})"
    )


def strip(console: Console, shares: Sequence[float | None], *, good: bool) -> Text:
    """A column a share, from nothing (0) to all (1); None leaves a blank. `good`: whether much is good."""
    ascii_only = bool(console.options.ascii_only)
    return Text.assemble(*(_column(share, good=good, ascii_only=ascii_only) for share in shares))


def _column(share: float | None, *, good: bool, ascii_only: bool) -> tuple[str, str]:
    if share is None:
        return " ", ""
    if share <= 0:
        return "." if ascii_only else "·", "red" if good else "green"
    if share >= 1:
        return "#" if ascii_only else "█", "green" if good else "red"
    signs = _DIGITS if ascii_only else _HEIGHTS
    return signs[min(len(signs) - 1, int(share * len(signs)))], "yellow" if good else "red"


def span(start: Micros, end: Micros) -> str:
    """Two times, the second without what it shares with the first: `2026-11-23 10:00 to 10:05`."""
    first, last = _minute(start, end), _minute(end, start)
    if first[:10] == last[:10]:
        last = last[11:]
    return f"{first} to {last}"


def _minute(at: Micros, other: Micros = 0) -> str:
    """A time to the minute, or to the second where it, or what stands beside it, is between two."""
    minute = 60 * SECOND
    return stamp(at)[: 16 if at % minute == other % minute == 0 else 19]
