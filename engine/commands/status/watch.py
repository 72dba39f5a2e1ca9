"""Shows the status again and again, until Ctrl-C: redrawn in place on a terminal, a line each time without one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from config.errors import ExtractError

from ... import clock
from ...telemetry.console import PrintableConsole
from ...telemetry.formats import format_time
from .compute import Status

Found = TypeVar("Found")
# Shows a status, drawn by a callable, and why it could not be read again, if it could not.
Show: TypeAlias = Callable[[Status, Callable[[Console], None], str], None]


def watch(read: Callable[[], Found], show: Callable[[Found, str], None], wait: Callable[[], None]) -> Found:
    """Read and show until Ctrl-C; gives what was read last.

    Raises `ExtractError` if it cannot be read the first time. Later, the reason is shown, and it is read again.
    """
    found, trouble = read(), ""
    try:
        while True:
            show(found, trouble)
            wait()
            try:
                found, trouble = read(), ""
            except ExtractError as error:
                trouble = error.message
    except KeyboardInterrupt:
        return found


@contextmanager
def screen(console: Console) -> Iterator[Show]:
    """What shows it: in place on a terminal, else a line for each time."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda status, _draw, trouble: console.print(Text(_line(status, trouble)), soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as live:

        def redraw(_status: Status, draw: Callable[[Console], None], trouble: str) -> None:
            lines = _drawn(console, draw)
            if trouble:
                lines.append(Text(_cannot(trouble), style="bold red"))
            live.update(Group(*lines), refresh=True)

        yield redraw


def _line(status: Status, trouble: str) -> str:
    if trouble:
        return _cannot(trouble)
    return f"{format_time(status.now)}  pipeline {status.pipeline}: {status.health.headline}"


def _cannot(trouble: str) -> str:
    return f"{format_time(clock.wall_micros())}  cannot be read: {trouble}"


def _drawn(console: Console, draw: Callable[[Console], None]) -> list[Text]:
    """The lines that `draw` prints, with its styles, as wide as the console and in its encoding."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=console.encoding, errors="replace")
    page = PrintableConsole(
        file=out, force_terminal=True, width=console.width, no_color=console.no_color, color_system="standard",
        legacy_windows=False, highlight=False, markup=False, emoji=False, force_jupyter=False,
    )  # fmt: skip
    draw(page)
    out.flush()
    out.seek(0)
    return [Text.from_ansi(line) for line in out.read().rstrip("\n").split("\n")]
