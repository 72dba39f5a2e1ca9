"""Commands as a Databricks wheel task calls them: a function that returns, or raises what went wrong.

The task runs inside IPython, where an event loop is at work already and `sys.exit`, even with 0, counts
as a failure. Invariant: returning means that everything is done; what is
left undone, an interruption included, is an exception with one sentence that names it. (A run that
follows is done when it is told to stop.)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .cli import commands
from .commands.terminal import tell_error
from .commands.verdict import verdict_on
from .ownership import shadowed

__all__ = ["TaskFailedError", "check", "maintain", "run", "verify"]

_PROGRAM = "osipi-connector"


class TaskFailedError(Exception):
    """The task did not do all it was to do. `exit_code` is what the command line would have ended with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(arguments: Sequence[str] | None = None) -> None:
    """Run with the arguments of `run`, by default those of the process. Raises `TaskFailedError`."""
    _carry_out("run", arguments)


def check(arguments: Sequence[str] | None = None) -> None:
    """Check from here, with the arguments of `check`. Raises `TaskFailedError`."""
    _carry_out("check", arguments)


def maintain(arguments: Sequence[str] | None = None) -> None:
    """Look after the tables, with the arguments of `maintain`. Raises `TaskFailedError`."""
    _carry_out("maintain", arguments)


def verify(arguments: Sequence[str] | None = None) -> None:
    """Compare, and mend where that is wished, with the arguments of `verify`. Raises `TaskFailedError`."""
    _carry_out("verify", arguments)


def _carry_out(command: str, arguments: Sequence[str] | None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    stranger = shadowed()
    if stranger is not None:
        raise TaskFailedError(f"{stranger.sentence}. {stranger.hint}", 2)
    failure = _failure(command, given)
    if failure is not None:
        # Raised out here, so that no traceback of ours hides the sentence, and no cause carries more than it says.
        raise failure


def _failure(command: str, given: list[str]) -> TaskFailedError | None:
    try:
        found = _called([command, *given])
    except BaseException as error:  # noqa: BLE001 - the outermost place: whatever it is fails the task, once, in words
        verdict = verdict_on(error)
        if verdict.exit_code == 0:
            return None  # --help
        if "--debug" in given:
            import traceback

            traceback.print_exception(error, file=sys.stderr)
        tell_error(verdict.message, verdict.hint)
        return TaskFailedError(_sentence(f"{command}: {verdict.message}", verdict.hint), verdict.exit_code)
    if hasattr(found, "failure"):
        said = found.failure()
        return None if said is None else TaskFailedError(said, found.exit_code)
    return TaskFailedError(f"{command}: something must be put right; see above", found) if found else None


def _called(arguments: list[str]) -> Any:
    """What a command gives back. `run` and `verify` see to interruptions and to the loop themselves; others get a
    thread of their own, for they start a loop where one is at work.
    """
    if arguments[0] in {"run", "verify"}:
        return commands.main(arguments, prog_name=_PROGRAM, standalone_mode=False)
    with ThreadPoolExecutor(1, thread_name_prefix="osipi-task") as pool:
        return pool.submit(commands.main, arguments, prog_name=_PROGRAM, standalone_mode=False).result()


def _sentence(message: str, hint: str) -> str:
    return f"{message} ({hint})" if hint else message
