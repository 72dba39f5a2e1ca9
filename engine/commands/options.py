"""Options that commands share, and the configuration that they load. Light to import."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .terminal import MODULE_COMMAND, stderr_console

if TYPE_CHECKING:
    from rich.console import Console

    from config import Loaded


def examples(*lines: str) -> str:
    """The examples at the end of a command's help, not wrapped. They begin with `python -m engine`."""
    return "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))


class WithExamples(click.Command):
    """A command whose examples show the program as it was typed, and whose errors name the options that are wrong."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Exception as error:  # each of them goes on, under the name of the option where it has one
            named = _named_by_options(error, context.meta.get(_BY_OPTIONS))
            if named is None:
                raise
        raise named

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            typed = context.find_root().info_name or MODULE_COMMAND
            formatter.write_paragraph()
            formatter.write_text(self.epilog.replace(MODULE_COMMAND, typed))


class GroupWithExamples(WithExamples, click.Group):
    """A group of such commands."""

    command_class = WithExamples


def command(*lines: str) -> Callable[[Callable[..., Any]], WithExamples]:
    """Make a command of a function, with these examples."""
    return click.command(cls=WithExamples, epilog=examples(*lines))


Command = TypeVar("Command", bound=Callable[..., Any])
_DEBUG = "osipi.debug"
_BY_OPTIONS = "osipi.by_options"  # the paths of the configuration that options have set, and which
# Options that stand for a key.
_OPTIONS = {
    "extraction.mode": "--mode",
    "extraction.start_date": "--start",
    "extraction.end_date": "--end",
    "extraction.datasets": "--datasets",
}


def _named_by_options(error: Exception, options: Mapping[Any, str] | None) -> Exception | None:
    """An error about the configuration, with the options named that are at fault; None for any other error."""
    if not options:
        return None
    from config.problems import InvalidConfigurationError

    return error.named_by(options) if isinstance(error, InvalidConfigurationError) else None


def _note_debug(context: click.Context, _option: click.Parameter, value: bool) -> None:
    context.meta[_DEBUG] = value


_config = click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(),  # so that shells complete it
    help="YAML configuration. Without it: 1,000 simulated tags into ./lakehouse.",
)
_set = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one key, for example --set extraction.lag=5s. May be repeated.",
)
_debug = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_note_debug,
    help="Log more, and print the traceback of an error.",
)


def configured(command: Command) -> Command:
    """Give a command `-c`, `--set` and `--debug`."""
    return _config(_set(_debug(command)))


as_json = click.option("--json", "json_wanted", is_flag=True, help="Print one JSON object to stdout, and nothing else.")


choosing_datasets = click.option(
    "--datasets",
    metavar="NAMES",
    help="Only these datasets and those they need, for example --datasets recorded,tags. Overrides the key "
    "extraction.datasets. Without both: all.",
)


def name_options(options: Mapping[tuple[str | int, ...], str]) -> None:
    """Name these options in errors of the current command about these paths of the configuration."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_BY_OPTIONS] = options


def _debugging() -> bool:
    """Whether the current command has --debug."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_DEBUG))


def load_config(
    path: str | None,
    overrides: Sequence[str],
    console: Console | None = None,
    *,
    datasets: str | None = None,
    extraction: Mapping[str, str | None] | None = None,
    secrets: bool = True,
) -> Loaded:
    """Read the configuration, set up logging as it says, and log its warnings.

    `console`: where the log goes. A command that shows a display on standard error passes the same console to both.
    `datasets`: the value of --datasets. `extraction`: values of options that stand for a key of this section; None if
    not given. `secrets`: whether secrets are looked up.

    Raises `ConfigurationError`.
    """
    from config import load

    from ..telemetry.log import set_up_logging

    given = {f"extraction.{key}": value for key, value in (extraction or {}).items() if value is not None}
    if datasets is not None:
        given["extraction.datasets"] = json.dumps([name.strip() for name in datasets.split(",") if name.strip()])
    found = load(
        path,
        (*overrides, *(f"{key}={value}" for key, value in given.items())),
        options={key: _OPTIONS[key] for key in given},
        secrets=secrets,
    )
    name_options(found.options)
    monitoring = found.config.monitoring
    level = "debug" if _debugging() else monitoring.log_level
    set_up_logging(console or stderr_console(), level=level, as_json=monitoring.log_format == "json")
    for warning in found.warnings:
        logging.getLogger("osipi.config").warning(warning)
    return found


def table_options(path: str | None, overrides: Sequence[str]) -> tuple[str, ...]:
    """The options with which another command finds the same tables. Other overrides may hold secrets."""
    safe = ("pipeline=", "storage.root=", "unity_catalog.")
    kept = [part for text in overrides if text.startswith(safe) for part in ("--set", text)]
    return (*(("-c", path) if path else ()), *kept)
