"""Carries out `report`: reads the tables, and writes the page."""

from __future__ import annotations

from pathlib import Path

import click

from config import check_runnable
from config.errors import ConfigurationError

from ... import clock
from ...telemetry.formats import one_line
from ..exit_status import CommandResult
from ..options import load_config
from .compute import read_report
from .page import page


def main(
    *, path: str | None, overrides: tuple[str, ...], file: str, tag: str | None, days: int, datasets: str | None
) -> CommandResult:
    config = load_config(path, overrides, datasets=datasets).config
    if tag is not None:
        check_runnable(config)  # PI is asked for its counts
    report = read_report(config, clock.wall_micros(), days=days, tag=tag)
    text = page(report)
    if file == "-":
        click.echo(text, nl=False)
        return CommandResult()
    _write(Path(file), text)
    click.echo(one_line(f"{file}: pipeline {report.status.pipeline}: {report.status.health.headline}"))
    return CommandResult()


def _write(file: Path, text: str) -> None:
    """Replace the file in one step: a browser or a web server never meets half of a page."""
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be written: {error.strerror or type(error).__name__}",
            hint="Give another path with --html.",
        ) from None
