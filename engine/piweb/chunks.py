"""Events taken apart into columns, some thousand at a time, while they are warm in the cache. Pure.

Invariant: the nth entry of every column belongs to the nth event, and what is no plain number is in
`odd`, untouched, with its place in `odd_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.model import Int64s

from .times import parse_ticks
from .tolerant import PlainEvent
from .values import land
from .wire import Event

__all__ = ["NO_FLAG", "NO_TIME", "Chunk", "Doubles", "take_apart", "take_apart_plain", "ticks_of"]

Doubles = npt.NDArray[np.float64]

# Stands for a time that cannot be read; no event lies there, in the year -27258.
NO_TIME = int(np.iinfo(np.int64).min)

# A flag the server did not send.
NO_FLAG = 2

_NANOS = pa.timestamp("ns", tz="UTC")
_NANOS_PER_TICK = 100
# From here on a double may not hold a whole number.
_EXACT_BELOW = 2.0**53


@dataclass(slots=True)
class Chunk:
    """Columns of some events."""

    ticks: Int64s
    numbers: Doubles
    odd_at: list[int]
    odd: list[Any]
    flags: tuple[bytes, ...]  # good, questionable, substituted, annotated: 0, 1, or NO_FLAG

    def __len__(self) -> int:
        return len(self.ticks)


def take_apart(events: Sequence[Event]) -> Chunk:
    return Chunk(
        ticks_of([event.Timestamp for event in events]),
        *_split_values([event.Value for event in events]),
        (
            _flags([event.Good for event in events]),
            _flags([event.Questionable for event in events]),
            _flags([event.Substituted for event in events]),
            _flags([event.Annotated for event in events]),
        ),
    )


def take_apart_plain(events: Sequence[PlainEvent]) -> Chunk:
    return Chunk(
        np.fromiter((event.ticks for event in events), np.int64, len(events)),
        *_split_values([event.value for event in events]),
        (
            _flags([event.good for event in events]),
            _flags([event.questionable for event in events]),
            _flags([event.substituted for event in events]),
            _flags([event.annotated for event in events]),
        ),
    )


def ticks_of(texts: list[str]) -> Int64s:
    """Whole 100 ns ticks since the epoch; `NO_TIME` for what is no time."""
    try:
        nanos = pa.array(texts, pa.string()).cast(_NANOS)
    except pa.ArrowInvalid:
        # A year that 64 bits of nanoseconds do not reach, or no time at all.
        return np.fromiter(map(_ticks_or_none, texts), np.int64, len(texts))
    ticks: Int64s = nanos.view(pa.int64()).to_numpy() // _NANOS_PER_TICK
    return ticks


def _ticks_or_none(text: str) -> int:
    try:
        return parse_ticks(text)
    except ValueError:
        return NO_TIME


def _split_values(values: list[Any]) -> tuple[Doubles, list[int], list[Any]]:
    """Numbers as doubles; where the other values are, and what they are."""
    types = list(map(type, values))
    odd_at: list[int] = []
    if types.count(float) < len(types):
        odd_at = [i for i, kind in enumerate(types) if kind is not float and kind is not int]
    odd = [values[i] for i in odd_at]
    for i in odd_at:
        values[i] = 0.0
    try:
        numbers = np.fromiter(values, np.float64, len(values))
    except OverflowError:
        numbers = np.array([land(value).value for value in values], np.float64)
    # What a double does not hold exactly keeps its text as well.
    for i in np.flatnonzero(np.abs(numbers) >= _EXACT_BELOW).tolist():
        if type(values[i]) is int:
            odd_at.append(i)
            odd.append(land(values[i]))
    return numbers, odd_at, odd


def _flags(flags: list[bool | None]) -> bytes:
    # Mostly they are all alike, and then counting is ten times as fast as converting.
    first = flags[0] if flags else None
    if flags.count(first) == len(flags):
        return bytes((NO_FLAG if first is None else first,)) * len(flags)
    try:
        return bytes(flags)  # type: ignore[arg-type]  # a bool is a small int; None is none
    except TypeError:
        return bytes(NO_FLAG if flag is None else flag for flag in flags)
