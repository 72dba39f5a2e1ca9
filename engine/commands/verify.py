"""`verify`: does the table hold what the source has? Counts at both ends, day by day and tag by tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from config import Instant

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
    limit: int,
    json_wanted: bool,
) -> int:
    """Compare the table with the PI System, by counts.

    Of everything that the watermarks call done, events are counted per tag and UTC day, by the PI Web
    API and in the table. Finds what is missing, doubled, or should have gone; a value that was changed
    in place is found by --repair --deep alone. Without --repair writes nothing. Exit code 1 if anything
    disagrees, or could not be mended.
    """
    from config import check_runnable

    from .mending import carry_out
    from .options import loaded
    from .terminal import errors, print_json, results
    from .verification import Scope
    from .verify_view import as_dict, print_outcome

    if deep and not repair:
        raise click.UsageError("--deep reads everything again to mend it: it goes with --repair")
    console = errors()
    config = loaded(path, overrides, console).config
    check_runnable(config)
    scope = Scope(_instant("--start", start), _instant("--end", end), patterns)
    done = carry_out(config, scope, repair=repair, deep=deep, console=console)
    if json_wanted:
        print_json(as_dict(done))
    else:
        print_outcome(results(), done, limit)
    return done.exit_code


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
