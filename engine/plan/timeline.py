"""Windows on the time line: what is missing, and how it is cut into slices. Pure.

Invariant: what is done of a tag is one window `[low, high)`, never two with a hole between. A wanted window that lies
apart is joined to it, so the time between is read, too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from ..model import Micros, Window

SECOND: Micros = 1_000_000
HOUR: Micros = 3_600 * SECOND
DAY: Micros = 24 * HOUR
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at: Micros) -> str:
    """An instant for people: ISO 8601, UTC."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat().removesuffix("+00:00") + "Z"


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A window to be read. Forward ones grow `high` upwards, backward ones `low` downwards."""

    start: Micros
    end: Micros
    backward: bool = False


def gaps(done: Window | None, wanted: Window) -> tuple[Gap, ...]:
    """What must be read so that `done` is one window that includes `wanted`.

    Three cases: nothing is done yet (all of it, forward); the wanted window ends after what is done
    (forward from `high`); it begins before (backward from `low`). The last two may hold at once.
    """
    if wanted.end <= wanted.start:
        return ()
    if done is None:
        return (Gap(wanted.start, wanted.end),)
    found: list[Gap] = []
    if wanted.end > done.end:
        found.append(Gap(done.end, wanted.end))
    if wanted.start < done.start:
        found.append(Gap(wanted.start, done.start, backward=True))
    return tuple(found)


def cut(start: Micros, end: Micros, days: int, *, backward: bool) -> Micros:
    """Where the next slice of a gap ends (forward) or begins (backward).

    Slices of a long gap end on UTC midnights, since tables are partitioned by date: a commit then
    touches few partitions. What fits into one slice anyway is not cut at all.
    """
    length = days * DAY
    if end - start <= length:
        return start if backward else end
    if backward:
        return -(-(end - length) // DAY) * DAY
    return (start + length) // DAY * DAY
