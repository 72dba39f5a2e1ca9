"""Tuning: trials in turns, one knob after the other, within a budget of requests. Says how it goes.

Invariant: the budget counts every request, finding the tags included, and is never exceeded: what the
last trial may send beyond its allowance (logins, resent requests) is held back from the start.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

from config import Config
from config.errors import ConfigurationError
from engine.datasets.recorded import choose_mode
from engine.datasets.tags import find_tags
from engine.net.client import PIClient
from engine.wiring import connect, wanted_window

from .knobs import KNOBS, Setting, Trial, candidates, overrides, recommend
from .meter import WORST_SENDS, Meter
from .processes import json_of, run_child

__all__ = ["Outcome", "Source", "Sweep", "found_at", "shares"]

# Fewer requests than this say nothing about several in flight.
LEAST_REQUESTS = 8
MAX_TAGS = 20_000


@dataclass(frozen=True, slots=True)
class Source:
    """What is read in every trial: the configuration's file, tags, window and way of asking."""

    config: str
    overrides: tuple[str, ...]
    tags: tuple[tuple[str, str, str, str], ...]
    start: int
    end: int
    mode: str
    requests_used: int


async def found_at(config: Config, path: str, given: Sequence[str], budget: int | None) -> Source:
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
    return Source(path, tuple(given), tags, window.start, window.end, mode.value, meter.used)


def shares(budget: int | None, used: int, trials: int, most_in_flight: int) -> int | None:
    """Requests each trial may send so that all of them, and the accidents of one, fit the budget.

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
class Outcome:
    """What tuning found: all trials, which settings each knob's sweep compared, and what to use."""

    recommended: Setting
    trials: tuple[Trial, ...]
    sweeps: Mapping[str, tuple[Setting, ...]]
    requests_used: int


@dataclass(slots=True)
class Sweep:
    """Runs trials; holds what they showed and what they cost."""

    source: Source
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

    def run(self) -> Outcome:
        """Vary one knob after the other. Raises `ConfigurationError` for too small a budget."""
        self._total = self.repeats * sum(len(candidates(self.base, KNOBS[n], self.values[n])) for n in self.values)
        most = max([self.base.max_in_flight, *self.values.get("max_in_flight", ())])
        self.requests_used = self.source.requests_used
        self._share = shares(self.budget, self.requests_used, self._total, most)
        self._began = time.monotonic()
        setting = self.base
        sweeps: dict[str, tuple[Setting, ...]] = {}
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as tags_file:
            json.dump(self.source.tags, tags_file)
            tags_file.flush()
            for name, tried in self.values.items():
                knob = KNOBS[name]
                sweeps[name] = tuple(candidates(setting, knob, tried))
                self.say(f"{knob.title} ({knob.says})")
                self._measure(sweeps[name], name, tags_file.name)
                setting = recommend(sweeps[name], knob, [trial for trial in self.trials if trial.knob == name])
                self.say(f"  best: {name} {getattr(setting, name):,}")
        return Outcome(setting, tuple(self.trials), sweeps, self.requests_used)

    def _measure(self, settings: Sequence[Setting], name: str, tags_file: str) -> None:
        """All settings in turns, in another order each turn, so that a slow minute meets no one alone.

        Also the one the sweep begins with: it won the last sweep, maybe by a lucky minute.
        """
        rand = random.Random(f"{self.seed}/{name}")
        for _ in range(self.repeats):
            for setting in rand.sample(settings, len(settings)):
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


def typical(trials: Sequence[Trial], setting: Setting, figure: str) -> float:
    """The median of one figure over the trials of a setting."""
    return float(median(getattr(trial, figure) for trial in trials if trial.setting == setting))


def discover(config: Config, path: str, given: Sequence[str], budget: int | None) -> Source:
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
