"""Numbers, sizes, durations, times and server texts as people read them. Light to import."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..model import Micros

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 to 9999


def reason(tag: str, error: str) -> str:
    """Why a tag failed, without its name."""
    return one_line(error).removeprefix(f"tag {one_line(tag)}: ")


def one_line(text: str) -> str:
    """Foreign text in a line: characters that do not show as themselves are replaced, as `config.text` does it."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def printable(text: str) -> str:
    """The same for several lines of ours: line feeds stay."""
    return "\n".join(map(one_line, text.split("\n")))


def json_text(content: Any, *, indent: int | None = None) -> str:
    """JSON with other alphabets as they are, and all that `one_line` would replace as escapes: the values stay exact."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    return "\n".join(line if line.isprintable() else "".join(map(_escaped, line)) for line in text.split("\n"))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]


def count(number: float, noun: str = "") -> str:
    """`1 tag`, `1,000 tags`."""
    text = f"{number:,.0f}"
    return text if not noun else f"{text} {noun}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Bytes in a unit that leaves at most three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def format_duration(secs: float) -> str:
    """A duration in its two largest units."""
    if secs < 10:
        return f"{secs:.1f} s"
    whole = round(secs)
    for unit, length, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit} {rest} {smaller}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"


def format_age(secs: float) -> str:
    """`5 min ago`; "ahead" where this machine's clock is behind."""
    return f"{format_duration(secs)} ago" if secs >= 0 else f"{format_duration(-secs)} ahead of this machine's clock"


def format_time(at: Micros | None) -> str:
    """A time to the second, UTC, of the years 1 to 9999."""
    if at is None:
        return "never"
    seconds = min(max(at // 1_000_000, _FIRST_SECOND), _LAST_SECOND)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
