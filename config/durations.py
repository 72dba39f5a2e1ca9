"""Lengths of time and instants as people write them: `90s`, `1h30m`, `now-1d`, ISO 8601 with a zone. Pure.

A bare number is seconds. An instant never depends on the zone of a machine: one without a zone is
an error that says how to write it, and `now` is left open until the time is given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from .problems import ExpectedError

_MICROS_PER = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_MICROS_PER_UNIT = {**_MICROS_PER, "w": 7 * _MICROS_PER["d"]}
_PIECE = r"(\d+(?:\.\d+)?)(us|ms|[smhdw])"
_DURATION = re.compile(rf"(?:{_PIECE}\s*)+", re.ASCII)
_RELATIVE = re.compile(r"now(?:\s*([+-])\s*(.+))?", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_LONGEST = timedelta(days=200 * 365)  # so that no sum with a date of this age leaves the calendar
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_A_DURATION = "a duration such as 90s, 30m, 1h or 7d, or a number of seconds, up to 200 years"
_AN_INSTANT = "a time with a zone such as 2024-01-31T08:00:00Z, or now, now-1d"


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time as configured: fixed, or so far from a `now` that is not known yet."""

    text: str
    fixed: int | None = None  # microseconds since 1970-01-01T00:00:00Z; None: relative to now
    offset: timedelta = timedelta(0)

    def micros(self, now: int) -> int:
        """Microseconds since 1970-01-01T00:00:00Z, where `now` is the present in the same."""
        return self.fixed if self.fixed is not None else now + self.offset // timedelta(microseconds=1)

    def __str__(self) -> str:
        return self.text


def parse_duration(value: Any) -> timedelta:
    """`90s`, `1h30m`, `7d`, or a number of seconds. Raises `ExpectedError`."""
    match value:
        case timedelta():
            return _within_reason(value // timedelta(microseconds=1))
        case bool():
            raise ExpectedError(_A_DURATION)
        case int() | float():
            return _of_seconds(str(value))
        case str():
            text = value.strip()
            return _of_pieces(text) if _DURATION.fullmatch(text) else _of_seconds(text)
        case _:
            raise ExpectedError(_A_DURATION)


def _of_seconds(text: str) -> timedelta:
    # Text like "1e400", "nan" and "-5" fails the pattern, with any type in YAML.
    if not _NUMBER.fullmatch(text):
        raise ExpectedError(_A_DURATION)
    return _within_reason(int(Decimal(text) * _MICROS_PER_UNIT["s"]))


def _of_pieces(text: str) -> timedelta:
    return _within_reason(
        sum(int(Decimal(number) * _MICROS_PER_UNIT[unit]) for number, unit in re.findall(_PIECE, text))
    )


def _within_reason(micros: int) -> timedelta:
    if not 0 <= micros <= _LONGEST // timedelta(microseconds=1):
        raise ExpectedError(_A_DURATION)
    return timedelta(microseconds=micros)


def format_duration(duration: timedelta) -> str:
    """The shortest exact text; `parse_duration` reads it back."""
    micros = duration // timedelta(microseconds=1)
    if not micros:
        return "0s"
    unit = next(unit for unit, size in _MICROS_PER.items() if micros % size == 0)
    return f"{micros // _MICROS_PER[unit]}{unit}"


def parse_instant(value: Any) -> Instant:
    """ISO 8601 with a zone, or `now`, `now-1d`, `now+10m`. Raises `ExpectedError`."""
    match value:
        case Instant():
            return value
        case datetime():
            return _fixed(value.isoformat(), value)
        case date():
            return _fixed(value.isoformat(), datetime.combine(value, datetime.min.time()))
        case str():
            return _from_text(value.strip())
        case _:
            raise ExpectedError(_AN_INSTANT)


def _from_text(text: str) -> Instant:
    if relative := _RELATIVE.fullmatch(text):
        return _relative(text, *relative.groups())
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        # PI writes `*` for now; users who know PI try it here.
        suggestion = text.replace("*", "now", 1) if text.startswith("*") else ""
        raise ExpectedError(_AN_INSTANT, suggestion=suggestion) from None
    return _fixed(text, moment)


def _relative(text: str, sign: str | None, distance: str | None) -> Instant:
    if sign is None or distance is None:
        return Instant(text)
    try:
        offset = parse_duration(distance)
    except ExpectedError:
        raise ExpectedError(_AN_INSTANT) from None
    return Instant(text, offset=-offset if sign == "-" else offset)


def _fixed(text: str, moment: datetime) -> Instant:
    if moment.tzinfo is None:
        written = moment.isoformat() + "Z"
        raise ExpectedError("a time with a zone: add Z for UTC, or an offset such as +02:00", suggestion=written)
    return Instant(text, fixed=(moment - _EPOCH) // timedelta(microseconds=1))
