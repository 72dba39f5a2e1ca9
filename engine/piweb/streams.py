"""One tag's part of an answer, and how far it is complete. Pure.

Invariant: a window is complete only up to an instant before which the answer cannot have left anything out. That
instant is a whole microsecond, so the ordinals of events that share one are never split over two answers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from config.errors import UnavailableError, UndecodableError, WrongWindowError
from engine.model import Ask, AskError, Int64s, Micros
from writers import NEVER

from .problems import excerpt_of_json
from .times import iso_text

OUT_OF_ORDER = "its events are not in the order of time"
# Servers round the ends of a range: so much beyond it an event is no sign of a misunderstanding, only not wanted.
ROUNDING: Micros = 1_000_000


class StreamPart(msgspec.Struct):
    """What an answer holds for one ask.

    `answered` events, of which the first `count` could be read, and those before `stop` be trusted.
    """

    answered: int = 0
    count: int = 0
    units: str = ""
    stop: Micros | None = None
    error: AskError | None = None

    def refuse(self, error: AskError) -> None:
        """Reject all of it."""
        self.stop, self.error = None, error


def complete_until(
    starts: Int64s,
    ends: Int64s,
    lasts: Int64s,
    *,
    full: npt.NDArray[np.bool_],
    failed: npt.NDArray[np.bool_],
    stops: Int64s,
) -> Int64s:
    """Up to where the events of each ask are all there are. `lasts` are the times of their last events.

    - `failed` before any event: nothing is known
    - failed at or after an event: whole before it, its stop
    - `full`, for as many events came as were asked for, or may be: cut without a sign, whole before the last one
    - else everything up to the end

    Without an event (or stop) a time is `NEVER`.
    """
    untils = np.where(failed | (stops != NEVER), stops, np.where(full, lasts, ends))
    return np.clip(untils, starts, ends)


def is_ambiguous(asks: Sequence[Ask], answered: int, streams: Collection[str]) -> bool:
    """Whether several tags may have shared one count, and used it up.

    PI does not say whether the count of a streamset is meant for each tag or for all together. More
    events than the count prove the former, fewer leave nothing to worry about. `streams` are the
    WebIDs that were `answered`: with a stranger among them, the events cannot be counted up.
    """
    if len(asks) < 2:
        return False
    strangers = len(set(streams) - {ask.tag.web_id for ask in asks})
    return strangers > 0 or answered == asks[0].max_count


def missing(ask: Ask) -> StreamPart:
    return StreamPart(error=UnavailableError(f"tag {ask.tag.name}: the answer holds nothing for it"))


def undecodable(ask: Ask, why: str, *, excerpt: Any = None) -> UndecodableError:
    """`excerpt`: the parsed JSON that could not be read."""
    return UndecodableError(
        f"tag {ask.tag.name}: {why}",
        hint="what lies around it is read; please report it with this message",
        excerpt="" if excerpt is None else excerpt_of_json(excerpt),
    )


def wrong_window(ask: Ask, at: Micros) -> WrongWindowError:
    """The answer is to another question: PI answers `recorded` with events of the window alone (boundaryType Inside)."""
    return WrongWindowError(
        f"tag {ask.tag.name}: asked for events from {_text(ask.start)} to {_text(ask.end)}, the server sent one of "
        f"{_text(at)}",
        hint="something between us and the PI Web API drops the query of requests: check the proxy",
    )


def _text(at: Micros) -> str:
    try:
        return iso_text(at)
    except OverflowError:  # a year that PI can write and the calendar does not have
        return "another age"


def cut_midway(why: str) -> UnavailableError:
    # The server did answer. As with a 500, it may be that of one bad tag.
    return UnavailableError(f"the answer was cut midway, or is no JSON: {why}", status=500)
