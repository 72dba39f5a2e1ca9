"""The command line: finds the command, runs it, and returns its exit code.

Imports nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import click

from .commands import configuration, pipeline_commands, simulate
from .commands.af.command import af, frames
from .commands.exit_status import EXIT_USAGE, CommandResult, exit_status_of
from .commands.init.command import init
from .commands.options import GroupWithExamples, examples
from .commands.terminal import print_error, print_json, print_traceback, program_name, replace_closed_streams
from .commands.views.command import views
from .import_check import DISTRIBUTION, installed_version, shadowed_package


def _print_version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if not value:
        return
    from importlib.metadata import version
    from importlib.util import find_spec

    found = installed_version() or "from a checkout, not installed"
    native = f", native decoder {version(f'{DISTRIBUTION}-native')}" if find_spec("osipi_native") else ""
    click.echo(f"{DISTRIBUTION} {found}{native}")
    context.exit()


class _InOrder(GroupWithExamples):
    """Lists the commands in the order in which a user needs them."""

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


for _command in (
    init,
    pipeline_commands.run,
    pipeline_commands.check,
    pipeline_commands.plan,
    pipeline_commands.tags,
    af,
    frames,
    pipeline_commands.status,
    pipeline_commands.report,
    pipeline_commands.verify,
    pipeline_commands.maintain,
    views,
    simulate.simulate,
    configuration.config,
    pipeline_commands.rebuild_watermarks,
):
    commands.add_command(_command)


def invoke(arguments: Sequence[str], program: str) -> CommandResult:
    """Run one command. Raises what the command raises."""
    result = commands.main(list(arguments), prog_name=program, standalone_mode=False)
    # After --help and --version click returns the bare exit code.
    return result if isinstance(result, CommandResult) else CommandResult(result or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 all done, 1 tags failed or something is wrong, 2 configuration,
    3 login or permission, 4 tables or another run, 70 a bug of ours, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    replace_closed_streams()
    problem = shadowed_package()
    if problem is not None:
        print_error(problem.sentence, problem.hint)
        return EXIT_USAGE
    try:
        return invoke(arguments, program_name()).exit_code
    except BaseException as error:  # noqa: BLE001 - every error has an exit code
        return _report_error(error, arguments)


def _report_error(error: BaseException, arguments: Sequence[str]) -> int:
    end = exit_status_of(error)
    if "--debug" in arguments and end.message:
        print_traceback(error)
    if end.message:
        print_error(end.message, end.hint)
        if "--json" in arguments:
            content = {"message": end.message, "hint": end.hint}
            with contextlib.suppress(OSError):  # the output cannot be written: that is the error
                print_json({"status": end.status, "exit_code": end.exit_code, "error": content})
    return end.exit_code
