"""Commands as wheel tasks of Databricks: functions that return, or raise what went wrong.

A task runs inside IPython, where an event loop is already running, and where `sys.exit`, even with 0, counts as a
failure. A task returns only if everything is done. Otherwise, also after an interruption, it raises one sentence. (A run
that follows is done when it is asked to stop.)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .cli import invoke
from .commands.exit_status import EXIT_USAGE, CommandResult, exit_status_of
from .commands.terminal import print_error, print_traceback
from .import_check import shadowed_package
from .telemetry.formats import printable

_PROGRAM = "osipi-connector"


class TaskFailedError(Exception):
    """The task left something undone. `exit_code` is that of the command line."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(printable(message))
        self.exit_code = exit_code

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: no stack trace, which would hide the sentence."""
        return [f"{type(self).__name__}: {self}"]


def run(arguments: Sequence[str] | None = None) -> None:
    """The command `run`; by default with the arguments of the process. Raises `TaskFailedError`."""
    _call("run", arguments)


def check(arguments: Sequence[str] | None = None) -> None:
    """The command `check`. Raises `TaskFailedError`."""
    _call("check", arguments)


def maintain(arguments: Sequence[str] | None = None) -> None:
    """The command `maintain`. Raises `TaskFailedError`."""
    _call("maintain", arguments)


def verify(arguments: Sequence[str] | None = None) -> None:
    """The command `verify`. Raises `TaskFailedError`."""
    _call("verify", arguments)


def _call(command: str, arguments: Sequence[str] | None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    problem = shadowed_package()
    if problem is not None:
        raise TaskFailedError(f"{problem.sentence}. {problem.hint}", EXIT_USAGE)
    failure = _failure(command, given)
    if failure is not None:
        # Raised outside of the except block: no traceback of ours hides the sentence, and no cause adds to it.
        raise failure


def _failure(command: str, given: list[str]) -> TaskFailedError | None:
    try:
        result = _invoke(command, given)
    except BaseException as error:  # noqa: BLE001 - every error fails the task, with one sentence
        end = exit_status_of(error)
        if end.exit_code == 0:
            return None
        if "--debug" in given:
            print_traceback(error)
        print_error(end.message, end.hint)
        sentence = f"{end.message} ({end.hint})" if end.hint else end.message
        return TaskFailedError(f"{command}: {sentence}", end.exit_code)
    if result.exit_code == 0:
        return None
    return TaskFailedError(result.failure or f"{command}: exit code {result.exit_code}", result.exit_code)


def _invoke(command: str, given: list[str]) -> CommandResult:
    """`run` and `verify` handle interruptions and the event loop themselves. Other commands start a loop of their own,
    so they run in a thread.
    """
    if command in {"run", "verify"}:
        return invoke([command, *given], _PROGRAM)
    with ThreadPoolExecutor(1, thread_name_prefix="osipi-task") as pool:
        return pool.submit(invoke, [command, *given], _PROGRAM).result()
