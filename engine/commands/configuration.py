"""`config schema | show | validate`: the configuration itself, without running anything."""

from __future__ import annotations

import click

from .options import configured, examples

__all__ = ["config"]


@click.group(epilog=examples("python -m engine config validate -c plant.yaml"))
def config() -> None:
    """Show, check and describe configurations."""


@config.command(epilog=examples("python -m engine config schema > schema.json"))
def schema() -> int:
    """Print the JSON schema of the configuration, for editors and for people."""
    from config import json_schema_text

    click.echo(json_schema_text(), nl=False)
    return 0


@config.command(epilog=examples("python -m engine config show -c plant.yaml --set extraction.mode=full"))
@configured
def show(path: str | None, overrides: tuple[str, ...]) -> int:
    """Print the configuration in effect, defaults filled in and secrets masked."""
    import yaml

    from config import masked

    from .options import loaded

    shown = masked(loaded(path, overrides).config)
    click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=10_000), nl=False)
    return 0


@config.command(epilog=examples("python -m engine config validate -c plant.yaml"))
@configured
def validate(path: str | None, overrides: tuple[str, ...]) -> int:
    """Say whether a run could start with this configuration. Asks nobody, looks up no secret."""
    from config import check_runnable

    from .options import loaded

    found = loaded(path, overrides)
    check_runnable(found.config)
    click.echo(f"{found.source} is valid; `check` also tries it out")
    return 0
