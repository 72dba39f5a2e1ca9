"""Holes: windows of a tag that the source cannot give, inside what its watermark calls done. Pure.

A run that meets an instant it cannot read goes on behind it, and writes the hole down in the commit that moves the
watermark over it. A hole is asked for again on a schedule of its own, and closed when the source has answered.
Invariant: the holes of a tag are in order and do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

_MINUTE: Final = 60_000_000
_DAY: Final = 86_400_000_000


class Hole(msgspec.Struct, frozen=True, gc=False):
    """Events of a tag in `[start, end)` may be missing from the table, or be there as they were before.

    Times are microseconds since 1970, UTC. It was found at `since`, has been asked for `attempts` times, and is due
    again at `ask_at`.
    """

    tag_webid: str
    start: int
    end: int
    error: str
    since: int
    attempts: int
    ask_at: int


class HoleChange(msgspec.Struct, frozen=True, gc=False):
    """What a commit says of `[start, end)` of a tag: it cannot be read, and why; or, without an error, it was read."""

    tag_webid: str
    start: int
    end: int
    error: str | None = None


# The open holes of each tag that has any.
Holes: TypeAlias = Mapping[str, tuple[Hole, ...]]


def next_ask(attempts: int, now: int) -> int:
    """When to ask again after so many attempts: in 1, 2, 4, ... minutes, and at least once a day."""
    return now + min(_MINUTE << min(max(0, attempts - 1), 20), _DAY)


def after(holes: Sequence[Hole], changes: Iterable[HoleChange], now: int) -> tuple[Hole, ...]:
    """The holes of a tag once these changes of it are committed, one after the other."""
    left = list(holes)
    for change in changes:
        touched = [hole for hole in left if hole.start < change.end and change.start < hole.end]
        left = [piece for hole in left for piece in _outside(hole, change.start, change.end)]
        if change.error is not None and change.start < change.end:
            attempts = 1 + max((hole.attempts for hole in touched), default=0)
            since = min((hole.since for hole in touched), default=now)
            left.append(
                Hole(change.tag_webid, change.start, change.end, change.error, since, attempts, next_ask(attempts, now))
            )
    return tuple(sorted(left, key=lambda hole: hole.start))


def _outside(hole: Hole, start: int, end: int) -> list[Hole]:
    """What is left of a hole outside of a window."""
    if end <= hole.start or hole.end <= start:
        return [hole]
    pieces = ((hole.start, min(hole.end, start)), (max(hole.start, end), hole.end))
    return [msgspec.structs.replace(hole, start=a, end=b) for a, b in pieces if a < b]
