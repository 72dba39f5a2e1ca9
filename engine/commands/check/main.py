"""Carries out `check`: prints each check, and what to do about a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ...telemetry.formats import count, one_line
from ..exit_status import CommandResult
from ..options import load_config, table_options
from ..terminal import command_line, print_json, status_symbols, stdout_console
from .probes import CheckResult, run_checks

_NAME_WIDTH = 14
_STATUSES: Mapping[bool | None, str] = {True: "passed", False: "failed", None: "skipped"}


def main(*, path: str | None, overrides: tuple[str, ...], alerts: bool, json_wanted: bool) -> CommandResult:
    config = load_config(path, overrides).config
    console = stdout_console()
    results: list[CheckResult] = []

    def show(result: CheckResult) -> None:
        results.append(result)
        if not json_wanted:
            print_result(console, result)

    asyncio.run(run_checks(config, show, alerts=alerts))
    ended = result_of(results)
    if json_wanted:
        print_json(results_dict(config.pipeline, results, ended))
    elif ended.failure is not None:
        console.print(_summary(results), style="bold", soft_wrap=True)
    else:
        next_command = command_line(("run", *table_options(path, overrides)))
        console.print(f"All checks passed. Next: {next_command}", style="bold", soft_wrap=True)
    return ended


def result_of(results: Sequence[CheckResult]) -> CommandResult:
    """The exit code is that of the first check that failed."""
    first = next((result for result in results if result.passed is False), None)
    if first is None:
        return CommandResult()
    return CommandResult(first.exit_code, f"check: {_summary(results)} {first.name}: {one_line(first.text)}")


def _summary(results: Sequence[CheckResult]) -> str:
    return f"{count(sum(result.passed is False for result in results), 'check')} failed."


def results_dict(pipeline: str, results: Sequence[CheckResult], ended: CommandResult) -> dict[str, Any]:
    """The results as JSON values."""
    return {
        "pipeline": pipeline,
        "status": "passed" if ended.exit_code == 0 else "failed",
        "exit_code": ended.exit_code,
        "checks": [
            {"name": one.name, "status": _STATUSES[one.passed], "text": one.text, "hint": one.hint or None}
            for one in results
        ],
    }


def print_result(console: Console, result: CheckResult) -> None:
    """Print one check, and what to do if it failed."""
    passed, failed, skipped = status_symbols(console)
    symbol, style = {True: (passed, "bold green"), False: (failed, "bold red"), None: (skipped, "dim")}[result.passed]
    line = Text.assemble((symbol, style), " ", (f"{result.name:{_NAME_WIDTH}}", "bold"), result.text)
    console.print(line, soft_wrap=True)
    if result.hint:
        indent = " " * (len(symbol) + 1 + _NAME_WIDTH)
        console.print(Text.assemble(indent, ("what to do: ", "cyan"), result.hint), soft_wrap=True)
