"""Scenarios and bars as values, read from benchmarks/scenarios/*.yaml. Pure but for reading the files.

A bar names a measured figure and what it must reach; whether it is met is decided here and nowhere
else. Invariant: a bar on a figure that was not measured is an error, never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["FOLDER", "SCALES", "Bar", "BarResult", "Scenario", "judge", "load", "names"]

FOLDER = Path(__file__).resolve().parent.parent / "scenarios"
SCALES = ("small", "full")


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit for a measured figure: at least, or at most."""

    figure: str
    says: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"the bar on {self.figure} needs either at_least or at_most")


@dataclass(frozen=True, slots=True)
class BarResult:
    """A bar, and the measured figure."""

    bar: Bar
    measured: float
    met: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure. `kind` chooses the function that measures it; `shows` is its summary in one line."""

    name: str
    order: int
    title: str
    kind: str
    about: str
    shows: str
    settings: Mapping[str, Any]
    bars: tuple[Bar, ...] = ()


def names() -> list[str]:
    """All scenarios in the order they run."""
    return [scenario.name for scenario in sorted(map(load, _stems()), key=lambda scenario: scenario.order)]


def load(name: str, scale: str = "full") -> Scenario:
    """Read one scenario; at another scale than full its `small` settings win.

    Raises `KeyError` for a name there is no file for.
    """
    if name not in _stems():
        raise KeyError(f"no scenario {name!r}; there are: {', '.join(_stems())}")
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    settings = document["settings"]
    if scale == "small":
        settings = _merged(settings, document.get("small", {}))
    return Scenario(
        name=name,
        order=document["order"],
        title=document["title"],
        kind=document["kind"],
        about=" ".join(document["about"].split()),
        shows=document["shows"],
        settings=settings,
        bars=tuple(Bar(**bar) for bar in document.get("bars", ())),
    )


def judge(bars: tuple[Bar, ...], measured: Mapping[str, float]) -> tuple[BarResult, ...]:
    """Compare figures with bars. Raises `KeyError` where a figure is missing."""
    return tuple(BarResult(bar, measured[bar.figure], _met(bar, measured[bar.figure])) for bar in bars)


def _met(bar: Bar, value: float) -> bool:
    if bar.at_least is not None:
        return value >= bar.at_least
    return bar.at_most is not None and value <= bar.at_most


def _stems() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` wins, key by key, also inside mappings."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
