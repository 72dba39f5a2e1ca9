"""Reads recorded values event by event, in any shape that servers give them. Slow, and rarely needed. Pure.

It reads arrays, blobs, events with errors, half-written streams and non-standard JSON. `decode` uses it for a stream
that does not fit the strict shapes, `reference_decoder` for every stream. A value that the server could not give is an
event, too, of kind "error" and not good. Invariant: an event is read in full, or nothing of the stream is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.model import Ask, AskError

from .problems import sentence_of, tag_error
from .streams import StreamPart, undecodable
from .times import TICKS_PER_MICRO, parse_ticks
from .values import StoredValue, ValueKind, stored_value, value_error

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
# Stands for what could not be read of a text.
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class PlainEvent:
    """One event: 100 ns ticks since the epoch, the landed value, and the four flags as sent."""

    ticks: int
    value: StoredValue
    good: bool | None
    questionable: bool | None
    substituted: bool | None
    annotated: bool | None


def read_stream(content: Any, ask: Ask) -> tuple[StreamPart, list[PlainEvent]]:
    """Read the parsed JSON of one stream."""
    if not isinstance(content, dict):
        return StreamPart(error=undecodable(ask, f"expected recorded values, found {sentence_of(content)!r}")), []
    items = content.get("Items")
    items = items if isinstance(items, list) else []
    units = content.get("UnitsAbbreviation")
    # What is damaged is no unit: the point's own stands in, since no run looks at the units of a row again.
    part = StreamPart(answered=len(items), units=units if isinstance(units, str) and _REPLACEMENT not in units else "")
    events: list[PlainEvent] = []
    try:
        events.extend(_event(item, ask.tag.point_type) for item in items)
    except ValueError as error:
        part.refuse(undecodable(ask, str(error), excerpt=items[len(events)]))
        return part, []
    part.count = len(events)
    if broken := _stream_error(content, ask):
        part.error = broken
        if part.stop is None and events:
            part.stop = events[-1].ticks // TICKS_PER_MICRO
    return part, events


def _stream_error(content: dict[str, Any], ask: Ask) -> AskError | None:
    """What the stream says of itself: that writing it failed midway, or that it has no values."""
    if failure := content.get("WebException"):
        status = failure.get("StatusCode") if isinstance(failure, dict) else None
        return tag_error(status if isinstance(status, int) and status >= 400 else 500, failure, ask.tag)
    if content.get("Errors"):
        return tag_error(200, content, ask.tag)
    if not isinstance(content.get("Items"), list):
        message = sentence_of(content)
        return undecodable(ask, "the answer holds no list of events" + (message and f": {message}"))
    return None


def _ticks(item: dict[str, Any]) -> int:
    text = item.get("Timestamp")
    if not isinstance(text, str):
        msg = "an event has no time"
        raise ValueError(msg)  # noqa: TRY004  (bad data, not a bad argument)
    return parse_ticks(text)


def _event(item: Any, point_type: str) -> PlainEvent:
    if not isinstance(item, dict):
        msg = "an event is not an object"
        raise ValueError(msg)  # noqa: TRY004  (bad data, not a bad argument)
    said = value_error(item)
    failed = StoredValue(None, sentence_of(said) or "the server does not say why", None, ValueKind.ERROR)
    return PlainEvent(
        _ticks(item),
        stored_value(item.get("Value"), point_type) if said is None else failed,
        _flag(item, "Good") if said is None else False,
        _flag(item, "Questionable"),
        _flag(item, "Substituted"),
        _flag(item, "Annotated"),
    )


def _flag(item: dict[str, Any], name: str) -> bool | None:
    flag = item.get(name)
    if flag is None or isinstance(flag, bool):
        return flag
    # As what has gone through XML, or a database, comes.
    if (said := _FLAGS.get(str(flag).casefold())) is not None:
        return said
    msg = f"{name} is neither true nor false"
    raise ValueError(msg)
