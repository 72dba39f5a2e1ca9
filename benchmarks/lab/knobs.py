"""The settings that are tuned, and which of the measured ones to recommend. Pure.

One setting is varied at a time while the others stand at their best so far. Of the values that come
within a few per cent of the fastest, the one is recommended that costs least elsewhere: a difference
of that size is noise, and pressing a PI server harder, or holding larger answers, for nothing is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Literal

import yaml

__all__ = ["KNOBS", "Knob", "Setting", "Trial", "candidates", "overrides", "percentile", "recommend", "snippet"]

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


def recommend(settings: Sequence[Setting], knob: Knob, trials: Sequence[Trial]) -> Setting:
    """Of the settings that come close to the fastest, by the median of their trials, the gentlest.

    Raises `ValueError` where none of them was measured.
    """
    speed = {
        setting: median(trial.values_per_second for trial in trials if trial.setting == setting)
        for setting in settings
        if any(trial.setting == setting for trial in trials)
    }
    if not speed:
        raise ValueError(f"nothing was measured of {knob.name}")
    enough = (1 - TOLERANCE) * max(speed.values())
    good = sorted((setting for setting in speed if speed[setting] >= enough), key=lambda s: int(getattr(s, knob.name)))
    return good[0] if knob.prefer == "smallest" else good[-1]


def overrides(setting: Setting) -> list[str]:
    """The setting as `section.key=value`, for loading a configuration with it."""
    return [f"{knob.section}.{name}={getattr(setting, name)}" for name, knob in KNOBS.items()]


def snippet(setting: Setting, names: Iterable[str] = KNOBS) -> str:
    """The setting as YAML to paste into a configuration."""
    document: dict[str, dict[str, int]] = {}
    for name in names:
        document.setdefault(KNOBS[name].section, {})[name] = getattr(setting, name)
    return yaml.safe_dump(document, sort_keys=False)


def percentile(numbers: Sequence[float], share: float) -> float:
    """The number that `share` of all do not exceed; 0 of none."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
