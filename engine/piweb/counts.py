"""Counts of events: what an answer to `requests.count*` says, a number for each day asked about. Pure.

An ask is cut into days of 24 hours from its start on, the last of them shorter, as the server cuts it.
Invariant: a number comes out only where the server gave one for exactly that day; "No Data" is none, 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from config.errors import UndecodableError
from engine.model import Ask, AskError, Micros

from .problems import tag_error
from .streams import cut_midway, missing, undecodable
from .times import TICKS_PER_MICRO, iso_text, parse_ticks
from .values import parse_json
from .wire import Shape

__all__ = ["NOT_COUNTED", "Counted", "days_of", "decode_counts"]

# Stands where the server said something that is no count.
NOT_COUNTED = -1

_DAY: Micros = 86_400_000_000
# More than this is no count of a day (24,000 events a second), and does not fit into what counts are kept in.
_MOST = (1 << 31) - 1
_NO_DATA = 248


class Counted(Struct, frozen=True):
    """How many events the server counts on each day of an ask; with `error` the days are empty."""

    ask: Ask
    days: tuple[int, ...] = ()
    error: AskError | None = None


class _Figure(Struct, gc=False):
    Timestamp: str
    Value: Any = None


class _Item(Struct, gc=False):
    Value: _Figure
    Type: str = "Count"


class _Stream(Struct):
    """The figures of one tag, or what is said in their place. `WebId` is there in streamsets only."""

    Items: list[_Item] | None = None
    WebId: str = ""
    Errors: Any = None
    Message: Any = None
    WebException: Any = None


class _Streams(Struct):
    Items: list[_Stream]


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
    if shape is Shape.BATCH:
        parts = _opened(body, dict[str, _Part])
        return [_of_part(parts.get(str(n)), ask) for n, ask in enumerate(asks)]
    if shape is Shape.STREAM:
        return [_of_stream(_opened(body, _Stream), asks[0])]
    streams = {stream.WebId: stream for stream in _opened(body, _Streams).Items}
    return [_of_stream(streams.get(ask.tag.web_id), ask) for ask in asks]


def _opened(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # a bare NaN, or a stray byte, is enough; what the standard library reads may still be an answer
    try:
        return msgspec.convert(parse_json(body), kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise cut_midway(str(error)[:100]) from error


def _of_part(part: _Part | None, ask: Ask) -> Counted:
    if part is None:
        return Counted(ask, error=missing(ask).error)
    if not 200 <= part.Status < 300:
        return Counted(ask, error=tag_error(part.Status, part.Content, ask.tag, part.Headers))
    try:
        return _of_stream(msgspec.convert(part.Content, _Stream), ask)
    except msgspec.ValidationError as error:
        return Counted(ask, error=undecodable(ask, f"the counts are not as documented: {error}"))


def _of_stream(stream: _Stream | None, ask: Ask) -> Counted:
    if stream is None:
        return Counted(ask, error=missing(ask).error)
    if stream.WebException is not None:
        broken = stream.WebException if isinstance(stream.WebException, Mapping) else {}
        status = broken.get("StatusCode")
        return Counted(ask, error=tag_error(status if isinstance(status, int) else 500, broken, ask.tag))
    if stream.Items is None or stream.Errors:
        return Counted(ask, error=tag_error(200, {"Errors": stream.Errors, "Message": stream.Message}, ask.tag))
    figures = [item.Value for item in stream.Items if item.Type == "Count"]
    try:
        return Counted(ask, _by_day(figures, ask))
    except UndecodableError as error:
        return Counted(ask, error=error)


def _by_day(figures: Sequence[_Figure], ask: Ask) -> tuple[int, ...]:
    count = days_of(ask)
    if tuple(figure.Timestamp for figure in figures) == _starts(ask.start, count):
        return tuple(_number(figure.Value) for figure in figures)
    days = [NOT_COUNTED] * count
    for figure in figures:
        days[_day(figure.Timestamp, ask)] = _number(figure.Value)
    return tuple(days)


@lru_cache(maxsize=256)
def _starts(start: Micros, count: int) -> tuple[str, ...]:
    """How a server stamps the counts, if it stamps them as we do. Most tags share a window."""
    return tuple(iso_text(start + day * _DAY) for day in range(count))


def _day(stamp: str, ask: Ask) -> int:
    """On which day of the ask a count is. A server that cuts other days than asked for is not understood."""
    try:
        ticks = parse_ticks(stamp) - ask.start * TICKS_PER_MICRO
    except ValueError as error:
        raise undecodable(ask, str(error)) from None
    day, rest = divmod(ticks, _DAY * TICKS_PER_MICRO)
    if rest or not 0 <= day < days_of(ask):
        raise undecodable(ask, f"a count is stamped {stamp}, where none begins")
    return day


def _number(value: Any) -> int:
    match value:
        case bool():
            return NOT_COUNTED
        case int() if 0 <= value <= _MOST:
            return value
        case float() if 0 <= value <= _MOST and value.is_integer():
            return int(value)
        case {"Value": code} if code == _NO_DATA:
            return 0
        case _:
            return NOT_COUNTED
