"""`verify`: does the table hold what the source has? Counts at both ends, day by day and tag by tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from config import Instant

    from .mending import Outcome

__all__ = ["verify"]


@click.command(
    epilog=examples(
        "python -m engine verify -c plant.yaml",
        "python -m engine verify -c plant.yaml --start now-7d --tags 'BOILER*' --tags 'U1.FLOW'",
        "python -m engine verify -c plant.yaml --repair",
        "python -m engine verify -c plant.yaml --repair --deep --start now-30d --tags 'U1.*'",
    )
)
@configured
@click.option("--start", metavar="TIME", help="First instant, for example 2024-01-01T00:00:00Z or now-7d.")
@click.option(
    "--end", metavar="TIME", help="End, not included. Without it: all that is done, but for what is still forecast."
)
@click.option("--tags", "patterns", metavar="PATTERN", multiple=True, help="Only tags so called (*, ?). Repeatable.")
@click.option("--repair", is_flag=True, help="Read what disagrees again, and make the table equal to it.")
@click.option("--deep", is_flag=True, help="With --repair: read everything again, whether it disagrees or not.")
@click.option(
    "--run-id", metavar="ID", help="Name in the log and in the metrics table, where --repair or a name leaves a row."
)
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Most disagreements to list.")
@as_json
def verify(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    start: str | None,
    end: str | None,
    patterns: tuple[str, ...],
    repair: bool,
    deep: bool,
    run_id: str | None,
    limit: int,
    json_wanted: bool,
) -> Outcome:
    """Compare the table with the PI System, by counts.

    Events are counted per tag and UTC day, by the PI Web API and in the table: of what is done, all but
    the newest, which every run compares itself (the lookback, and from the last event on). Finds what is
    missing, doubled, or should have gone; a value that was changed in place is found by --repair --deep
    alone. Without --repair the data stays as it is. Other runs of the pipeline, also one that follows,
    may be at work.

    Ends with 0 if all was compared and agrees, or was mended; with 1 if a day disagrees, touches a hole
    in which something is missing, or could not be compared. Days that the server does not count, or
    refuses to count, are named. Holes are left to the runs, which ask for them again.
    """
    import uuid

    from config import check_runnable

    from .mending import carry_out
    from .options import loaded
    from .terminal import errors, print_json, results
    from .verification import Scope
    from .verify_account import VerifyAccount
    from .verify_view import as_dict, print_outcome

    if deep and not repair:
        raise click.UsageError("--deep reads everything again to mend it: it goes with --repair")
    console = errors()
    config = loaded(path, overrides, console).config
    check_runnable(config)
    scope = Scope(_instant("--start", start), _instant("--end", end), patterns)
    name = run_id or uuid.uuid4().hex[:12]
    account = VerifyAccount(config, name) if repair or run_id else None
    try:
        done = carry_out(config, scope, repair=repair, deep=deep, console=console, run_id=name)
    except BaseException as error:
        if account is not None:
            account.add_failure(error)
        raise
    if account is not None:
        account.add(done)
    if json_wanted:
        print_json(as_dict(done))
    else:
        print_outcome(results(), done, limit)
    return done


def _instant(option: str, text: str | None) -> Instant | None:
    """Read a time. Raises `click.UsageError`, which says what was expected."""
    from config import parse_instant
    from config.problems import ExpectedError

    if text is None:
        return None
    try:
        return parse_instant(text)
    except ExpectedError as error:
        hint = f"; did you mean {error.suggestion}?" if error.suggestion else ""
        raise click.UsageError(f"{option} {text}: expected {error.expected}{hint}") from None
