"""Tuning: trials in turns, one knob after the other, within a budget of requests. Reports its progress.

Invariant: the budget counts every request, finding the tags included, and is never exceeded: what the
last trial may send beyond its allowance (logins, resent requests) is held back from the start.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

from benchmarks.lab.knobs import (
    KNOBS,
    Setting,
    Trial,
    candidates,
    compared,
    in_turn,
    no_difference,
    overrides,
    recommend,
    spread_of,
)
from benchmarks.lab.meter import WORST_SENDS, Meter
from benchmarks.lab.processes import json_of, run_child
from config import Config
from config.errors import ConfigurationError
from engine.datasets.request_mode import choose_mode
from engine.datasets.tags import find_tags
from engine.net.client import PIClient
from engine.run.connect import connect
from engine.run.plans import wanted_window

__all__ = ["Sweep", "TrialSource", "TuningResult", "found_at", "shares"]

# With fewer requests than this, several in flight make no difference.
LEAST_REQUESTS = 8
MAX_TAGS = 20_000


@dataclass(frozen=True, slots=True)
class TrialSource:
    """What every trial reads: the file of the configuration, tags, window and request mode."""

    config: str
    overrides: tuple[str, ...]
    tags: tuple[tuple[str, str, str, str], ...]
    start: int
    end: int
    mode: str
    requests_used: int


async def found_at(config: Config, path: str, given: Sequence[str], budget: int | None) -> TrialSource:
    """Ask once for what every trial needs: tags, the server's clock, whether it takes batches."""
    async with connect(config) as source:
        meter = Meter(source.client, budget)
        client = cast("PIClient", meter)
        inventory = await find_tags(client, config.extraction)
        mode = await choose_mode(client, source.url, config.extraction.request_mode)
    if not inventory.tags:
        raise ConfigurationError("the configuration selects no tag", hint="look at extraction.tags and tag_name_filter")
    window = wanted_window(config, None, inventory.server_now)
    tags = tuple((tag.web_id, tag.name, tag.units, tag.point_type) for tag in inventory.tags[:MAX_TAGS])
    return TrialSource(path, tuple(given), tags, window.start, window.end, mode.value, meter.used)


def shares(budget: int | None, used: int, trials: int, most_in_flight: int) -> int | None:
    """How many requests each trial may send, so that all trials, and the repeats of one, fit the budget.

    Raises `ConfigurationError` for a budget that is too small to tell anything.
    """
    if budget is None:
        return None
    held_back = most_in_flight * (WORST_SENDS - 1)
    share = (budget - used - held_back) // trials
    if share < LEAST_REQUESTS:
        least = used + held_back + LEAST_REQUESTS * trials
        raise ConfigurationError(
            f"--budget-requests {budget} is too small for {trials} trials ({used} were needed to find the tags)",
            hint=f"allow at least {least} requests, or try fewer values or knobs",
        )
    return share


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The result of tuning: all trials, the settings compared for each knob, and the recommended setting.

    `spreads`: of each knob, how much its baseline varied, as a share. `undecided`: knobs that made no difference.
    """

    recommended: Setting
    trials: tuple[Trial, ...]
    sweeps: Mapping[str, tuple[Setting, ...]]
    requests_used: int
    spreads: Mapping[str, float] = field(default_factory=dict)
    undecided: tuple[str, ...] = ()


@dataclass(slots=True)
class Sweep:
    """Runs trials, and keeps their results and costs."""

    source: TrialSource
    values: Mapping[str, Sequence[int]]
    base: Setting
    repeats: int
    seconds: float
    seed: int
    budget: int | None
    say: Callable[[str], None]
    trials: list[Trial] = field(default_factory=list)
    requests_used: int = 0
    _share: int | None = None
    _total: int = 0
    _began: float = 0.0

    def run(self) -> TuningResult:
        """Vary one knob after the other. Raises `ConfigurationError` for too small a budget."""
        tried_at_all = [candidates(self.base, KNOBS[name], tried) for name, tried in self.values.items()]
        self._total = self.repeats * sum(2 * len(settings) - 1 for settings in tried_at_all)
        most = max([self.base.max_in_flight, *self.values.get("max_in_flight", ())])
        self.requests_used = self.source.requests_used
        self._share = shares(self.budget, self.requests_used, self._total, most)
        self._began = time.monotonic()
        setting = self.base
        sweeps: dict[str, tuple[Setting, ...]] = {}
        spreads: dict[str, float] = {}
        undecided: list[str] = []
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as tags_file:
            json.dump(self.source.tags, tags_file)
            tags_file.flush()
            for name, tried in self.values.items():
                knob = KNOBS[name]
                sweeps[name] = tuple(candidates(setting, knob, tried))
                self.say(f"{knob.title} ({knob.says})")
                self._measure(setting, sweeps[name], name, tags_file.name)
                trials = [trial for trial in self.trials if trial.knob == name]
                speed, spreads[name] = compared(setting, trials), spread_of(setting, trials)
                for line in _relative(name, setting, speed, spreads[name]):
                    self.say(line)
                if no_difference(speed, spreads[name]):
                    undecided.append(name)
                    self.say(f"  no difference: {name} stays {getattr(setting, name):,}")
                else:
                    setting = recommend(knob, speed, spreads[name])
                    self.say(f"  best: {name} {getattr(setting, name):,}")
        return TuningResult(setting, tuple(self.trials), sweeps, self.requests_used, spreads, tuple(undecided))

    def _measure(self, base: Setting, settings: Sequence[Setting], name: str, tags_file: str) -> None:
        """All settings in turns, in another order each turn, and the baseline again between them: a slow minute shows
        in it, too.
        """
        rand = random.Random(f"{self.seed}/{name}")
        others = [setting for setting in settings if setting != base]
        for _ in range(self.repeats):
            for setting in in_turn(base, rand.sample(others, len(others))):
                self._try(setting, name, tags_file)

    def _try(self, setting: Setting, name: str, tags_file: str) -> None:
        job = {
            "config": self.source.config,
            "overrides": [*self.source.overrides, *overrides(setting)],
            "tags_file": tags_file,
            "start": self.source.start,
            "end": self.source.end,
            "mode": self.source.mode,
            "seconds": self.seconds,
            "allowance": self._share,
            "seed": f"{self.seed}/{len(self.trials)}",
        }
        found = json_of(run_child(["-m", "benchmarks.lab.trial", json.dumps(job)]))
        self.requests_used += found["requests"]
        trial = _trial(setting, name, found)
        self.trials.append(trial)
        done = len(self.trials)
        left = (time.monotonic() - self._began) / done * (self._total - done)
        refused = f", refused {trial.throttled} times" if trial.throttled else ""
        budget = f", {self.requests_used} of {self.budget} requests" if self.budget is not None else ""
        self.say(
            f"  [{done:>3}/{self._total}] {name} {getattr(setting, name):>9,}: {trial.values_per_second:>9,.0f} values/s,"
            f" p50 {trial.p50_ms:>5,.0f} ms, p95 {trial.p95_ms:>5,.0f} ms, {trial.peak_mib:>5,.0f} MiB{refused}"
            f"  (about {left:,.0f} s left{budget})"
        )
        if not trial.values:
            raise ConfigurationError(
                f"a trial read no value at all; it ended by: {found['ended_by']}",
                hint="check that the window (extraction.start_date, end_date) holds values",
            )


def _relative(name: str, base: Setting, speed: Mapping[Setting, float], spread: float) -> Iterator[str]:
    """How fast each setting was, in relation to the baseline."""
    yield f"  baseline {name} {getattr(base, name):,}, spread {spread:.0%}"
    for setting, relative in speed.items():
        if setting != base:
            yield f"  {name} {getattr(setting, name):>9,}: {relative - 1:+.0%} to the baseline"


def typical(trials: Sequence[Trial], setting: Setting, figure: str) -> float:
    """The median of one figure over the trials of a setting."""
    return float(median(getattr(trial, figure) for trial in trials if trial.setting == setting))


def discover(config: Config, path: str, given: Sequence[str], budget: int | None) -> TrialSource:
    return asyncio.run(found_at(config, path, given, budget))


def _trial(setting: Setting, knob: str, found: Mapping[str, Any]) -> Trial:
    return Trial(
        setting=setting,
        values_per_second=found["values"] / found["seconds"],
        p50_ms=found["p50_ms"],
        p95_ms=found["p95_ms"],
        peak_mib=found["peak_mib"],
        values=found["values"],
        requests=found["requests"],
        throttled=found["throttled"],
        knob=knob,
    )
