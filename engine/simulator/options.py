"""The options of a simulated PI System."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from .faults.plan import FaultPlan
from .times import DAY, MICROSECOND, SECOND, ticks_of

Clock: TypeAlias = Callable[[], float]

# About nine floats in ten, as in a plant.
_TYPES = (
    ("Float32", 80.0), ("Float64", 7.0), ("Float16", 2.0), ("Int32", 1.5), ("Int16", 0.75),
    ("Digital", 5.0), ("String", 3.0), ("Timestamp", 0.5), ("Blob", 0.25),
)  # fmt: skip
_SHAPES = (("steady", 88.0), ("jittered", 4.0), ("doubled", 4.0), ("crowded", 4.0))
POINT_TYPES = tuple(name for name, _ in _TYPES)
SHAPES = tuple(name for name, _ in _SHAPES)
PROFILES = ("uniform", "mixed")


def bounds(weights: tuple[tuple[object, float], ...]) -> tuple[float, ...]:
    """Where the share of each choice ends, between 0 and 1."""
    total = sum(weight for _, weight in weights)
    return tuple(running / total for running in accumulate(weight for _, weight in weights)) if total else ()


@dataclass(frozen=True, slots=True)
class BasicLogin:
    """Only this user has access."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BearerLogin:
    """Only a request with this token has access."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """A whole PI System in one value: the same options give the same events, always.

    `now` None is the wall clock, a number stands still (seconds since 1970), a callable is asked.
    Events exist from `begin` on. `types` and `shapes` are weights; shapes say how events of a tag
    lie in time (`steady`; `jittered`; `doubled`: two at one instant; `crowded`: three within one
    microsecond). Profile `uniform` gives every tag one event per `interval_secs` on average,
    `mixed` rates from 1 Hz to one a day. A share `bad` of all events is a system state or null.
    An asset database holds `elements` elements, each with `more_attributes` attributes beside those of its template, and
    as many event frames begin a day as `frames_per_day` says.
    The last `future_tags` store future data: forecasts, see `forecast`.
    """

    tags: int = 1000
    seed: int = 1
    begin: str = "2020-01-01T00:00:00Z"
    now: float | Clock | None = None
    interval_secs: float = 60.0
    profile: str = "uniform"
    types: tuple[tuple[str, float], ...] = _TYPES
    shapes: tuple[tuple[str, float], ...] = _SHAPES
    bad: float = 0.02
    odd_names: bool = True
    future_tags: int = 0
    future_renewed_secs: float = 6 * 3600.0
    future_reach_secs: float = 48 * 3600.0
    server: str = "SIMDA"
    elements: int = 0
    more_attributes: int = 0
    frames_per_day: float = 0.0
    asset_server: str = "SIMAF"
    asset_database: str = "Plant"
    time_zone: str = "UTC"
    auth: BasicLogin | BearerLogin | None = None
    faults: FaultPlan = field(default_factory=FaultPlan)
    # Worked out once, because they are needed for every tag.
    begin_ticks: int = field(init=False, repr=False)
    interval_ticks: int = field(init=False, repr=False)
    future_renewed_ticks: int = field(init=False, repr=False)
    future_reach_ticks: int = field(init=False, repr=False)
    type_bounds: tuple[float, ...] = field(init=False, repr=False)
    shape_bounds: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "begin_ticks", ticks_of(self.begin))
        object.__setattr__(self, "interval_ticks", round(self.interval_secs * SECOND))
        object.__setattr__(self, "future_renewed_ticks", round(self.future_renewed_secs * SECOND))
        object.__setattr__(self, "future_reach_ticks", round(self.future_reach_secs * SECOND))
        object.__setattr__(self, "type_bounds", bounds(self.types))
        object.__setattr__(self, "shape_bounds", bounds(self.shapes))
        problems = []
        if self.elements < 0 or self.more_attributes < 0:
            problems.append(
                f"elements is {self.elements}, more_attributes {self.more_attributes}, must not be negative"
            )
        if not 0 <= self.frames_per_day <= 86_400:
            problems.append(f"frames_per_day is {self.frames_per_day}, must be between 0 and 86400")
        if self.tags < 0:
            problems.append(f"tags is {self.tags}, must not be negative")
        if not 0 <= self.future_tags <= self.tags:
            problems.append(f"future_tags is {self.future_tags}, must be between 0 and tags")
        if not 0 < self.future_renewed_ticks <= self.future_reach_ticks:
            problems.append("future_renewed_secs must be more than 0 and no more than future_reach_secs")
        if self.interval_ticks < 10 * MICROSECOND:
            problems.append(f"interval_secs is {self.interval_secs}, must be at least 0.00001")
        if self.begin_ticks % DAY:
            problems.append(f"begin is {self.begin}, must be midnight UTC")
        if self.profile not in PROFILES:
            problems.append(f"profile is {self.profile!r}, must be one of {', '.join(PROFILES)}")
        for given, known in ((self.types, POINT_TYPES), (self.shapes, SHAPES)):
            unknown = sorted({name for name, _ in given} - set(known))
            if unknown or not given:
                problems.append(f"{', '.join(unknown) or 'nothing'} is not among {', '.join(known)}")
        if problems:
            raise ValueError("simulator options: " + "; ".join(problems))
