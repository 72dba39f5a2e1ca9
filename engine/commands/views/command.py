"""`views`: its subcommands, options and help."""

from __future__ import annotations

from typing import Any

import click

from ..exit_status import CommandResult
from ..options import GroupWithExamples, configured, examples


@click.group(
    cls=GroupWithExamples,
    epilog=examples(
        "python -m engine views show -c plant.yaml",
        "python -m engine views create -c plant.yaml --warehouse 1234567890abcdef",
    ),
)
def views() -> None:
    """Views that join the tables.

    Events by asset, events within frames, current values, freshness by unit, progress by tag.
    """


@views.command(
    epilog=examples(
        "python -m engine views show -c plant.yaml",
        "python -m engine views show pi_current_values -c plant.yaml",
    )
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@configured
def show(**options: Any) -> CommandResult:
    """Print the statements that create the views, with the names of the configured tables."""
    from .main import show as main

    return main(**options)


@views.command(
    epilog=examples(
        "python -m engine views create -c plant.yaml --warehouse 1234567890abcdef",
        "python -m engine views create pi_tag_progress -c plant.yaml --warehouse 1234567890abcdef",
    )
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--warehouse", required=True, metavar="ID", help="ID of the SQL warehouse that creates them.")
@configured
def create(**options: Any) -> CommandResult:
    """Create the views in Unity Catalog, or replace them.

    A SQL warehouse carries out the statements. The account needs CREATE TABLE in the schema of the tables.
    """
    from .main import create as main

    return main(**options)
