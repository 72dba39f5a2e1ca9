"""Charts of one line: a column for each period.

A column is drawn full only if its share is 1, and empty only if it is 0, however close the share is.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..model import Micros
from ..plan.timeline import SECOND
from ..telemetry.formats import format_duration, format_time

_HEIGHTS, _DIGITS = "▁▂▃▄▅▆▇", "123456789"


def timeline(console: Console, start: Micros, step: Micros, shares: Sequence[float | None], *, good: bool) -> Text:
    """The columns, with the times at both ends and the length of one column."""
    end = start + step * len(shares)
    return Text.assemble(
        f"  {_minute(start)} ",
        strip(console, shares, good=good),
        f" {_minute(end)}  (each {format_duration(step / SECOND)})",
    )


def strip(console: Console, shares: Sequence[float | None], *, good: bool) -> Text:
    """A column for each share from 0 to 1; None leaves a blank. `good`: whether a high share is good."""
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
    """Two times, the second without the date if it is the same: `2026-11-23 10:00 to 10:05`."""
    first, last = _minute(start, end), _minute(end, start)
    if first[:10] == last[:10]:
        last = last[11:]
    return f"{first} to {last}"


def _minute(at: Micros, other: Micros = 0) -> str:
    """A time to the minute, or to the second unless both times are whole minutes."""
    minute = 60 * SECOND
    return format_time(at)[: 16 if at % minute == other % minute == 0 else 19]
