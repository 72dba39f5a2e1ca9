"""Carries out `run`: reads what the configuration selects and is not done yet, and reports."""

from __future__ import annotations

from config.errors import ConfigurationError

from ...plan.shards import Shard
from ...run.job import run_job
from ..exit_status import CommandResult
from ..options import load_config, table_options
from ..terminal import print_error, print_json, stderr_console, stdout_console
from .summary import print_summary


def main(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    mode: str | None,
    start: str | None,
    end: str | None,
    datasets: str | None,
    shard: str | None,
    on: str | None,
    shares: int | None,
    run_id: str | None,
    follow: bool,
    take_over: str | None,
    retry_holes: bool,
    json_wanted: bool,
) -> CommandResult:
    console = stderr_console()
    given = {"mode": mode, "start_date": start, "end_date": end}
    check_place(on, shares=shares, shard=shard, follow=follow)
    found = load_config(path, overrides, console, datasets=datasets, extraction=given)
    if on is None:
        report = run_job(
            found.config,
            shard=Shard.parse(shard) if shard else Shard(),
            run_id=run_id or None,
            console=console,
            warnings=found.warnings,
            follow=follow,
            take_over=take_over or None,
            retry_holes=retry_holes,
        )
    else:
        from ...spark.run import run_on_spark

        report = run_on_spark(
            found, shares=shares, run_id=run_id or None, take_over=take_over or None, retry_holes=retry_holes
        )
    if json_wanted:
        print_json(report.as_dict())
    else:
        print_summary(stdout_console(), report, found.config, repeat=table_options(path, overrides))
    if report.error is not None:
        print_error(report.error.message, report.error.hint)
    return CommandResult(report.exit_code, report.failure())


def check_place(on: str | None, *, shares: int | None, shard: str | None, follow: bool = False) -> None:
    """Refuse what contradicts the place where a run works. Raises `ConfigurationError`."""
    if on is None:
        if shares is not None:
            raise ConfigurationError("--shares goes with --on spark", hint="On one machine a share is --shard 0/4.")
        return
    if on != "spark":
        raise ConfigurationError(
            f"a run cannot be on {on!r}", hint="There is spark; without it, a run is in this process."
        )
    if shard is not None:
        raise ConfigurationError(
            "--shard beside --on spark", hint="Spark's tasks take all shares; --shares says how many."
        )
    if follow:
        raise ConfigurationError(
            "--follow beside --on spark: a run on Spark has an end",
            hint="Run it on a schedule, or follow with one process, or with --shard on several machines.",
        )
