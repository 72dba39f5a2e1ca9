"""PI points as a function of their index: names, types, rates. Nothing is held per point.

Pure. `point(options, index)` costs a few microseconds; half a million tags cost no memory. The
name ends in the index, so the way back from a name or path needs no table either.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

from ..options import SimulatorOptions, bounds
from ..times import SECOND
from ..wildcards import wildcard
from .values import DIGITAL_SETS

FIRST_ID = 1001
_T = TypeVar("_T")
_MASK = (1 << 64) - 1
# 2^64 over the golden ratio: multiples of it spread evenly, so that even a few tags show all types.
_GOLDEN = 0x9E3779B97F4A7C15
_MIXED_RATES = ((1, 2), (5, 8), (10, 10), (60, 40), (300, 20), (3600, 15), (86400, 5))  # seconds, per cent
_MIXED_BOUNDS = bounds(_MIXED_RATES)
_SETS = tuple(DIGITAL_SETS)
_MEASURES = {
    "Digital": ("State",),
    "String": ("Message", "Batch"),
    "Timestamp": ("LastMaintenance",),
    "Blob": ("Spectrum",),
    "Int16": ("Counter",),
    "Int32": ("Total",),
}
_NUMBERS = (("Flow", "m3/h"), ("Level", "%"), ("Pressure", "bar"), ("Temp", "°C"), ("Speed", "1/min"), ("Power", "kW"))
_ODD_NAME = "Öl #2 & 5% +x; {m}"


@dataclass(frozen=True, slots=True)
class Point:
    """One tag. `phase_ticks` is when its first event comes, counted from the beginning of history."""

    index: int
    name: str
    units: str
    type: str
    digital_set: str
    shape: str
    interval_ticks: int
    phase_ticks: int
    offset: int
    future: bool = False

    @property
    def id(self) -> int:
        return FIRST_ID + self.index

    @property
    def step(self) -> bool:
        return not self.type.startswith("Float") or self.index % 10 == 9


class SignalParameters(NamedTuple):
    """What determines the events of a tag: its type, and when it records. Cheaper to compute than the whole point."""

    type: str
    digital_set: str
    shape: str
    interval_ticks: int
    phase_ticks: int
    offset: int


def signal_parameters(options: SimulatorOptions, index: int) -> SignalParameters:
    """The signal parameters of the tag with this index, `0 <= index < options.tags`."""
    dice = _mix(options.seed, index)
    point_type = _type(options, index)
    shape = _pick(options.shapes, options.shape_bounds, (dice >> 8 & 0xFFFF) / 65536)
    interval = options.interval_ticks
    if options.profile == "mixed":
        interval = _pick(_MIXED_RATES, _MIXED_BOUNDS, (dice >> 24 & 0xFFFF) / 65536) * SECOND
    return SignalParameters(
        point_type,
        _SETS[dice % len(_SETS)] if point_type == "Digital" else "",
        shape,
        interval,
        _phase(dice >> 16, interval, shape),
        index * 7919 + options.seed * 104_729,
    )


def point(options: SimulatorOptions, index: int) -> Point:
    """The tag with this index, `0 <= index < options.tags`."""
    if not 0 <= index < options.tags:
        raise IndexError(f"tag {index} of {options.tags}")
    found = signal_parameters(options, index)
    measure, units = _measure(found.type, index)
    return Point(index, _name(options, index, measure), units, *found, is_future(options, index))


def is_future(options: SimulatorOptions, index: int) -> bool:
    """Whether the tag with this index stores future data."""
    return index >= options.tags - options.future_tags


def name_of(options: SimulatorOptions, index: int) -> str:
    return _name(options, index, _measure(_type(options, index), index)[0])


def find(options: SimulatorOptions, name: str) -> int | None:
    """Index of the tag of this name; names are not case-sensitive."""
    digits = name.rpartition(".")[2]
    if not (digits.isascii() and digits.isdigit()):
        return None
    index = int(digits)
    if index >= options.tags or name_of(options, index).casefold() != name.casefold():
        return None
    return index


@lru_cache(maxsize=16)
def _filtered(seed: int, tags: int, types: tuple[tuple[str, float], ...], odd: bool, pattern: str) -> tuple[int, ...]:
    options = SimulatorOptions(tags=tags, seed=seed, types=types, odd_names=odd)
    match = wildcard(pattern)
    return tuple(index for index in range(tags) if match(name_of(options, index)))


def matching(options: SimulatorOptions, pattern: str) -> range | tuple[int, ...]:
    """Indexes of the tags a name filter selects, in order of their names."""
    if not re.search(r"[^*]", pattern):
        return range(options.tags)
    if not re.search(r"[*?]", pattern):
        index = find(options, pattern)
        return () if index is None else (index,)
    return _filtered(options.seed, options.tags, options.types, options.odd_names, pattern)


def _name(options: SimulatorOptions, index: int, measure: str) -> str:
    if options.odd_names and index % 97 == 96:
        measure = _ODD_NAME.format(m=measure)
    return f"Unit{index // 50:04d}.{measure}.{index:06d}"


def _measure(point_type: str, index: int) -> tuple[str, str]:
    if words := _MEASURES.get(point_type):
        return words[index % len(words)], ""
    return _NUMBERS[index % len(_NUMBERS)]


def _phase(dice: int, interval: int, shape: str) -> int:
    """When in its interval a tag records: a third on whole seconds, a third on milliseconds, a third anywhere."""
    phase = dice % interval
    grain = (SECOND, SECOND // 1000, 1)[dice // interval % 3]
    if shape == "crowded":
        # Its three events lie one tick apart, within one microsecond.
        return phase - phase % 10 + phase % 8
    return phase - phase % grain if grain <= interval else phase


def _mix(seed: int, index: int) -> int:
    """splitmix64: 64 bits that look random, from (seed, index)."""
    z = (seed * 0xD1342543DE82EF95 + (index + 1) * _GOLDEN) & _MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK
    return z ^ z >> 31


def _type(options: SimulatorOptions, index: int) -> str:
    return _pick(options.types, options.type_bounds, _even(options.seed, index))


def _even(seed: int, index: int) -> float:
    return ((seed * 0xD1342543 + index) * _GOLDEN & _MASK) / 2**64


def _pick(weights: tuple[tuple[_T, float], ...], ends: tuple[float, ...], at: float) -> _T:
    return weights[min(bisect_right(ends, at), len(weights) - 1)][0]
