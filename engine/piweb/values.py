"""One value of PI, as it lands: a number, a text, a state code, and which of these it is. Pure.

Invariant: no type of value ends a run, and none silently becomes null. What a double cannot hold
keeps its exact text beside it.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, NamedTuple

__all__ = [
    "BARE_NUMBERS",
    "KINDS",
    "NOT_NUMBERS",
    "TIME_POINT_TYPE",
    "Kind",
    "Landed",
    "land",
    "parse_json",
    "text_kind",
    "value_error",
    "well_formed",
]


class Kind:
    """Positions in `KINDS`: the dictionary codes of the value_kind column."""

    NUMBER, STRING, DIGITAL, SYSTEM, BOOLEAN, TIMESTAMP, BLOB, ARRAY, NULL, ERROR = range(10)


KINDS = ("number", "string", "digital", "system", "boolean", "timestamp", "blob", "array", "null", "error")

_NUMERIC_POINT_TYPES = frozenset(
    ("Float16", "Float32", "Float64", "Int16", "Int32", "Int64", "Single", "Double", "Byte")
)
TIME_POINT_TYPE = "Timestamp"
# How a server may spell them in a string, for want of a JSON number.
NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# What `strict` makes of one that is sent bare, which JSON does not know, in answers that hold no NUL themselves.
BARE_NUMBERS = {f"\0{name}": number for name, number in NOT_NUMBERS.items()}

_INT32 = range(-(2**31), 2**31)
# Python itself refuses to read longer ones unasked; no double holds them either way.
_LONGEST_INT = 400
# How JSON spells half a surrogate pair, or a whole one.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Landed(NamedTuple):
    """The columns value, value_string, state_code and value_kind of one event."""

    value: float | None
    text: str | None
    code: int | None
    kind: int


class _Beyond(float):
    """A JSON number no double can hold: infinite, with the text it was sent as."""

    text: str


def parse_json(text: bytes | str) -> Any:
    """Read JSON the way servers write it: bare NaN and Infinity, numbers beyond doubles, stray bytes.

    All text in it is `well_formed`. Raises `ValueError` for text that is no complete JSON.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig", "replace")
    try:
        content = json.loads(text, strict=False, parse_int=_parse_int, parse_float=_parse_float)
        return _well_formed_within(content) if _SURROGATE.search(text) else content
    except RecursionError as error:
        msg = "JSON nested too deep"
        raise ValueError(msg) from error


def land(value: Any, point_type: str = "") -> Landed:  # noqa: PLR0911  (one line a type is the point)
    """Land one parsed JSON value.

    The type of the point decides where JSON does not: a string may be a time or NaN, an array a blob.
    """
    # Booleans are ints to Python, so they come first.
    if isinstance(value, bool):
        return Landed(None, "true" if value else "false", None, Kind.BOOLEAN)
    if isinstance(value, _Beyond):
        return Landed(float(value), value.text, None, Kind.NUMBER)
    if isinstance(value, float):
        return Landed(value, None, None, Kind.NUMBER)
    if isinstance(value, int):
        return _land_int(value)
    if isinstance(value, str):
        return _land_text(value, point_type)
    if value is None:
        return Landed(None, None, None, Kind.NULL)
    if isinstance(value, dict):
        return _land_object(value)
    if point_type == "Blob" and (blob := _blob(value)) is not None:
        return Landed(None, blob, None, Kind.BLOB)
    return Landed(None, _json_text(value), None, Kind.ARRAY)


def text_kind(point_type: str) -> int:
    """What a string of such a point is."""
    return Kind.TIMESTAMP if point_type == TIME_POINT_TYPE else Kind.STRING


def value_error(event: dict[str, Any]) -> Any:
    """What an event says in place of its value, as it was sent; None where it has one.

    Errors of another field ("FieldName": "UnitsAbbreviation") leave the value as it is (PropertyError in the schema of
    PI Web API); errors that name no field are the value's.
    """
    value = event.get("Value")
    own = value.get("Errors") if isinstance(value, dict) else None
    if own:
        return own
    if broken := event.get("WebException"):
        return broken
    errors = event.get("Errors")
    if isinstance(errors, list):
        errors = [error for error in errors if _is_of_the_value(error)]
    return errors or None


def _is_of_the_value(error: Any) -> bool:
    field = error.get("FieldName") if isinstance(error, dict) else None
    return not isinstance(field, str) or field.strip().casefold() in {"", "value"}


def well_formed(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _well_formed_within(content: Any) -> Any:
    if isinstance(content, str):
        return well_formed(content)
    if isinstance(content, list):
        return [_well_formed_within(one) for one in content]
    if isinstance(content, dict):
        return {well_formed(key): _well_formed_within(one) for key, one in content.items()}
    return content


def _land_int(value: int) -> Landed:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    return Landed(number, None if number == value else str(value), None, Kind.NUMBER)


def _land_text(text: str, point_type: str) -> Landed:
    if point_type in _NUMERIC_POINT_TYPES and text in NOT_NUMBERS:
        return Landed(NOT_NUMBERS[text], None, None, Kind.NUMBER)
    return Landed(None, well_formed(text), None, text_kind(point_type))


def _land_object(value: dict[str, Any]) -> Landed:
    """A state; an object without a code is kept as it is, in JSON."""
    name, code = value.get("Name"), value.get("Value")
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(name, str | None):
        return Landed(None, _json_text(value), None, Kind.ARRAY)
    kind = Kind.SYSTEM if value.get("IsSystem") is True else Kind.DIGITAL
    if code not in _INT32:
        return Landed(None, _json_text(value), None, kind)  # the code has no place but beside the name
    return Landed(None, None if name is None else well_formed(name), code, kind)


def _blob(value: Any) -> str | None:
    try:
        return base64.b64encode(bytes(value)).decode()
    except (TypeError, ValueError):
        return None


def _json_text(value: Any) -> str:
    return well_formed(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _parse_int(text: str) -> int | float:
    return int(text) if len(text) <= _LONGEST_INT else _beyond(float(text), text)


def _parse_float(text: str) -> float:
    number = float(text)
    return _beyond(number, text) if math.isinf(number) else number


def _beyond(number: float, text: str) -> _Beyond:
    beyond = _Beyond(number)
    beyond.text = text
    return beyond
