"""One tag's part of an answer, and how far it is complete. Pure.

Invariant: a window is only called complete up to an instant before which the answer cannot have
left anything out, and that instant is a whole microsecond, so that the ordinals of events that share
one are never split over two answers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from config.errors import UnavailableError, UndecodableError
from engine.model import Ask, AskError, Micros

__all__ = ["OUT_OF_ORDER", "Part", "complete_until", "cut_midway", "is_ambiguous", "missing", "undecodable"]

OUT_OF_ORDER = "its events are not in the order of time"


class Part(msgspec.Struct):
    """What an answer holds for one ask.

    `answered` events, of which the first `count` could be read, and those before `stop` be trusted.
    """

    answered: int = 0
    count: int = 0
    units: str = ""
    stop: Micros | None = None
    error: AskError | None = None

    def refuse(self, error: AskError) -> None:
        """Trust none of it."""
        self.stop, self.error = None, error


def complete_until(ask: Ask, part: Part, last: Micros | None, *, ambiguous: bool) -> Micros:
    """Up to where the events of `part` are all there are. `last` is the time of its last event.

    - failed before any event: nothing is known
    - failed at or after an event: whole before it
    - as many events as were asked for: cut without a sign, whole before the last one
    - `ambiguous`: perhaps cut; whole before the last one, or not known at all without one
    - else everything up to the end
    """
    if part.stop is not None:
        until = part.stop
    elif part.error is not None:
        until = ask.start
    elif part.answered >= ask.max_count or ambiguous:
        until = ask.start if last is None else last
    else:
        until = ask.end
    return max(ask.start, min(until, ask.end))


def is_ambiguous(asks: Sequence[Ask], parts: Sequence[Part], streams: Collection[str]) -> bool:
    """Whether several tags may have shared one count, and used it up.

    PI does not say whether the count of a streamset is meant for each tag or for all together. More
    events than the count prove the former, fewer leave nothing to worry about. `streams` are the
    WebIDs that were answered: with a stranger among them, the events cannot be counted up.
    """
    if len(asks) < 2:
        return False
    strangers = len(set(streams) - {ask.tag.web_id for ask in asks})
    return strangers > 0 or sum(part.answered for part in parts) == asks[0].max_count


def missing(ask: Ask) -> Part:
    return Part(error=UnavailableError(f"tag {ask.tag.name}: the answer holds nothing for it"))


def undecodable(ask: Ask, why: str) -> UndecodableError:
    return UndecodableError(
        f"tag {ask.tag.name}: {why}", hint="the tag is set aside; please report it with this message"
    )


def cut_midway(why: str) -> UnavailableError:
    return UnavailableError(f"the answer was cut midway, or is no JSON: {why}")
