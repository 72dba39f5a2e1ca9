"""What commands print with: consoles, and numbers, times and commands in words.

Invariant: results go to standard output, everything else to standard error; both work without a
terminal, without colour, and in an encoding that knows only ASCII.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

    from ..model import Micros

__all__ = [
    "ago",
    "count",
    "errors",
    "lasting",
    "marks",
    "name",
    "plain",
    "print_json",
    "program",
    "python",
    "results",
    "size",
    "stamp",
    "stand_in_for_closed",
    "tell_error",
]

# Where nobody watches, lines need not be broken for a screen.
_UNWATCHED_WIDTH = 160
_SCRIPT = "osipi-connector"
_LAST_SECOND = 253_402_300_799  # of the year 9999


def results() -> Console:
    """Standard output."""
    return _console(sys.stdout)


def errors() -> Console:
    """Standard error."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    if isinstance(stream, io.TextIOWrapper) and (
        stream.errors == "strict" or (stream.errors == "backslashreplace" and stream.isatty())
    ):
        # A tag's name must not end a run because the terminal lacks a letter, nor take more room than it seems to.
        stream.reconfigure(errors="replace")
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else _UNWATCHED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, force_jupyter=False)


def tell_error(message: str, hint: str = "") -> None:
    """Say what went wrong, and what to do, in a line each. Needs nothing but click, which may be all there is."""
    colour = False if "NO_COLOR" in os.environ else None
    for word, style, text in (("error", "red", message), ("hint", "cyan", hint)):
        if text:
            click.echo(f"{click.style(word, fg=style, bold=True)}: {plain(text)}", err=True, color=colour)


def print_json(content: Mapping[str, Any]) -> None:
    """The one object that --json promises."""
    click.echo(json.dumps(content, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def stand_in_for_closed() -> None:
    """Put something in the place of streams that were closed by who started us. Else the next file to be opened
    took their number, and what libraries print would go into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - stays for good


def marks(console: Console) -> tuple[str, str, str]:
    """Signs for: well, not well, not tried."""
    return ("ok", "!!", "--") if console.options.ascii_only else ("\N{CHECK MARK}", "\N{BALLOT X}", "\N{EN DASH}")


def name() -> str:
    """What this program is called in its own help."""
    return _SCRIPT if Path(sys.argv[0]).stem == _SCRIPT else "python -m engine"


def program(arguments: Sequence[str] = ()) -> str:
    """A command line of this program, ready to copy: started as it was started now."""
    script = Path(sys.argv[0])
    if script.stem == _SCRIPT:
        return shlex.join([*_as_found(_SCRIPT, script), *arguments])
    return shlex.join([*_as_found("python", Path(sys.executable)), "-m", "engine", *arguments])


def python(code: str) -> str:
    """A command line that runs `code` in the Python at work, ready to copy."""
    return shlex.join([*_as_found("python", Path(sys.executable)), "-c", code])


def _as_found(name: str, file: Path) -> list[str]:
    """How to call a program: through uv if we were, by name if the PATH leads to it, else by its path."""
    if "UV_RUN_RECURSION_DEPTH" in os.environ:
        return ["uv", "run", name]
    found = shutil.which(name)
    if found is not None and Path(found).absolute() == file.absolute():
        return [name]
    here = Path.cwd()
    return [str(file.absolute().relative_to(here) if file.absolute().is_relative_to(here) else file.absolute())]


def reason(tag: str, error: str) -> str:
    """Why a tag failed, without saying its name again."""
    return plain(error.removeprefix(f"tag {tag}: "))


def plain(text: str) -> str:
    """Text of a server without what would steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def count(number: float, noun: str = "") -> str:
    """`1 tag`, `1,000 tags`."""
    text = f"{number:,.0f}"
    return text if not noun else f"{text} {noun}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Bytes in the unit that leaves few digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def lasting(secs: float) -> str:
    """A duration in its two largest units."""
    if secs < 10:
        return f"{secs:.1f} s"
    whole = round(secs)
    for unit, length, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit} {rest} {smaller}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"


def ago(secs: float) -> str:
    """How long ago, or, for a clock that runs behind, ahead."""
    return f"{lasting(secs)} ago" if secs >= 0 else f"{lasting(-secs)} ahead of this machine's clock"


def stamp(at: Micros | None) -> str:
    """A time to the second, UTC, of the years 1 to 9999."""
    if at is None:
        return "never"
    seconds = min(max(at // 1_000_000, -62_135_596_800), 253_402_300_799)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
