"""`af`: its subcommands, options and help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..exit_status import CommandResult
from ..options import GroupWithExamples, as_json, command, configured, examples

Command = TypeVar("Command", bound=Callable[..., Any])

_database = click.option(
    "--database", metavar="NAME", help="AF database: name, path or WebID. Without it: the one that is configured."
)
_csv = click.option(
    "--csv",
    "csv_wanted",
    is_flag=True,
    help="Print all columns as CSV to stdout, and nothing else. A text that a spreadsheet would take for a formula gets an apostrophe in front.",
)
_limit = click.option(
    "--limit", type=click.IntRange(min=0), help="Most lines to print; 0: all.  [default: 50; all with --json and --csv]"
)


def _listing(command: Command) -> Command:
    return configured(_limit(as_json(_csv(command))))


@click.group(
    cls=GroupWithExamples,
    epilog=examples(
        "python -m engine af databases -c plant.yaml",
        "python -m engine af elements -c plant.yaml",
        r"python -m engine af elements 'Site 01\Unit 02' -c plant.yaml",
        r"python -m engine af attributes 'Site 01\Unit 02' -c plant.yaml",
    ),
)
def af() -> None:
    r"""Look at the asset framework of the server.

    Databases, elements, and attributes with their values.
    Nothing is written. Paths are relative to the database, or begin with \\SERVER\Database.
    """


@af.command(
    epilog=examples(
        "python -m engine af databases -c plant.yaml",
        "python -m engine af databases -c plant.yaml --json",
    )
)
@_listing
def databases(**options: Any) -> CommandResult:
    """List the AF databases that the account can see."""
    from .main import databases as main

    return main(**options)


@af.command(
    epilog=examples(
        "python -m engine af elements -c plant.yaml",
        r"python -m engine af elements 'Site 01\Unit 02' -c plant.yaml",
        "python -m engine af elements -c plant.yaml --all-levels --template Pump --csv",
    )
)
@click.argument("element", metavar="[PATH]", default="")
@_database
@click.option("--all-levels", is_flag=True, help="List everything below, not only the next level.")
@click.option("--name", "name_filter", metavar="PATTERN", help="Only elements whose name fits, with * and ?.")
@click.option("--template", metavar="NAME", help="Only elements of this template, or of one derived from it.")
@_listing
def elements(**options: Any) -> CommandResult:
    """List the elements below an element, or below the database."""
    from .main import elements as main

    return main(**options)


@af.command(
    epilog=examples(
        r"python -m engine af attributes 'Site 01\Unit 02' -c plant.yaml",
        r"python -m engine af attributes 'Site 01\Unit 02' -c plant.yaml --json",
    )
)
@click.argument("element", metavar="PATH")
@_database
@click.option("--hidden", is_flag=True, help="List hidden and excluded attributes, too.")
@_listing
def attributes(**options: Any) -> CommandResult:
    """List the attributes of an element with their current values."""
    from .main import attributes as main

    return main(**options)


@command(
    "python -m engine frames -c plant.yaml",
    "python -m engine frames -c plant.yaml --start now-7d --template Downtime",
    "python -m engine frames -c plant.yaml --start 2024-03-01T00:00:00Z --end 2024-04-01T00:00:00Z --csv",
)
@click.option(
    "--start",
    default="now-1d",
    metavar="TIME",
    help="Frames active from here on, for example now-7d.  [default: now-1d]",
)
@click.option("--end", default="now", metavar="TIME", help="Up to here.  [default: now]")
@click.option("--template", metavar="NAME", help="Only frames of this template, or of one derived from it.")
@_database
@_listing
def frames(**options: Any) -> CommandResult:
    """List the event frames that were active in a time. Nothing is written."""
    from .main import frames as main

    return main(**options)
