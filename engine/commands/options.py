"""Options that commands share, and what becomes of them: a configuration. Light to import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from config import Loaded

__all__ = ["as_json", "configured", "debugging", "examples", "loaded", "same_place"]


def examples(*lines: str) -> str:
    """The end of a command's help, as written."""
    return "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))


Command = TypeVar("Command", bound=Callable[..., Any])
_DEBUG = "osipi.debug"


def _note_debug(context: click.Context, _option: click.Parameter, value: bool) -> None:
    context.meta[_DEBUG] = value


def debuggable(command: Command) -> Command:
    """Give a command `--debug`."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_note_debug,
        help="Log more, and show where an error comes from.",
    )(command)


def configured(command: Command) -> Command:
    """Give a command `-c`, `--set` and `--debug`."""
    config = click.option(
        "-c",
        "--config",
        "path",
        metavar="FILE",
        help="YAML configuration. Without it: 1,000 simulated tags into ./lakehouse.",
    )
    overrides = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change one key, for example --set extraction.lag=5s. May be repeated.",
    )
    return config(overrides(debuggable(command)))


as_json = click.option(
    "--json", "json_wanted", is_flag=True, help="Print one JSON object, and nothing else, to stdout."
)


def debugging() -> bool:
    """Whether --debug was given to the command at work."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_DEBUG))


def loaded(path: str | None, overrides: Sequence[str], console: Console | None = None) -> Loaded:
    """Read the configuration, set up logging as it says, and log what it warns of.

    Who shows more than the log on standard error gives the `console`, so that they do not get mixed up.

    Raises `ConfigurationError`.
    """
    import logging

    from config import load

    from ..telemetry.log import set_up_logging
    from .terminal import errors

    found = load(path, overrides)
    monitoring = found.config.monitoring
    level = "debug" if debugging() else monitoring.log_level
    set_up_logging(console or errors(), level=level, as_json=monitoring.log_format == "json")
    for warning in found.warnings:
        logging.getLogger("osipi.config").warning(warning)
    return found


def same_place(path: str | None, overrides: Sequence[str]) -> tuple[str, ...]:
    """The arguments with which another command looks at the same tables. Other overrides may hold secrets."""
    where = ("pipeline=", "storage.root=", "unity_catalog.")
    kept = [part for text in overrides if text.startswith(where) for part in ("--set", text)]
    return (*(("-c", path) if path else ()), *kept)
