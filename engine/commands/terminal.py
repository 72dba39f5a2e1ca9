"""Console output for all commands: consoles, errors, tables of facts and command lines.

Results go to standard output, everything else to standard error. Both work without a terminal, without colour, and in
an encoding that has only ASCII. No text that is printed through this module steers a terminal. Light to import.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from ..telemetry.formats import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Of output that goes to no terminal.
_WIDTH = 160
_SCRIPT = "osipi-connector"
MODULE_COMMAND = "python -m engine"


def stdout_console() -> Console:
    return _console(sys.stdout)


def stderr_console() -> Console:
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    if isinstance(stream, io.TextIOWrapper) and (
        stream.errors == "strict" or (stream.errors == "backslashreplace" and stream.isatty())
    ):
        # "?" stands for a letter that the encoding lacks: it must not end a run, nor make a table wider (as "\\u1234" does).
        stream.reconfigure(errors="replace")
    from ..telemetry.console import PrintableConsole

    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH
    return PrintableConsole(file=stream, width=width, highlight=False, markup=False, emoji=False, force_jupyter=False)


def print_error(message: str, hint: str = "") -> None:
    """Print what went wrong and what to do, a line each. Uses click only: other packages may be missing."""
    colour = False if "NO_COLOR" in os.environ else None
    for word, style, text in (("error", "red", message), ("hint", "cyan", hint)):
        if text:
            click.echo(f"{click.style(word, fg=style, bold=True)}: {printable(text)}", err=True, color=colour)


def print_json(content: Mapping[str, Any]) -> None:
    """Print the one object of --json."""
    click.echo(json_text(content, indent=2 if sys.stdout.isatty() else None))


def print_traceback(error: BaseException) -> None:
    """Print the traceback of --debug. Lines of foreign errors stay lines, without control characters."""
    sys.stderr.write(printable("".join(traceback.format_exception(error))))


def replace_closed_streams() -> None:
    """Open the null device for each standard stream that the parent process has closed. Otherwise the next file that
    is opened gets its number, and libraries print into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def status_symbols(console: Console) -> tuple[str, str, str]:
    """The symbols for: passed, failed, skipped."""
    return ("ok", "!!", "--") if console.options.ascii_only else ("\N{CHECK MARK}", "\N{BALLOT X}", "\N{EN DASH}")


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Names and texts in two columns."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(name, text)
    return table


def program_name() -> str:
    """The name of this program in its help."""
    return _SCRIPT if Path(sys.argv[0]).stem == _SCRIPT else MODULE_COMMAND


def command_line(arguments: Sequence[str] = ()) -> str:
    """A command line of this program, ready to copy, that starts it as it was started now."""
    script = Path(sys.argv[0])
    if script.stem == _SCRIPT:
        return _joined([*_executable(_SCRIPT, script), *arguments])
    return _joined([*_executable("python", Path(sys.executable)), "-m", "engine", *arguments])


def python_command_line(code: str) -> str:
    """A command line that runs `code` in this Python, ready to copy."""
    return _joined([*_executable("python", Path(sys.executable)), "-c", code])


def _joined(words: Sequence[str]) -> str:
    """One line for the shell of this system."""
    if os.name != "nt":
        return shlex.join(words)
    from subprocess import list2cmdline

    return list2cmdline(words)


def _executable(name: str, file: Path) -> list[str]:
    """How to start a program: through uv if uv started us, by name if it is on the PATH, else by its path."""
    if "UV_RUN_RECURSION_DEPTH" in os.environ:
        return ["uv", "run", name]
    found = shutil.which(name)
    if found is not None and Path(found).absolute() == file.absolute():
        return [name]
    here = Path.cwd()
    return [str(file.absolute().relative_to(here) if file.absolute().is_relative_to(here) else file.absolute())]
