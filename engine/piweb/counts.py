"""Counts of events: what an answer to `requests.count*` says, a number for each day asked about. Pure.

An ask is cut into days of 24 hours from its start on, the last of them shorter, as the server cuts it.
Invariant: a number comes out only where the server gave one for exactly that day; whatever else an answer
holds, and whatever goes wrong in reading it, is the affair of the tag it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from config.errors import RetryError, SplitError, TagError, UndecodableError
from engine.model import Ask, AskError, Micros

from .problems import sentence_of, tag_error
from .streams import cut_midway, missing, undecodable
from .times import TICKS_PER_MICRO, iso_text, parse_ticks
from .values import parse_json, well_formed
from .wire import Shape

__all__ = ["NOT_COUNTED", "NO_DATA", "Counted", "Times", "days_of", "decode_counts", "decode_times"]

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


class Counted(Struct, frozen=True):
    """How many events the server counts on each day of an ask; with `error` the days are empty."""

    ask: Ask
    days: tuple[int, ...] = ()
    error: AskError | None = None


class Times(Struct, frozen=True):
    """The events of an ask as they were read: when each of them is, and whether it is good. `full`: there may be more."""

    ask: Ask
    at: tuple[Micros, ...] = ()
    good: tuple[bool, ...] = ()
    full: bool = False
    error: AskError | None = None


class _Figure(Struct, gc=False):
    Timestamp: str
    Value: Any = None


class _Item(Struct, gc=False):
    Value: _Figure
    Type: str = "Count"


class _Event(Struct, gc=False):
    Timestamp: str
    Good: bool | None = None


class _Stream(Struct):
    """The figures of one tag, or what is said in their place. `WebId` is there in streamsets only."""

    Items: list[_Item] | None = None
    WebId: str = ""
    Errors: Any = None
    Message: Any = None
    WebException: Any = None


class _Events(Struct):
    """The events of one tag, in the same places."""

    Items: list[_Event] | None = None
    WebId: str = ""
    Errors: Any = None
    Message: Any = None
    WebException: Any = None


class _Streams(Struct):
    Items: list[Any]
    WebException: Any = None


class _Part(Struct):
    Status: int = 0
    Headers: Any = None
    Content: Any = None


def days_of(ask: Ask) -> int:
    return -(-(ask.end - ask.start) // _DAY)


def decode_counts(body: bytes, asks: Sequence[Ask], shape: Shape) -> list[Counted]:
    """What the answer says of each ask, in their order.

    Raises `UnavailableError` for a body that is no answer to this.
    """
    found: list[Counted] = []
    for ask, content in zip(asks, _contents(body, asks, shape), strict=True):
        counted = _of_one(ask, content, _counted)
        found.append(counted if isinstance(counted, Counted) else Counted(ask, error=counted))
    return found


def decode_times(body: bytes, asks: Sequence[Ask], shape: Shape) -> list[Times]:
    """The times of recorded values of each ask, in their order: of all those that the answer holds.

    Raises `UnavailableError` for a body that is no answer to this.
    """
    found: list[Times] = []
    for ask, content in zip(asks, _contents(body, asks, shape), strict=True):
        times = _of_one(ask, content, _timed)
        found.append(times if isinstance(times, Times) else Times(ask, error=times))
    return found


def _contents(body: bytes, asks: Sequence[Ask], shape: Shape) -> list[Any]:
    """What the answer holds for each ask, not looked at yet: JSON, or the error that stands in its place."""
    if shape is Shape.STREAM:
        return [_opened(body, Any)]
    if shape is Shape.BATCH:
        parts = _opened(body, dict[str, Any])
        return [_of_part(parts.get(str(n)), ask) for n, ask in enumerate(asks)]
    streams = _opened(body, _Streams)
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
        opened = msgspec.convert(part, _Part)
        if 200 <= opened.Status < 300:
            return opened.Content
        return tag_error(opened.Status, opened.Content, ask.tag, opened.Headers)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this tag's
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
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this tag's
        return _not_as_documented(ask, error)


def _not_as_documented(ask: Ask, error: Exception) -> UndecodableError:
    return undecodable(ask, f"the answer is not as documented: {_plain(error)}")


def _plain(error: Exception) -> str:
    """What an exception says, short, and fit to be printed and stored."""
    return well_formed(str(error)[:_LONGEST_TEXT])


def _refusal(stream: _Stream | _Events, ask: Ask) -> AskError | None:
    """What is said in place of figures or events, if anything is."""
    if stream.WebException is not None:
        broken = stream.WebException if isinstance(stream.WebException, Mapping) else {}
        status = broken.get("StatusCode")
        return tag_error(status if isinstance(status, int) else 500, broken, ask.tag)
    if stream.Items is None or stream.Errors:
        return tag_error(200, {"Errors": stream.Errors, "Message": stream.Message}, ask.tag)
    return None


def _counted(ask: Ask, content: Any) -> Counted:
    stream = msgspec.convert(content, _Stream)
    error = _refusal(stream, ask)
    if error is not None:
        return Counted(ask, error=error)
    return Counted(ask, _by_day([item.Value for item in stream.Items or () if item.Type == "Count"], ask))


def _timed(ask: Ask, content: Any) -> Times:
    stream = msgspec.convert(content, _Events)
    error = _refusal(stream, ask)
    if error is not None:
        return Times(ask, error=error)
    events = stream.Items or []
    at = tuple(parse_ticks(event.Timestamp) // TICKS_PER_MICRO for event in events)
    # A source that does not say whether a value is good has not called it bad.
    return Times(ask, at, tuple(event.Good is not False for event in events))


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
