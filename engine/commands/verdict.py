"""From what a command raised to one line, a hint and an exit code. Prints nothing, ends nothing.

Invariant: of an error that is not ours only its class and place are told, for its text may hold
anything, a password included. `--debug` shows all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ..ownership import HOME, missing

__all__ = ["EXIT_BUG", "EXIT_INTERRUPTED", "Verdict", "verdict_on"]

EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

_BUG_HINT = (
    "Please report it, with what the same command prints with --debug (look through it for secrets first). "
    "The tables are whole; running again continues where this run stopped."
)
_OUTPUT_HINT = "Only what there was to say is lost; what was done is done."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to say (nothing, where it was said already) and how to end."""

    exit_code: int
    message: str = ""
    hint: str = ""
    status: str = "failed"


def verdict_on(error: BaseException) -> Verdict:
    """Judge what ended a command."""
    match error:
        case click.exceptions.Exit():
            return Verdict(error.exit_code)
        case KeyboardInterrupt() | click.Abort():
            said = "interrupted; what was complete is in the tables, running again continues there"
            return Verdict(EXIT_INTERRUPTED, said, status="interrupted")
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else ""
            return Verdict(
                EXIT_USAGE, error.format_message(), f"`{where} --help` shows what there is." if where else ""
            )
        case SystemExit():  # also of click and rich, when nobody reads the output any more
            return Verdict(error.code if isinstance(error.code, int) else 1)
        case BrokenPipeError():
            return Verdict(1)
        case OSError() if _while_printing(error):
            return Verdict(1, f"the output cannot be written: {error.strerror}", _OUTPUT_HINT)
        case ModuleNotFoundError() if (found := missing(error)) is not None:
            return Verdict(EXIT_USAGE, found.sentence, found.hint)
        case _:
            return _of_the_product(error)


def _while_printing(error: OSError) -> bool:
    """Whether it comes from what we print with: no room where the output goes, or a terminal that is gone."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and str(place.tb_frame.f_globals.get("__name__")).partition(".")[0] in {"click", "rich"}


def _of_the_product(error: BaseException) -> Verdict:
    from config.errors import ExtractError

    if isinstance(error, ExtractError):
        return Verdict(error.exit_code, error.message, error.hint)
    return Verdict(EXIT_BUG, f"this is a bug: {type(error).__name__}{_place(error)}", _BUG_HINT)


def _place(error: BaseException) -> str:
    """Where in our own code it came from."""
    import traceback

    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(HOME)]
    ours = [frame for frame in ours if "site-packages" not in Path(frame.filename).relative_to(HOME).parts]
    if not ours:
        return ""
    return f" in {Path(ours[-1].filename).relative_to(HOME).as_posix()}, line {ours[-1].lineno}"
