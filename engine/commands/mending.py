"""Mending: what disagrees is read again, in full, and the table made equal to it; then all is compared once more.

The work of `verify --repair`, without its words. Invariant: what is called mended has been compared afterwards.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rich.console import Console

from config import Config

from ..job import run_job
from ..plan.agreement import Suspect
from ..telemetry.report import RunReport
from .verification import Scope, Verification, everything, verify

__all__ = ["Mended", "Outcome", "carry_out"]


@dataclass(frozen=True, slots=True)
class Mended:
    """The windows that were read again, the run that did it, and how table and source compare after it."""

    suspects: tuple[Suspect, ...]
    report: RunReport
    after: Verification

    @property
    def failed(self) -> dict[str, str]:
        """Suspects that could not be read, by name. That others of the configuration cannot is not our business."""
        names = {tag.name for tag, _ in self.suspects}
        return {name: why for name, why in self.report.tags_failed if name in names}

    @property
    def whole(self) -> bool:
        """Whether all of it was read again."""
        return not self.failed and not self.report.tags_undone and self.report.error is None

    @property
    def exit_code(self) -> int:
        """0 if all of it was read again and nothing disagrees any more."""
        if self.report.error is not None or self.report.status == "interrupted":
            return self.report.exit_code
        return 0 if self.whole and not self.after.disagreements else 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a `verify` has done: compared, mended, or both; neither where a deep one met nothing that is done."""

    found: Verification | None
    mended: Mended | None

    @property
    def exit_code(self) -> int:
        last = self.mended or self.found
        return last.exit_code if last is not None else 0


def carry_out(config: Config, scope: Scope, *, repair: bool, deep: bool, console: Console) -> Outcome:
    """Compare, and mend what disagrees where that is wished; `deep`: mend all, without asking what disagrees.

    `console`: where a run shows how far it is. Raises what a run raises, and `KeyboardInterrupt` when
    interrupted before anything was read.
    """
    if deep:
        found, suspects = None, asyncio.run(everything(config, scope))
    else:
        found = asyncio.run(verify(config, scope))
        suspects = found.suspects()
    if not repair or not suspects:
        return Outcome(found, None)
    report = run_job(config, console=console, suspects=suspects)
    return Outcome(found, Mended(suspects, report, asyncio.run(verify(config, scope))))
