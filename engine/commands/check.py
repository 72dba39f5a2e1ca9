"""`check`: is everything in place for a run? Each finding on a line, with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import configured, examples

if TYPE_CHECKING:
    from rich.console import Console

    from .findings import Finding

__all__ = ["check"]

_NAME_WIDTH = 14


@click.command(
    epilog=examples(
        "python -m engine check",
        "python -m engine check -c plant.yaml",
        "python -m engine check -c plant.yaml --set extraction.request_mode=batch",
    )
)
@configured
def check(path: str | None, overrides: tuple[str, ...]) -> int:
    """Check everything a run needs.

    Packages, configuration, secrets, the PI Web API, login, tags, the way to ask (batches), a few values,
    grants and tables, permission to write, other runs, and whether another pipeline has these tags: each
    is a line, with what to do about it. Leaves nothing behind. Ends with 0 if all is well, else with the
    exit code of the first failure.
    """
    import asyncio

    from .findings import look_at_everything
    from .options import loaded, same_place
    from .terminal import program, results

    config = loaded(path, overrides).config
    console = results()
    failures: list[Finding] = []

    def tell(finding: Finding) -> None:
        _print(console, finding)
        if finding.fine is False:
            failures.append(finding)

    asyncio.run(look_at_everything(config, tell))
    if failures:
        console.print(f"{len(failures)} of these must be put right first.", style="bold", soft_wrap=True)
        return failures[0].exit_code
    console.print(f"All is well: {program(('run', *same_place(path, overrides)))}", style="bold", soft_wrap=True)
    return 0


def _print(console: Console, finding: Finding) -> None:
    from rich.text import Text

    from .terminal import marks, plain

    mark, style = {
        True: (marks(console)[0], "bold green"),
        False: (marks(console)[1], "bold red"),
        None: (marks(console)[2], "dim"),
    }[finding.fine]
    line = Text.assemble((mark, style), " ", (f"{finding.name:{_NAME_WIDTH}}", "bold"), plain(finding.text))
    console.print(line, soft_wrap=True)
    if finding.hint:
        indent = " " * (len(mark) + 1 + _NAME_WIDTH)
        console.print(Text.assemble(indent, ("what to do: ", "cyan"), plain(finding.hint)), soft_wrap=True)
