"""What notebooks import: `PILakeflowConnector(config).run()`.

Takes the nested configuration of a YAML file, or the flat keys that notebooks use, or both. Invariant: the text of a
connector shows no credential.
"""

from __future__ import annotations

import osipi_start

osipi_start.refuse_shadowed_package()  # before anything of ours is imported

# ruff: noqa: E402
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import Any

from rich.console import Console

from config import Config, InvalidConfigurationError, check_runnable, from_mapping, load, parse_instant
from config.errors import ConfigurationError, ExtractError
from config.flat_keys import has_flat_keys, nested, with_flat_keys
from config.problems import ExpectedError
from engine.clock import wall_micros
from engine.commands.check.main import print_result, result_of, results_dict
from engine.commands.check.probes import CheckResult, run_checks
from engine.commands.exit_status import CommandResult
from engine.commands.plan.main import RunForecast, forecast_dict, forecast_run, print_forecast
from engine.commands.run.main import check_place
from engine.commands.shown import Shown
from engine.commands.status.compute import Status, read_status
from engine.commands.status.main import result_of as result_of_status
from engine.commands.status.render import as_dict as status_dict
from engine.commands.status.render import print_status
from engine.commands.terminal import stderr_console
from engine.commands.verify.compute import Scope
from engine.commands.verify.main import Verified, carry_out, print_verified, verified_dict
from engine.plan.shards import Shard
from engine.run.connect import target_of
from engine.run.job import run_job, wait_for
from engine.telemetry.log import set_up_logging
from engine.telemetry.progress import Display
from engine.telemetry.progress_notebook import NotebookProgress
from engine.telemetry.report import RunFailedError, RunReport

__all__ = ["PILakeflowConnector", "RunFailedError", "RunReport", "Shown"]

_LISTED = 20
_ASK_FOR_REPORT = "what could be read is in the tables; run(raise_on_failure=False) returns the report"


class PILakeflowConnector:
    """Brings a PI System into Delta tables, from a notebook or any Python program.

    `config` is a mapping (sections as in YAML, the flat keys, or both) or the path of a YAML file.

    Raises:
        ConfigurationError: names everything that is wrong with it.

    """

    def __init__(self, config: Mapping[str, Any] | str | PathLike[str]) -> None:
        self._given = config if isinstance(config, Mapping) else {}
        self._warned = False
        with self._for_people():
            self._loaded = from_mapping(nested(config)) if isinstance(config, Mapping) else load(config)

    @property
    def config(self) -> Config:
        """The configuration in effect; secrets show as asterisks."""
        return self._loaded.config

    def __repr__(self) -> str:
        source = self.config.pi_web_api.url or "the simulator"
        return f"PILakeflowConnector({self.config.pipeline!r}: {source} -> {target_of(self.config)})"

    def run(
        self,
        *,
        shard: str | None = None,
        on: str | None = None,
        shares: int | None = None,
        run_id: str | None = None,
        take_over: str | None = None,
        retry_holes: bool = False,
        raise_on_failure: bool = True,
    ) -> RunReport:
        """Read what is new, land it exactly once, and report.

        Works where an event loop runs already. Interrupting it commits what is complete. `shard`, for example "0/4",
        takes a share of the tags. With `on="spark"` the tasks of the Spark session read, in so many `shares`, by default
        as many as Spark runs tasks at once. `take_over` names a pipeline whose selected tags belong to this one from then on.
        `retry_holes` asks now for all that could not be read before, due or not. With `raise_on_failure=False` the
        report comes back also if something is left undone; it names the failed tags.

        Raises:
            RunFailedError: something is left undone, for example tags that failed; its `report` says what was done.
            ExtractError: there is nothing to report: configuration, login, permission, another run, tables.

        """
        with self._for_people():
            check_place(on, shares=shares, shard=shard)
            console = self._console()
            if on is None:
                report = run_job(
                    self.config,
                    shard=_shard(shard),
                    run_id=run_id,
                    console=console,
                    warnings=self._loaded.warnings,
                    take_over=take_over,
                    retry_holes=retry_holes,
                    display=_notebook_display(),
                )
            else:
                from engine.spark.run import run_on_spark

                report = run_on_spark(
                    self._loaded, shares=shares, run_id=run_id, take_over=take_over, retry_holes=retry_holes
                )
            if raise_on_failure and (said := report.failure()) is not None:
                raise RunFailedError(said, hint=_ASK_FOR_REPORT, report=report)
        return report

    def check(self) -> Shown[tuple[CheckResult, ...]]:
        """Check everything a run needs, and say what to do about each failure. Leaves nothing behind.

        The result shows itself; `well` says whether all checks passed.
        """
        found: list[CheckResult] = []
        with self._for_people():
            self._console()
            wait_for(lambda: run_checks(self.config, found.append))

        def draw(console: Console) -> None:
            for one in found:
                print_result(console, one)

        ended = result_of(found)
        return Shown(tuple(found), ended, results_dict(self.config.pipeline, found, ended), draw)

    def plan(self, *, shard: str | None = None) -> Shown[RunForecast]:
        """Forecast what a run would ask. Asks the PI Web API only for the list of tags; writes nothing.

        Raises:
            ExtractError: configuration, login, permission, another pipeline that owns the tags.

        """
        with self._for_people():
            self._console()
            check_runnable(self.config)
            found = wait_for(lambda: forecast_run(self.config, _shard(shard)))
        return Shown(found, CommandResult(), forecast_dict(found), lambda console: print_forecast(console, found))

    def status(self) -> Shown[Status]:
        """Show how far the pipeline is, how fresh, and what fails. Reads only the tables.

        The result shows itself; `well` is False where something needs a look.

        Raises:
            ExtractError: the tables cannot be read.

        """
        with self._for_people():
            self._console()
            found, _ = read_status(self.config, wall_micros())
        return Shown(
            found, result_of_status(found), status_dict(found), lambda console: print_status(console, found, _LISTED)
        )

    def verify(
        self,
        *,
        start: str | None = None,
        end: str | None = None,
        tags: Sequence[str] = (),
        repair: bool = False,
        deep: bool = False,
        run_id: str | None = None,
    ) -> Shown[Verified]:
        """Compare the table with the PI System by counts, and with `repair` read again what disagrees.

        `start` and `end` are times such as "now-7d"; `tags` are names with * and ?. `deep`, with `repair`, reads
        everything again. `run_id` names it in the metrics table.

        The result shows itself; `well` says whether all was compared and agrees, or was repaired.

        Raises:
            ExtractError: configuration, login, permission, tables.

        """
        with self._for_people():
            if deep and not repair:
                raise ConfigurationError("deep=True repairs everything", hint="it goes with repair=True")
            names = (tags,) if isinstance(tags, str) else tuple(tags)
            begin, until = (None if one is None else parse_instant(one) for one in (start, end))
            scope = Scope(begin, until, names)
            done = carry_out(self.config, scope, repair=repair, deep=deep, run_id=run_id, console=self._console())
        return Shown(done, done.result, verified_dict(done), partial(_draw_verified, done))

    def _console(self) -> Console:
        """The console of messages; sets up the log, and logs the warnings of the configuration once."""
        console = stderr_console()
        monitoring = self.config.monitoring
        # `logging.basicConfig(level=logging.DEBUG)` in a notebook asks for our lines, too.
        level = "debug" if 0 < logging.getLogger().level <= logging.DEBUG else monitoring.log_level
        set_up_logging(console, level=level, as_json=monitoring.log_format == "json")
        if not self._warned:
            self._warned = True
            for warning in self._loaded.warnings:
                logging.getLogger("osipi.config").warning(warning)
        return console

    @contextmanager
    def _for_people(self) -> Iterator[None]:
        """Errors hold their hints in their texts, and name keys as the user wrote them."""
        refused: ExtractError
        try:
            yield
        except InvalidConfigurationError as error:
            refused = with_flat_keys(error, self._given) if has_flat_keys(self._given) else error
            refused.__suppress_context__ = True  # it says the same
        except ExpectedError as error:
            refused = ConfigurationError(f"expected {error.expected}")
            refused.__suppress_context__ = True
        except ExtractError as error:
            refused = error
        else:
            return
        raise refused.with_hint()


def _shard(text: str | None) -> Shard:
    return Shard.parse(text) if text else Shard()


def _draw_verified(done: Verified, console: Console) -> None:
    print_verified(console, done, _LISTED)


def _notebook_display() -> Display | None:
    """A bar in the notebook's own display; None outside of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:  # a terminal, or a plain program
        return None
    from IPython.display import display

    handle = display(None, display_id=True)  # type: ignore[no-untyped-call]  # IPython's own
    return None if handle is None else NotebookProgress(handle.update)
