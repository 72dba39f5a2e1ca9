"""Repairs what `verify` finds: reads the windows again, makes the table equal to them, and compares all_suspects again.

Only what agrees in the second comparison counts as repaired. (Every run compares the newest part itself.)
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from config import Config

from ...plan.count_comparison import SuspectWindow
from ...run.job import run_job, wait_for
from ...telemetry.report import RunReport
from .compute import Cost, Scope, Verification, all_suspects, verify


@dataclass(frozen=True, slots=True)
class Repair:
    """The windows that were read again, the run that read them, and the comparison afterwards.

    There is no comparison if the repair was interrupted.
    """

    suspects: tuple[SuspectWindow, ...]
    report: RunReport
    after: Verification | None

    @property
    def failed(self) -> dict[str, str]:
        """Why suspects could not be read, by tag name. Other tags of the configuration do not matter here."""
        names = {tag.name for tag, _ in self.suspects}
        return {name: why for name, why in self.report.tags_failed if name in names}

    @property
    def cost(self) -> Cost:
        """The cost of reading again."""
        run = self.report
        return Cost(run.requests, run.retries, run.throttled, run.bytes_fetched, run.duration_seconds)

    @property
    def complete(self) -> bool:
        """Whether all of it was read again."""
        return not self.failed and not self.report.tags_undone and self.report.error is None

    @property
    def exit_code(self) -> int:
        """0 if all of it was read again, and all of it agrees now."""
        if self.report.error is not None or self.report.status == "interrupted":
            return self.report.exit_code
        return 0 if self.complete and self.after is not None and self.after.exit_code == 0 else 1


@dataclass(frozen=True, slots=True)
class VerifyOutcome:
    """What `verify` has done: compared, repaired, or both; neither if a deep repair found nothing that is done."""

    found: Verification | None
    repair: Repair | None

    @property
    def exit_code(self) -> int:
        last = self.repair or self.found
        return last.exit_code if last is not None else 0

    @property
    def compared(self) -> Verification | None:
        """The last comparison there was."""
        return (self.repair.after if self.repair else None) or self.found

    @property
    def tags(self) -> int:
        """How many were compared, or, without a comparison, read again."""
        if self.compared is not None:
            return len(self.compared.tags)
        return len({tag.web_id for tag, _ in self.repair.suspects}) if self.repair else 0

    @property
    def wrong(self) -> set[str]:
        """Names of the tags that disagree, could not be compared, or could not be read again."""
        last, repair = self.compared, self.repair
        counted = set() if last is None else {each.tag.name for each in (*last.disagreements, *last.holes)}
        uncounted = set() if last is None else {each.tag.name for each in last.uncounted}
        return counted | uncounted | set(repair.failed if repair else ())

    @property
    def cost(self) -> Cost:
        """The cost of all steps."""
        after = self.repair.after if self.repair else None
        parts = (each.cost for each in (self.found, self.repair, after) if each is not None)
        return sum(parts, Cost(0, 0, 0, 0, 0.0))


def verify_and_repair(
    config: Config, scope: Scope, *, repair: bool, deep: bool, console: Console, run_id: str | None = None
) -> VerifyOutcome:
    """Compare, and with `repair` read again what disagrees; `deep`: read all_suspects again, without comparing first.

    A run may be at work meanwhile. So this takes a share of the rate: `pi_web_api.share_of_verify`.

    `console`: for the progress of the repair; `run_id`: its name in the log. Raises what a run raises, and
    `KeyboardInterrupt` if interrupted before anything was read.
    """
    config = beside_runs(config)
    if deep:
        found, suspects = None, wait_for(lambda: all_suspects(config, scope))
    else:
        found = wait_for(lambda: verify(config, scope))
        suspects = found.suspects()
    if not repair or not suspects:
        return VerifyOutcome(found, None)
    report = run_job(config, run_id=run_id, console=console, suspects=suspects)
    interrupted = report.status == "interrupted"
    after = None if interrupted else wait_for(lambda: verify(config, scope))
    return VerifyOutcome(found, Repair(suspects, report, after))


def beside_runs(config: Config) -> Config:
    """The configuration with the share of the rate, and of what is in flight, that a work beside the runs takes."""
    pi = config.pi_web_api
    share = {
        "max_requests_per_second": pi.max_requests_per_second * pi.share_of_verify,
        "max_in_flight": max(1, int(pi.max_in_flight * pi.share_of_verify)),
    }
    return config.model_copy(update={"pi_web_api": pi.model_copy(update=share)})
