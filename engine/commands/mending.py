"""Mending: what disagrees is read again, in full, and the table made equal to it; then all is compared once more.

The work of `verify --repair`, without its words. Invariant: what is called mended has been compared afterwards,
but for the newest part, which every run compares itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from config import Config

from ..job import run_job, wait_for
from ..plan.agreement import Suspect
from ..telemetry.report import RunReport
from .verification import Cost, Scope, Verification, everything, verify

__all__ = ["Mended", "Outcome", "carry_out"]


@dataclass(frozen=True, slots=True)
class Mended:
    """The windows that were read again, the run that did it, and how table and source compare after it.

    (They are not compared where the repair was interrupted.)
    """

    suspects: tuple[Suspect, ...]
    report: RunReport
    after: Verification | None

    @property
    def failed(self) -> dict[str, str]:
        """Suspects that could not be read, by name. That others of the configuration cannot is not our business."""
        names = {tag.name for tag, _ in self.suspects}
        return {name: why for name, why in self.report.tags_failed if name in names}

    @property
    def cost(self) -> Cost:
        """What reading again took."""
        run = self.report
        return Cost(run.requests, run.retries, run.throttled, run.bytes_fetched, run.duration_seconds)

    @property
    def whole(self) -> bool:
        """Whether all of it was read again."""
        return not self.failed and not self.report.tags_undone and self.report.error is None

    @property
    def exit_code(self) -> int:
        """0 if all of it was read again, and all of it agrees now."""
        if self.report.error is not None or self.report.status == "interrupted":
            return self.report.exit_code
        return 0 if self.whole and self.after is not None and self.after.exit_code == 0 else 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a `verify` has done: compared, mended, or both; neither where a deep one met nothing that is done."""

    found: Verification | None
    mended: Mended | None

    @property
    def exit_code(self) -> int:
        last = self.mended or self.found
        return last.exit_code if last is not None else 0

    @property
    def compared(self) -> Verification | None:
        """The last comparison there was."""
        return (self.mended.after if self.mended else None) or self.found

    @property
    def tags(self) -> int:
        """How many were compared, or at least read again."""
        if self.compared is not None:
            return len(self.compared.tags)
        return len({tag.web_id for tag, _ in self.mended.suspects}) if self.mended else 0

    @property
    def wrong(self) -> set[str]:
        """Names of the tags that disagree, could not be compared, or could not be read again."""
        last, mended = self.compared, self.mended
        counted = set() if last is None else {each.tag.name for each in (*last.disagreements, *last.holes)}
        uncounted = set() if last is None else {each.tag.name for each in last.uncounted}
        return counted | uncounted | set(mended.failed if mended else ())

    @property
    def cost(self) -> Cost:
        """What all of it took."""
        after = self.mended.after if self.mended else None
        parts = (each.cost for each in (self.found, self.mended, after) if each is not None)
        return sum(parts, Cost(0, 0, 0, 0, 0.0))

    def failure(self) -> str | None:
        """One sentence on what is not as it should be; None where all is well."""
        from .verify_text import failure

        return failure(self)


def carry_out(
    config: Config, scope: Scope, *, repair: bool, deep: bool, console: Console, run_id: str | None = None
) -> Outcome:
    """Compare, and mend what disagrees where that is wished; `deep`: mend all, without asking what disagrees.

    `console`: where a run shows how far it is; `run_id`: its name in the log. Raises what a run raises, and
    `KeyboardInterrupt` when interrupted before anything was read.
    """
    if deep:
        found, suspects = None, wait_for(lambda: everything(config, scope))
    else:
        found = wait_for(lambda: verify(config, scope))
        suspects = found.suspects()
    if not repair or not suspects:
        return Outcome(found, None)
    report = run_job(config, run_id=run_id, console=console, suspects=suspects)
    interrupted = report.status == "interrupted"
    after = None if interrupted else wait_for(lambda: verify(config, scope))
    return Outcome(found, Mended(suspects, report, after))
