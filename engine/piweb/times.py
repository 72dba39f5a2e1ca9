"""Times as PI writes them, and as we count them. Pure.

PI's clock ticks every 100 ns and it writes up to seven fraction digits, without trailing zeros; we
count microseconds. Invariant: digits beyond ours are cut off, never rounded, so that an event keeps
its side of every window bound.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from engine.model import Micros

TICKS_PER_MICRO = 10

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICRO
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICRO
# What Arrow's parser takes too: the fast path and this one must agree on what a time is.
_ISO = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<hour>\d\d)(:(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d+))?)?)?"
    r"(?P<zone>Z|[+-]\d\d(:?\d\d)?)",
    re.ASCII,
)


def iso_text(at: Micros) -> str:
    """ISO 8601 with `Z`, the only form of a time that means the same on every server; it knows the years 1 to 9999."""
    return _datetime(at).isoformat().removesuffix("+00:00") + "Z"


def last_tick_text(end: Micros) -> str:
    """The last instant before `end` that PI can tell apart from it.

    `recorded` includes its end time and windows of ours do not, so this is the end time to send.
    """
    return _datetime(end - 1).isoformat(timespec="microseconds").removesuffix("+00:00") + "9Z"


def parse_ticks(text: str) -> int:
    """Whole 100 ns ticks since the epoch, any year PI can write. Raises `ValueError`.

    A time without a zone is refused: it would be read in a zone we do not know.
    """
    found = _ISO.fullmatch(text)
    if not found:
        msg = f"{text[:40]!r} is not an ISO 8601 time with a zone"
        raise ValueError(msg)
    clock = f"{found['hour']}:{found['minute'] or '00'}:{found['second'] or '00'}"
    wall = datetime.fromisoformat(f"{found['day']}T{clock}").replace(tzinfo=UTC)
    seconds = (wall - _EPOCH) // timedelta(seconds=1) - _zone_seconds(found["zone"])
    return seconds * 10_000_000 + int((found["fraction"] or "0")[:7].ljust(7, "0"))


def parse_micros(text: str) -> Micros:
    return parse_ticks(text) // TICKS_PER_MICRO


def parse_http_date(text: str) -> Micros:
    """The `Date` and `Retry-After` headers: `Tue, 05 Mar 2024 10:15:30 GMT`. Raises `ValueError`."""
    try:
        when = parsedate_to_datetime(text)
        # "-0000" parses as a time without a zone; HTTP dates are always UTC.
        return (when.replace(tzinfo=when.tzinfo or UTC) - _EPOCH) // _MICRO
    except (ArithmeticError, IndexError, TypeError) as error:  # the parser trusts that a date is one
        msg = f"{text[:40]!r} is not a date"
        raise ValueError(msg) from error


def _datetime(at: Micros) -> datetime:
    return _EPOCH + timedelta(microseconds=min(max(at, _FIRST), _LAST))


def _zone_seconds(zone: str) -> int:
    if zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or "0")
    if hours > 23 or minutes > 59:
        msg = f"{zone!r} is not a time zone offset"
        raise ValueError(msg)
    return (hours * 60 + minutes) * (-60 if zone[0] == "-" else 60)
