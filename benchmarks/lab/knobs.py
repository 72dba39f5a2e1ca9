"""The settings that are tuned, and which of the measured ones to recommend. Pure.

One setting is varied at a time while the others stand at their best so far. Of the values that come
within a few per cent of the fastest, the one is recommended that costs least elsewhere: a difference
of that size is noise, and pressing a PI server harder, or holding larger answers, for nothing is not.

Speeds drift while they are measured: the baseline, which is the setting that a knob's trials begin with, is measured
again between all others, and each other trial counts in relation to the baseline before and after it. How much the
baseline itself varies is the spread. What differs by less is no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Literal

import yaml

__all__ = [
    "KNOBS", "Knob", "Setting", "Trial", "candidates", "compared", "in_turn", "no_difference", "overrides", "percentile",
    "recommend", "snippet", "spread_of",
]  # fmt: skip

TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting: where it stands in the configuration, and what to try."""

    name: str
    section: str
    title: str
    says: str
    values: tuple[int, ...]
    prefer: Literal["smallest", "largest"]


KNOBS: Mapping[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob("batch_size", "extraction", "Batch size", "tags in one request", (25, 50, 100, 250, 500), "smallest"),
        Knob(
            "values_per_answer", "performance", "Values per answer", "events one request is planned to bring",
            (5_000, 10_000, 25_000, 50_000, 100_000), "smallest",
        ),
        Knob("max_in_flight", "pi_web_api", "Requests in flight", "unanswered at one time", (1, 2, 4, 8, 16), "smallest"),
        # The larger of two equals: fewer, larger files.
        Knob("commit_rows", "performance", "Commit size", "rows in one commit", (100_000, 250_000, 500_000, 1_000_000), "largest"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """One value for each knob; the defaults are the configuration's."""

    batch_size: int = 100
    values_per_answer: int = 25_000
    max_in_flight: int = 4
    commit_rows: int = 1_000_000

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run with a setting showed, and which knob was varied then."""

    setting: Setting
    values_per_second: float
    p50_ms: float
    p95_ms: float
    peak_mib: float
    values: int
    requests: int
    throttled: int = 0
    knob: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def candidates(base: Setting, knob: Knob, values: Iterable[int]) -> list[Setting]:
    """Settings that differ from `base` in one knob alone; what `base` has there is one of them."""
    return [replace(base, **{knob.name: value}) for value in sorted({*values, getattr(base, knob.name)})]


def in_turn(base: Setting, others: Iterable[Setting]) -> list[Setting]:
    """The baseline, and again after each of the others."""
    return [base, *(each for other in others for each in (other, base))]


def spread_of(base: Setting, trials: Iterable[Trial]) -> float:
    """How much the trials of one setting vary: the difference of the extremes as a share of the median; 0 of one."""
    speeds = [trial.values_per_second for trial in trials if trial.setting == base]
    return (max(speeds) - min(speeds)) / median(speeds) if speeds and median(speeds) else 0.0


def compared(base: Setting, trials: Sequence[Trial]) -> dict[Setting, float]:
    """The speed of each setting in relation to the baseline before and after it: the median of its trials.

    `trials`: of one knob, in the order in which they ran. Settings count as they are where the baseline was not measured.
    """
    speeds: dict[Setting, list[float]] = {}
    around = [(at, trial.values_per_second) for at, trial in enumerate(trials) if trial.setting == base]
    for at, trial in enumerate(trials):
        near = [*[speed for n, speed in around if n < at][-1:], *[speed for n, speed in around if n > at][:1]]
        if trial.setting == base or not sum(near):
            relative = 1.0 if trial.setting == base else trial.values_per_second
        else:
            relative = trial.values_per_second * len(near) / sum(near)
        speeds.setdefault(trial.setting, []).append(relative)
    return {setting: median(found) for setting, found in speeds.items()}


def no_difference(speed: Mapping[Setting, float], spread: float) -> bool:
    """Whether all settings are as fast as each other, as far as the spread lets one see."""
    return min(speed.values()) >= (1 - max(TOLERANCE, spread)) * max(speed.values())


def recommend(knob: Knob, speed: Mapping[Setting, float], spread: float = 0.0) -> Setting:
    """Of the settings that come close to the fastest, or nearer than the spread, the gentlest.

    Raises `ValueError` where none was measured.
    """
    if not speed:
        raise ValueError(f"nothing was measured of {knob.name}")
    enough = (1 - max(TOLERANCE, min(spread, 1.0))) * max(speed.values())
    good = sorted((setting for setting in speed if speed[setting] >= enough), key=lambda s: int(getattr(s, knob.name)))
    return good[0] if knob.prefer == "smallest" else good[-1]


def overrides(setting: Setting) -> list[str]:
    """The setting as `section.key=value`, for loading a configuration with it."""
    return [f"{knob.section}.{name}={getattr(setting, name)}" for name, knob in KNOBS.items()]


def snippet(setting: Setting, names: Iterable[str] = KNOBS, *, undecided: Iterable[str] = ()) -> str:
    """The setting as YAML to paste into a configuration. `undecided`: knobs that made no difference."""
    document: dict[str, dict[str, int]] = {}
    for name in names:
        document.setdefault(KNOBS[name].section, {})[name] = getattr(setting, name)
    notes = "".join(f"# {name}: no difference\n" for name in undecided)
    return notes + yaml.safe_dump(document, sort_keys=False)


def percentile(numbers: Sequence[float], share: float) -> float:
    """The number that `share` of all do not exceed; 0 of none."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
