"""The command line: hands the arguments to a command, and its end to the caller as an exit code.

Imports nothing heavy, so that `--help` answers at once, and nothing that may turn out not to be ours.
Invariant: `main` returns; only `__main__` ends a process.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import click

from .commands.check import check
from .commands.configuration import config
from .commands.maintain import maintain
from .commands.options import examples
from .commands.plan import plan
from .commands.rebuild_watermarks import rebuild_watermarks
from .commands.run import run
from .commands.simulate import simulate
from .commands.status import status
from .commands.tags import tags
from .commands.terminal import name, print_json, stand_in_for_closed, tell_error
from .commands.verdict import verdict_on
from .commands.verify import verify
from .ownership import DISTRIBUTION, shadowed

__all__ = ["commands", "main"]

EXIT_USAGE = 2


def _print_version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if not value:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version(DISTRIBUTION)
    except PackageNotFoundError:
        found = "from a checkout, not installed"
    click.echo(f"{DISTRIBUTION} {found}")
    context.exit()


class _InOrder(click.Group):
    """Lists commands in the order in which one needs them."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    epilog=examples(
        "python -m engine run                    1,000 simulated tags into ./lakehouse",
        "python -m engine check -c plant.yaml    is everything in place?",
        "python -m engine run -c plant.yaml      read what is new",
        "python -m engine status -c plant.yaml   how far, how fresh, what failed",
    ),
    cls=_InOrder,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def commands(context: click.Context) -> None:
    """Bring an AVEVA PI System into Delta tables: every event, exactly once."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(EXIT_USAGE)


for _command in (run, check, plan, tags, status, verify, maintain, simulate, config, rebuild_watermarks):
    commands.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 all done, 1 tags failed or not well, 2 configuration, 3 login or
    permission, 4 tables or another run, 70 a bug of ours, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    stand_in_for_closed()
    misfit = shadowed()
    if misfit is not None:
        tell_error(misfit.sentence, misfit.hint)
        return EXIT_USAGE
    try:
        found = commands.main(arguments, prog_name=name(), standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - the outermost place: whatever it is becomes an exit code
        return _end(error, arguments)
    # A command gives its exit code, or, where there is more to say, a report that has one.
    code = getattr(found, "exit_code", found)
    return code if isinstance(code, int) else 0


def _end(error: BaseException, arguments: Sequence[str]) -> int:
    verdict = verdict_on(error)
    if "--debug" in arguments and verdict.message:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if verdict.message:
        tell_error(verdict.message, verdict.hint)
        if "--json" in arguments:
            said = {"message": verdict.message, "hint": verdict.hint}
            with contextlib.suppress(OSError):  # nobody reads, or there is no room: that is what went wrong
                print_json({"status": verdict.status, "exit_code": verdict.exit_code, "error": said})
    return verdict.exit_code
