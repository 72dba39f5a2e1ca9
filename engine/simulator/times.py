"""Instants as whole ticks of 100 ns since 1970-01-01T00:00:00Z, and their text forms.

Pure. Reads the time strings of AF (`*`, `t`, `y`, `Saturday`, `*-1d`, ISO 8601), and writes ISO 8601 with up to seven
digits, without trailing zeros. Invariant: no instant passes through a float or a `datetime`, which would lose the
seventh digit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .replies import Refusal, refused

MICROSECOND = 10
SECOND = 10_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_UNITS = {
    "ms": SECOND // 1000, "millisecond": SECOND // 1000, "milliseconds": SECOND // 1000,
    "s": SECOND, "sec": SECOND, "second": SECOND, "seconds": SECOND,
    "m": MINUTE, "min": MINUTE, "minute": MINUTE, "minutes": MINUTE,
    "h": HOUR, "hour": HOUR, "hours": HOUR,
    "d": DAY, "day": DAY, "days": DAY,
    "w": 7 * DAY, "week": 7 * DAY, "weeks": 7 * DAY,
}  # fmt: skip
_MONTHS = {"mo": 1, "month": 1, "months": 1, "y": 12, "year": 12, "years": 12}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ISO = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?",
    re.IGNORECASE,
)
_STEP = re.compile(r"\s*([+-])\s*(\d{1,15}(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_SPAN = re.compile(r"\s*(\d{1,15}(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_ABSTIME = re.compile(r"'([^']*)'(.*)", re.DOTALL)
_WORD = re.compile(r"(\*|[a-z]+)?(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class TimeText:
    """A parsed time string: `fixed` for an absolute one, else a word that is resolved when `now` is known."""

    fixed: int | None
    word: str
    steps: tuple[tuple[int, int], ...]  # (months, ticks), in the order written
    zone: str

    def at(self, now: int) -> int:
        """The instant it means at `now`. Raises a 400 for one that no calendar holds."""
        if self.fixed is not None and not self.steps:
            return self.fixed
        instant = now if self.fixed is None else self.fixed
        try:
            if self.word:
                instant = _midnight(self.word, now, self.zone)
            for months, ticks in self.steps:
                instant = (_shift_months(instant, months) if months else instant) + ticks
            iso(instant)
        except (ValueError, OverflowError) as error:
            raise refused(400, "The time string is outside of the range of times.") from error
        return instant


def iso(ticks: int) -> str:
    """Text of an instant as the server writes it: `2024-03-05T10:00:00.1499939Z`."""
    days, rest = divmod(ticks, DAY)
    seconds, fraction = divmod(rest, SECOND)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    day = date.fromordinal(_EPOCH_ORDINAL + days)
    tail = f".{fraction:07d}".rstrip("0") if fraction else ""
    return f"{day.isoformat()}T{hour:02d}:{minute:02d}:{second:02d}{tail}Z"


def ticks_of(moment: datetime | str | float) -> int:
    """An instant given as a datetime with a zone, ISO text, or seconds since 1970."""
    if isinstance(moment, str):
        return parse_time(moment).at(0)
    if isinstance(moment, datetime):
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86400 + since.seconds) * SECOND + since.microseconds * MICROSECOND
    whole, part = divmod(moment, 1)
    return int(whole) * SECOND + round(part * 1_000_000) * MICROSECOND


@lru_cache(maxsize=4096)
def parse_time(text: str, zone: str = "UTC") -> TimeText:
    """Understand a time string; text without a zone is read in `zone`. Raises a 400."""
    stripped = text.strip()
    if quoted := _ABSTIME.fullmatch(stripped):
        return TimeText(_absolute(quoted[1].strip(), text, zone), "", _steps(quoted[2], text), zone)
    if stripped[:4].isdigit() and "-" in stripped:
        return TimeText(_absolute(stripped, text, zone), "", (), zone)
    match = _WORD.fullmatch(stripped)
    if match is None:
        raise _bad_time(text)
    return TimeText(None, _word((match[1] or "*").lower(), text), _steps(match[2], text), zone)


def parse_span(text: str) -> int:
    """Length of an AF time span such as `1h` or `10m`, in ticks. Raises a 400."""
    match = _SPAN.fullmatch(text)
    unit = _UNITS.get(match[2].lower()) if match else None
    ticks = round(float(match[1]) * unit) if match and unit else 0
    if ticks < 1:
        raise refused(400, f"The time span '{text}' is not valid.")
    return ticks


def _bad_time(text: str) -> Refusal:
    return refused(400, f"The time string '{text}' is not valid.")


def _word(word: str, text: str) -> str:
    if word == "*":
        return ""
    if word in {"t", "today"}:
        return "today"
    if word in {"y", "yesterday"}:
        return "yesterday"
    for name in _WEEKDAYS:
        if len(word) >= 3 and name.startswith(word):
            return name
    raise _bad_time(text)


def _steps(tail: str, text: str) -> tuple[tuple[int, int], ...]:
    steps: list[tuple[int, int]] = []
    at = 0
    tail = tail.rstrip()
    while at < len(tail):
        match = _STEP.match(tail, at)
        if match is None:
            raise _bad_time(text)
        sign = -1 if match[1] == "-" else 1
        unit = match[3].lower()
        if unit in _MONTHS:
            steps.append((sign * int(float(match[2])) * _MONTHS[unit], 0))
        elif unit in _UNITS:
            steps.append((0, sign * round(float(match[2]) * _UNITS[unit])))
        else:
            raise _bad_time(text)
        at = match.end()
    return tuple(steps)


def _absolute(iso_text: str, text: str, zone: str) -> int:
    match = _ISO.fullmatch(iso_text)
    if match is None:
        raise _bad_time(text)
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    try:
        wall = datetime(year, month, day, hour, minute, second, tzinfo=_offset(match[8], zone))
    except (ValueError, KeyError) as error:
        raise _bad_time(text) from error
    fraction = int((match[7] or "").ljust(7, "0")[:7])
    return ticks_of(wall) + fraction


def _offset(mark: str | None, zone: str) -> tzinfo:
    if mark is None:
        return _zone(zone)
    if mark in {"Z", "z"}:
        return UTC
    digits = mark[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=-minutes if mark[0] == "-" else minutes))


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise refused(400, f"The time zone '{name}' was not found.") from error


def _local(instant: int, zone: str) -> tuple[datetime, int]:
    """The wall clock at an instant, and the ticks below a second that a datetime does not hold."""
    seconds, fraction = divmod(instant, SECOND)
    return datetime.fromtimestamp(seconds, _zone(zone)), fraction


def _midnight(word: str, now: int, zone: str) -> int:
    wall, _ = _local(now, zone)
    midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "yesterday":
        midnight -= timedelta(days=1)
    elif word != "today":
        midnight -= timedelta(days=(midnight.weekday() - _WEEKDAYS.index(word)) % 7)
    return ticks_of(midnight)


def _shift_months(instant: int, months: int) -> int:
    wall, fraction = _local(instant, "UTC")
    year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    last_day = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return ticks_of(wall.replace(year=year, month=month + 1, day=min(wall.day, last_day))) + fraction
