"""docs/reference/commands.md: the help of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click

from engine.cli import commands

from .markdown import MADE

_PROGRAM = "osipi-connector"
_HEAD = f"""{MADE}

# Commands

`{_PROGRAM} COMMAND --help` prints the same. In a checkout, `python -m engine` is the same program. Exit codes:
[errors](errors.md).
"""


def every_command() -> Iterator[tuple[str, str]]:
    """What is typed, and its help, of the program and of each command."""
    # click keeps the option --help of a command as it was first asked for.
    yield from _walk(
        commands, click.Context(commands, info_name=_PROGRAM, terminal_width=100, **commands.context_settings)
    )


def _walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, context.get_help().replace("python -m engine", _PROGRAM)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _walk(inner, click.Context(inner, info_name=name, parent=context, terminal_width=100))


def page() -> str:
    """The page."""
    return "\n".join([_HEAD, *(f"## {typed}\n\n```text\n{words.rstrip()}\n```\n" for typed, words in every_command())])
