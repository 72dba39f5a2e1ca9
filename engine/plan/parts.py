"""The parts of a run: what is new, what lies behind what is done, and what of it is read again. Pure.

Each has a lease and a name for its commits, so that a long backfill, a repair and the live run of the
same pipeline go on side by side. Invariant: the back only ever lowers `low`, the front only ever raises
`high`, a repair moves neither; done stays one window of each tag.
"""

from __future__ import annotations

from enum import Enum

from ..model import Micros, Window
from .timeline import DAY

__all__ = ["Part", "shard_of", "window_of"]


class Part(Enum):
    """Which part of a wanted window is read."""

    ALL = "all"
    FRONT = "front"  # what comes after what is done, and the beginning of tags that were never read
    BACK = "back"  # what comes before what is done
    REPAIR = "repair"  # again, of what is done, what no run looks at by itself any more


def window_of(part: Part, wanted: Window, done: Window | None, *, newest_first: bool, present: Micros) -> Window | None:
    """What a part makes done of a tag; None: nothing, this is the other part's. `present`: what is wanted beyond is
    forecast.
    """
    if part is Part.ALL:
        return wanted
    if done is None:
        if part is Part.BACK:
            return None
        # The newest day first: it is what people wait for, and the back has then something to go on from.
        start = (min(wanted.end, present) - 1) // DAY * DAY if newest_first else wanted.start
        return Window(max(start, wanted.start), wanted.end)
    if part is Part.FRONT:
        return Window(min(done.end, wanted.end), wanted.end)
    return Window(min(wanted.start, done.start), done.start) if wanted.end > wanted.start else None


def shard_of(part: Part, shard: str) -> str:
    """The name under which a part of a shard holds its lease and makes its commits."""
    prefix = {Part.BACK: "backfill.", Part.REPAIR: "repair."}.get(part, "")
    return f"{prefix}{shard}"
