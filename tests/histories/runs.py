"""What we do in a round: runs to their end, runs that die or are interrupted on their way, repairs.

Invariant: whatever a run was asked to do is in its `Wish`, and what became of it in its `Ended`.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config import from_mapping
from engine.commands.verify.compute import Scope, all_suspects
from engine.flow.stop import Stop
from engine.run import run
from engine.telemetry.events import RequestFailed, RunEvent
from tests.crash.process import run_of
from tests.exactness.plant import SECOND, settings, text_of
from tests.histories.script import Setting
from tests.histories.source import BEGIN, Source

__all__ = ["Ended", "Wish", "carry_out"]

# In a process of its own a run dies by SIGKILL at one of these.
STEPS = ("before_staging", "before_correction", "after_staging", "after_data_commit", "after_watermark_commit")


@dataclass(frozen=True, slots=True)
class Wish:
    """One run. Times are microseconds; `start` and `end` are those of a backfill (mode full); forecasts are read as far
    ahead as `horizon` says.

    `die_at`: the n-th step of landing, or the n-th event of a run, at which it dies; with `interrupt` it is
    asked to stop there instead.
    """

    lookback: int = 0
    start: int | None = None
    end: int | None = None
    repair: bool = False
    die_at: tuple[str, int] | None = None
    interrupt: bool = False
    horizon: int = 0

    def until(self, source: Source, setting: Setting, index: int, high: int) -> int:
        """Up to where a tag is to be read that is done up to `high`."""
        until = self.present(source, setting)
        if source.is_future(index):
            until = max(high, source.now // 10 + self.horizon if self.horizon else until)
        return until if self.end is None else min(until, self.end)

    def present(self, source: Source, setting: Setting) -> int:
        return source.now // 10 - setting.lag * setting.unit_secs * SECOND

    def begin(self, setting: Setting) -> int:
        """From where on a tag is read of which nothing is done."""
        return BEGIN // 10 + setting.start * setting.unit_secs * SECOND if self.start is None else self.start


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a run; one that died has no report. `steps` of landing that it reached, where that is known, and
    how many requests failed, after the client's retries.
    """

    report: Mapping[str, Any] | None = None
    failed: frozenset[str] = frozenset()
    steps: tuple[str, ...] = ()
    requests_failed: int = 0

    @property
    def status(self) -> str:
        return "died" if self.report is None else str(self.report["status"])

    @property
    def finished(self) -> bool:
        """Whether every tag was read to its end, or failed."""
        report = self.report
        return (
            report is not None and report["status"] != "interrupted" and not (report["tags_undone"] or report["error"])
        )


class Killed(BaseException):
    """The process is gone. Python tidies up behind it; where that must not be, it is a process."""


class _Fate:
    """Counts what a run passes, and strikes."""

    def __init__(self, wish: Wish, stop: Stop) -> None:
        self._at = wish.die_at
        self._stop = stop if wish.interrupt else None
        self._passed = {"step": 0, "event": 0}
        self.steps: list[str] = []
        self.requests_failed = 0

    def step(self, step: str) -> None:
        self.steps.append(step)
        self._pass("step")

    def event(self, event: RunEvent) -> None:
        self.requests_failed += isinstance(event, RequestFailed)
        self._pass("event")

    def _pass(self, what: str) -> None:
        self._passed[what] += 1
        if (what, self._passed[what]) != self._at:
            return
        if self._stop is None:
            raise Killed(what)
        self._stop.ask("interrupted")


async def carry_out(wish: Wish, source: Source, setting: Setting, root: Path, *, number: int) -> Ended:
    """Do one run; a repair is what `verify --deep --repair` does with all that is done."""
    document = _document(wish, source, setting, root)
    if setting.processes and not wish.repair and not wish.interrupt:
        return await _in_process(wish, document, root.parent / f"run-{number}")
    stop = Stop()
    fate = _Fate(wish, stop)
    config = from_mapping(document).config
    try:
        report = await run(
            config,
            stop=stop,
            on_step=fate.step,
            emit=fate.event,
            suspects=await all_suspects(config, Scope()) if wish.repair else None,
        )
    except Killed:
        return Ended()
    return replace(_ended(report.as_dict(), fate.steps), requests_failed=fate.requests_failed)


def _ended(report: Mapping[str, Any], steps: Sequence[str]) -> Ended:
    return Ended(report, frozenset(failed["tag"] for failed in report["tags_failed"]), tuple(steps))


async def _in_process(wish: Wish, document: Mapping[str, Any], folder: Path) -> Ended:
    """The same run as a process, that is killed for good."""
    options: dict[str, Any] = {}
    if wish.die_at:
        _, count = wish.die_at
        options["at"] = (STEPS[count % len(STEPS)], 1 + count // 10)
    process = run_of(folder, document, **options)
    ended = await process.end()
    if ended.code == -signal.SIGKILL and wish.die_at:
        return Ended()
    assert ended.report is not None, ended
    return _ended(ended.report, process.reached())


def _document(wish: Wish, source: Source, setting: Setting, root: Path) -> dict[str, Any]:
    extraction: dict[str, Any] = {
        "start_date": text_of(wish.begin(setting)),
        "lag": f"{setting.lag * setting.unit_secs}s",
        "max_count_per_tag": setting.max_count,
        "request_mode": setting.request_mode,
        "assumed_interval": f"{setting.unit_secs}s",
    }
    if wish.lookback:
        extraction["lookback"] = f"{wish.lookback // SECOND}s"
    if wish.horizon:
        extraction["future_horizon"] = f"{wish.horizon // SECOND}s"
    if wish.start is not None:
        extraction["mode"] = "full"
    if wish.end is not None:
        extraction["end_date"] = text_of(wish.end)
    performance = {
        "values_per_answer": setting.values_per_answer,
        "commit_rows": setting.commit_rows,
        "optimize_after_write": setting.optimize,
    }
    # A flaky server throws dice for each request: one after the other, so that a round can be played again.
    pi_web_api = {"max_in_flight": 1} if setting.flaky else {}
    return settings(root, source.url, extraction=extraction, performance=performance, pi_web_api=pi_web_api)
