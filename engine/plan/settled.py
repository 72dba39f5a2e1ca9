"""What an answer means for the table: values that the plan gives, and the flow carries out. Pure.

Invariant: an `Advance` never covers an event that was not handed over with it or before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from config.errors import ExtractError

from ..model import Micros, Tag

__all__ = ["Advance", "Failure", "Keep", "Settled", "Swap"]


class Advance(msgspec.Struct, frozen=True, gc=False):
    """Once `rows` new events of the tag are committed, `[low, high)` is done.

    `last_digest` sums up the rows at `last_event`. After a correction that left no event at all, `last_event`
    is where it began and the digest 0: from there on nothing is. `ahead_from`: of a tag that stores future data,
    from there on what is done is yet to come, or was not compared again.
    """

    tag: Tag
    low: Micros
    high: Micros
    rows: int
    last_event: Micros | None
    last_digest: int | None = None
    ahead_from: Micros | None = None


class Keep(Enum):
    """What becomes of the rows of an outcome."""

    NOTHING = auto()
    FRESH = auto()  # those after the overlap are appended (without an overlap: all of them)
    REPLACE = auto()  # as fresh, and those of the overlap take the place of what the table holds (without one: all do)


class Swap(msgspec.Struct, frozen=True, gc=False):
    """The rows that replace are all there are of the tag in `[start, end)`."""

    tag: Tag
    start: Micros
    end: Micros


@dataclass(frozen=True, slots=True)
class Failure:
    """A tag given up for this run; `low` and `high` are as far as it is done."""

    tag: Tag
    error: ExtractError
    low: Micros
    high: Micros


@dataclass(frozen=True, slots=True)
class Settled:
    """What an answer means. `keep[i]` says what becomes of the rows of outcome i; where they replace, a swap says
    of which window.
    """

    advances: tuple[Advance, ...]
    failures: tuple[Failure, ...]
    keep: tuple[Keep, ...]
    swaps: tuple[Swap, ...] = ()
