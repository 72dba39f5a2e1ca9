"""Counts of events: what an answer to `requests.count*` says, a number for each day asked about. Pure.

An ask is cut into days of 24 hours from its start on, the last one shorter, as the server cuts it. Invariant: a number
is given only where the server gave one for exactly that day. Anything else in an answer is the error of its tag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from config.errors import RetryError, SplitError, TagError, UndecodableError
from engine.model import Ask, AskError, Micros

from .problems import sentence_of, tag_error
from .streams import cut_midway, missing, undecodable
from .times import TICKS_PER_MICRO, iso_text, parse_ticks
from .values import parse_json, well_formed
from .wire import Shape

# Stands where the server said something that is no count, or nothing at all.
NOT_COUNTED = -1
# And where it said "No Data": there is nothing to count.
NO_DATA = -3

_DAY: Micros = 86_400_000_000
_MINUTE: Micros = 60_000_000
_NO_DATA_STATE = 248
# More than this is no count of a day (24,000 events a second), and does not fit into what counts are kept in.
_MOST = (1 << 31) - 1
_LONGEST_TEXT = 100


class StreamCounts(Struct, frozen=True):
    """How many events the server counts on each day of an ask; with `error` the days are empty."""

    ask: Ask
    days: tuple[int, ...] = ()
    error: AskError | None = None


class EventTimes(Struct, frozen=True):
    """The events of an ask as they were read: when each of them is, and whether it is good. `full`: there may be more."""

    ask: Ask
    at: tuple[Micros, ...] = ()
    good: tuple[bool, ...] = ()
    full: bool = False
    error: AskError | None = None


_T = TypeVar("_T", StreamCounts, EventTimes)


class _Figure(Struct, gc=False):
    Timestamp: str
    Value: Any = None


class _CountItem(Struct, gc=False):
    Value: _Figure
    Type: str = "Count"


class _TimedEvent(Struct, gc=False):
    Timestamp: str
    Good: bool | None = None


class _Stream(Struct):
    """What is said of one tag in place of items. `WebId` is there in streamsets only."""

    WebId: str = ""
    Errors: Any = None
    Message: Any = None
    WebException: Any = None


class _CountStream(_Stream):
    Items: list[_CountItem] | None = None


class _EventStream(_Stream):
    Items: list[_TimedEvent] | None = None


class _Streamset(Struct):
    Items: list[Any]
    WebException: Any = None


class _CountPart(Struct):
    Status: int = 0
    Headers: Any = None
    Content: Any = None


def days_of(ask: Ask) -> int:
    return -(-(ask.end - ask.start) // _DAY)


def decode_counts(body: bytes, asks: Sequence[Ask], shape: Shape) -> list[StreamCounts]:
    """What the answer says of each ask, in their order.

    Raises `UnavailableError` for a body that is no answer to this.
    """
    return _decoded(body, asks, shape, _counted, StreamCounts)


def decode_times(body: bytes, asks: Sequence[Ask], shape: Shape) -> list[EventTimes]:
    """The times of recorded values of each ask, in their order: of all those that the answer holds.

    Raises `UnavailableError` for a body that is no answer to this.
    """
    return _decoded(body, asks, shape, _timed, EventTimes)


def _decoded(
    body: bytes, asks: Sequence[Ask], shape: Shape, read: Callable[[Ask, Any], _T], kind: type[_T]
) -> list[_T]:
    pairs = zip(asks, _contents(body, asks, shape), strict=True)
    read_of = [(ask, _of_one(ask, content, read)) for ask, content in pairs]
    return [found if isinstance(found, kind) else kind(ask, error=found) for ask, found in read_of]


def _contents(body: bytes, asks: Sequence[Ask], shape: Shape) -> list[Any]:
    """What the answer holds for each ask, not looked at yet: JSON, or the error that stands in its place."""
    if shape is Shape.STREAM:
        return [_opened(body, Any)]
    if shape is Shape.BATCH:
        parts = _opened(body, dict[str, Any])
        return [_of_part(parts.get(str(n)), ask) for n, ask in enumerate(asks)]
    streams = _opened(body, _Streamset)
    if streams.WebException is not None:  # the server broke off: what came may not be all there is
        raise cut_midway(sentence_of(streams.WebException) or "a WebException")
    found: dict[str, Any] = {}
    for stream in streams.Items:
        web_id = stream.get("WebId") if isinstance(stream, dict) else None
        if isinstance(web_id, str):
            # Two answers to one question are none.
            found[web_id] = stream if web_id not in found else _TWICE
    return [found.get(ask.tag.web_id) for ask in asks]


_TWICE = {"Errors": ["the answer holds this tag twice"]}


def _opened(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # a bare NaN, or a stray byte, is enough; what the standard library reads may still be an answer
    try:
        return msgspec.convert(parse_json(body), kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise cut_midway(_plain(error)) from error


def _of_part(part: Any, ask: Ask) -> Any:
    """The content of a part of a batch, or its error."""
    if part is None:
        return None
    try:
        opened = msgspec.convert(part, _CountPart)
        if 200 <= opened.Status < 300:
            return opened.Content
        return tag_error(opened.Status, opened.Content, ask.tag, opened.Headers)
    except Exception as error:  # noqa: BLE001 - any error is this tag's
        return _not_as_documented(ask, error)


def _of_one(ask: Ask, content: Any, read: Callable[[Ask, Any], Any]) -> Any:
    """What is read of one tag's content, or the error that says why there is nothing."""
    if isinstance(content, TagError | SplitError | RetryError):
        return content
    if content is None:
        return missing(ask).error
    try:
        return read(ask, content)
    except UndecodableError as error:
        return error
    except Exception as error:  # noqa: BLE001 - any error is this tag's
        return _not_as_documented(ask, error)


def _not_as_documented(ask: Ask, error: Exception) -> UndecodableError:
    return undecodable(ask, f"the answer is not as documented: {_plain(error)}")


def _plain(error: Exception) -> str:
    """What an exception says, short, and fit to be printed and stored."""
    return well_formed(str(error)[:_LONGEST_TEXT])


def _refusal(stream: _CountStream | _EventStream, ask: Ask) -> AskError | None:
    """What is said in place of figures or events, if anything is."""
    if stream.WebException is not None:
        broken = stream.WebException if isinstance(stream.WebException, Mapping) else {}
        status = broken.get("StatusCode")
        return tag_error(status if isinstance(status, int) else 500, broken, ask.tag)
    if stream.Items is None or stream.Errors:
        return tag_error(200, {"Errors": stream.Errors, "Message": stream.Message}, ask.tag)
    return None


def _counted(ask: Ask, content: Any) -> StreamCounts:
    stream = msgspec.convert(content, _CountStream)
    error = _refusal(stream, ask)
    if error is not None:
        return StreamCounts(ask, error=error)
    return StreamCounts(ask, _by_day([item.Value for item in stream.Items or () if item.Type == "Count"], ask))


def _timed(ask: Ask, content: Any) -> EventTimes:
    stream = msgspec.convert(content, _EventStream)
    error = _refusal(stream, ask)
    if error is not None:
        return EventTimes(ask, error=error)
    events = stream.Items or []
    at = tuple(parse_ticks(event.Timestamp) // TICKS_PER_MICRO for event in events)
    # A source that does not say whether a value is good has not called it bad.
    return EventTimes(ask, at, tuple(event.Good is not False for event in events))


def _by_day(figures: Sequence[_Figure], ask: Ask) -> tuple[int, ...]:
    count = days_of(ask)
    if tuple(figure.Timestamp for figure in figures) == _starts(ask.start, count):
        return tuple(_number(figure.Value) for figure in figures)
    days = [NOT_COUNTED] * count
    for figure in figures:
        day = _day(figure.Timestamp, ask)
        if day < count:
            days[day] = _number(figure.Value)
    return tuple(days)


@lru_cache(maxsize=256)
def _starts(start: Micros, count: int) -> tuple[str, ...]:
    """How a server stamps the counts, if it stamps them as we do. Most tags share a window."""
    return tuple(iso_text(start + day * _DAY) for day in range(count))


def _day(stamp: str, ask: Ask) -> int:
    """On which day of the ask a count is; after the last, one that begins where the ask ends: a server that rounds
    the end of what was asked for has one day more to count.

    A server that cuts other days than asked for is not understood; of a start that is no whole minute it may round.
    """
    try:
        at = parse_ticks(stamp)
    except (ValueError, OverflowError) as error:
        raise undecodable(ask, _plain(error)) from None
    day, rest = divmod(at - ask.start * TICKS_PER_MICRO, _DAY * TICKS_PER_MICRO)
    if rest and ask.start % _MINUTE:
        near = _MINUTE * TICKS_PER_MICRO
        day, rest = (day, 0) if rest < near else (day + 1, 0) if rest > _DAY * TICKS_PER_MICRO - near else (day, rest)
    if rest or not (0 <= day < days_of(ask) or at == ask.end * TICKS_PER_MICRO):
        raise undecodable(ask, f"a count is stamped {stamp[:40]!r}, where none begins")
    return day


def _number(value: Any) -> int:
    match value:
        case bool():
            return NOT_COUNTED
        case int() if 0 <= value <= _MOST:
            return value
        case float() if 0 <= value <= _MOST and value.is_integer():
            return int(value)
        case {"Value": code} if code == _NO_DATA_STATE and not isinstance(code, bool):
            return NO_DATA
        case _:
            return NOT_COUNTED
