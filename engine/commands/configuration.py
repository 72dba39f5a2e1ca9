"""`config schema | show | validate`: the configuration itself, without a run."""

from __future__ import annotations

import click

from ..telemetry.formats import one_line, printable
from .exit_status import CommandResult
from .options import GroupWithExamples, configured, examples, load_config


@click.group(cls=GroupWithExamples, epilog=examples("python -m engine config validate -c plant.yaml"))
def config() -> None:
    """Show, check and describe configurations."""


@config.command(epilog=examples("python -m engine config schema > schema.json"))
def schema() -> CommandResult:
    """Print the JSON schema of the configuration, for editors and for people."""
    from config import json_schema_text

    click.echo(json_schema_text(), nl=False)
    return CommandResult()


@config.command(epilog=examples("python -m engine config show -c plant.yaml --set extraction.mode=full"))
@configured
def show(path: str | None, overrides: tuple[str, ...]) -> CommandResult:
    """Print the configuration in effect, with defaults filled in and secrets masked."""
    import yaml

    from config import masked

    shown = masked(load_config(path, overrides).config)
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=10_000)
    if text != printable(text):  # some letter does not show as itself: all that are not ASCII are escaped
        text = yaml.safe_dump(shown, sort_keys=False, width=10_000)
    click.echo(text, nl=False)
    return CommandResult()


@config.command(epilog=examples("python -m engine config validate -c plant.yaml"))
@configured
def validate(path: str | None, overrides: tuple[str, ...]) -> CommandResult:
    """Check whether a run could start with this configuration.

    Connects to nothing, and looks up no secret: neither in a secret scope, nor in the environment or a file.
    """
    from config import check_runnable

    from ..datasets.registry import DATASETS

    found = load_config(path, overrides, secrets=False)
    check_runnable(found.config)
    DATASETS.chosen_by(found.config)
    click.echo(f"{one_line(found.source)} is valid; `check` also tries it out")
    return CommandResult()
