"""The scopes of a run: what is new, what comes before what is done, and what is read again. Pure.

Each scope has its own lease and its own name for commits, so that a long backfill, a repair and the live run of a
pipeline go on side by side. Invariant: a backfill only lowers `low`, a forward run only raises `high`, a repair moves
neither. What is done of a tag stays one window.
"""

from __future__ import annotations

from enum import Enum

from ..model import Micros, Window
from .timeline import DAY


class RunScope(Enum):
    """Which part of a wanted window is read."""

    ALL = "all"
    FORWARD = "forward"  # what comes after what is done, and the beginning of tags that were never read
    BACKFILL = "backfill"  # what comes before what is done
    REPAIR = "repair"  # again, of what is done, what no run looks at by itself any more


def window_of(
    scope: RunScope, wanted: Window, done: Window | None, *, newest_first: bool, present: Micros
) -> Window | None:
    """What a part makes done of a tag; None: nothing, this is the other part's. `present`: what is wanted beyond is
    forecast.
    """
    if scope is RunScope.ALL:
        return wanted
    if done is None:
        if scope is RunScope.BACKFILL:
            return None
        # The newest day first: it is what people wait for, and the back has then something to go on from.
        start = (min(wanted.end, present) - 1) // DAY * DAY if newest_first else wanted.start
        return Window(max(start, wanted.start), wanted.end)
    if scope is RunScope.FORWARD:
        return Window(min(done.end, wanted.end), wanted.end)
    return Window(min(wanted.start, done.start), done.start) if wanted.end > wanted.start else None


def shard_of(scope: RunScope, shard: str) -> str:
    """The name under which a part of a shard holds its lease and makes its commits."""
    prefix = {RunScope.BACKFILL: "backfill.", RunScope.REPAIR: "repair."}.get(scope, "")
    return f"{prefix}{shard}"
