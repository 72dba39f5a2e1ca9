"""What a command found, as notebooks show it: the text that the command line prints, in colour where there is colour."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.console import Console

from ..telemetry.console import PrintableConsole
from ..telemetry.report import RunFailedError
from .exit_status import CommandResult

T = TypeVar("T")
_WIDTH = 120
_FORMAT = '<pre style="white-space:pre;overflow-x:auto;line-height:1.3;font-family:monospace">{code}</pre>'


@dataclass(frozen=True, slots=True, repr=False)
class Shown(Generic[T]):
    """What a command `found`, and how it ended. Shows itself as text, and in a notebook as HTML.

    `draw` prints it on a console; `content` is what the command gives with --json.
    """

    found: T
    result: CommandResult
    content: Mapping[str, Any]
    draw: Callable[[Console], None]

    @property
    def well(self) -> bool:
        """Whether the command would end with exit code 0."""
        return self.result.exit_code == 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: what the command prints with --json."""
        return dict(self.content)

    def raise_for_status(self) -> None:
        """Raise `RunFailedError` with one sentence unless all is well."""
        if not self.well:
            raise RunFailedError(self.result.failure or f"exit code {self.result.exit_code}").with_hint()

    def __repr__(self) -> str:
        console = self._drawn()
        return "\n".join(line.rstrip() for line in console.export_text().splitlines())

    def _repr_html_(self) -> str:
        return self._drawn().export_html(inline_styles=True, code_format=_FORMAT)

    def _drawn(self) -> PrintableConsole:
        console = PrintableConsole(
            file=io.StringIO(), width=_WIDTH, record=True, force_terminal=True, highlight=False, markup=False,
            emoji=False, force_jupyter=False, color_system="standard",
        )  # fmt: skip
        self.draw(console)
        return console
