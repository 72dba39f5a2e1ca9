"""Carries out `status`: reads the tables, and prints how far the pipeline is and what is wrong."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

import click
from rich.console import Console

from ... import clock
from ..exit_status import CommandResult
from ..options import load_config
from ..terminal import print_json, stdout_console
from .compute import Status, read_status
from .gaps import Gaps
from .render import as_dict, gaps_as_dict, print_gaps, print_headline, print_status
from .watch import screen, watch


def main(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    limit: int,
    gaps: bool,
    max_age: timedelta | None,
    watch_secs: int | None,
    datasets: str | None,
    json_wanted: bool,
) -> CommandResult:
    if watch_secs is not None and json_wanted:
        raise click.UsageError("--watch draws for people: it goes without --json")
    config = load_config(path, overrides, datasets=datasets).config
    console = stdout_console()

    def read() -> tuple[Status, Gaps | None]:
        return read_status(config, clock.wall_micros(), max_age=max_age, gaps=gaps)

    if watch_secs is not None:
        with screen(console) as show:
            status, _ = watch(
                read,
                lambda found, trouble: show(found[0], partial(_draw, *found, limit=limit), trouble),
                partial(time.sleep, watch_secs),
            )
        return result_of(status)
    status, open_gaps = read()
    if json_wanted:
        print_json(as_dict(status) | ({} if open_gaps is None else {"gaps": gaps_as_dict(open_gaps)}))
    else:
        _draw(status, open_gaps, console, limit=limit)
    return result_of(status)


def _draw(status: Status, gaps: Gaps | None, console: Console, *, limit: int) -> None:
    if gaps is None:
        print_status(console, status, limit)
    else:
        print_headline(console, status)
        print_gaps(console, gaps, limit)


def result_of(status: Status) -> CommandResult:
    """How the command ends: with 0 if all is well."""
    if status.health.well:
        return CommandResult()
    return CommandResult(1, f"status: pipeline {status.pipeline}: {status.health.headline}")
