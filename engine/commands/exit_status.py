"""How a command ends: its exit code, and what to say about an error."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

import click

from ..import_check import ROOT, missing_package

EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

_BUG_HINT = (
    "Please report it, with the output of the same command with --debug (look through it for secrets first). "
    "The tables are intact; the next run continues where this one stopped."
)
_OUTPUT_HINT = "Only the output is lost; the work of the command is done."


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command returns. `failure` is one sentence on what is wrong; the command has already printed it."""

    exit_code: int = 0
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a command ends that raised an error. The message is empty where there is nothing to print."""

    exit_code: int
    message: str = ""
    hint: str = ""
    status: str = "failed"


def exit_status_of(error: BaseException) -> ExitStatus:
    """Map an error to an exit code and a message.

    Of an error that is not ours only the class and the place are shown: its text may hold a password.
    """
    match error:
        case click.exceptions.Exit():
            return ExitStatus(error.exit_code)
        case KeyboardInterrupt() | click.Abort():
            message = "interrupted; what was complete is in the tables, the next run continues there"
            return ExitStatus(EXIT_INTERRUPTED, message, status="interrupted")
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else ""
            hint = f"`{where} --help` lists the options." if where else ""
            return ExitStatus(EXIT_USAGE, error.format_message(), hint)
        case SystemExit():  # click and rich raise it, too, when the output is not read any more
            return ExitStatus(error.code if isinstance(error.code, int) else 1)
        case BrokenPipeError():
            return ExitStatus(1)
        case OSError() if _while_printing(error):
            return ExitStatus(1, f"the output cannot be written: {error.strerror}", _OUTPUT_HINT)
        case ModuleNotFoundError() if (problem := missing_package(error)) is not None:
            return ExitStatus(EXIT_USAGE, problem.sentence, problem.hint)
        case _:
            return _of_command(error)


def _while_printing(error: OSError) -> bool:
    """Whether click or rich raised it: the disk of the output is full, or the terminal is gone."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).partition(".")[0] in {"click", "rich"}


def _of_command(error: BaseException) -> ExitStatus:
    from config.errors import ExtractError  # not at the top: --help does not need it

    if isinstance(error, ExtractError):
        return ExitStatus(error.exit_code, error.message, error.hint)
    return ExitStatus(EXIT_BUG, f"this is a bug: {type(error).__name__}{_place(error)}", _BUG_HINT)


def _place(error: BaseException) -> str:
    """The last line of our own code in the traceback."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(ROOT)]
    ours = [frame for frame in ours if "site-packages" not in Path(frame.filename).relative_to(ROOT).parts]
    if not ours:
        return ""
    return f" in {Path(ours[-1].filename).relative_to(ROOT).as_posix()}, line {ours[-1].lineno}"
