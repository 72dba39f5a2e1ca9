"""One value of PI, as it lands: a number, a text, a state code, and which of these it is. Pure.

Invariant: no type of value ends a run, and none is silently turned to null. What a double cannot hold
keeps its exact text beside it.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, NamedTuple

import msgspec


class ValueKind:
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
_EIGHT_DIGITS = re.compile(r"[0-9]{8}")
_decode = msgspec.json.Decoder().decode
# How JSON spells half a surrogate pair, or a whole one.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class StoredValue(NamedTuple):
    """The columns value, value_string, state_code and value_kind of one event."""

    value: float | None
    text: str | None
    code: int | None
    kind: int


class _HugeNumber(float):
    """A JSON number that is too large for a double: infinite, with the text as it was sent."""

    text: str


def parse_json(text: bytes | str) -> Any:
    """Read JSON the way servers write it: bare NaN and Infinity, numbers beyond doubles, stray bytes.

    All text in it is `well_formed`. Raises `ValueError` for text that is no complete JSON.
    """
    if not _may_hold_long_int(text):
        try:
            return _decode(text)  # several times as fast, and the same of what it takes
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig", "replace")
    try:
        content = json.loads(text, strict=False, parse_int=_parse_int, parse_float=_parse_float)
        return _well_formed_within(content) if _SURROGATE.search(text) else content
    except RecursionError as error:
        msg = "JSON nested too deep"
        raise ValueError(msg) from error


def stored_value(value: Any, point_type: str = "") -> StoredValue:  # noqa: PLR0911  (one line a type is the point)
    """One parsed JSON value as the table stores it.

    The type of the point decides where JSON does not: a string may be a time or NaN, an array a blob.
    """
    # Booleans are ints to Python, so they come first.
    if isinstance(value, bool):
        return StoredValue(None, "true" if value else "false", None, ValueKind.BOOLEAN)
    if isinstance(value, _HugeNumber):
        return StoredValue(float(value), value.text, None, ValueKind.NUMBER)
    if isinstance(value, float):
        return StoredValue(value, None, None, ValueKind.NUMBER)
    if isinstance(value, int):
        return _stored_int(value)
    if isinstance(value, str):
        return _stored_text(value, point_type)
    if value is None:
        return StoredValue(None, None, None, ValueKind.NULL)
    if isinstance(value, dict):
        return _stored_object(value)
    if point_type == "Blob" and (blob := _blob(value)) is not None:
        return StoredValue(None, blob, None, ValueKind.BLOB)
    return StoredValue(None, _json_text(value), None, ValueKind.ARRAY)


def value_or_error(value: Any, point_type: str = "") -> StoredValue:
    """The same; of what cannot be stored the kind `error`, with the reason as its text."""
    try:
        return stored_value(value, point_type)
    except ValueError as error:
        return StoredValue(None, f"cannot be stored: {error}", None, ValueKind.ERROR)


def text_kind(point_type: str) -> int:
    """What a string of such a point is."""
    return ValueKind.TIMESTAMP if point_type == TIME_POINT_TYPE else ValueKind.STRING


def is_numeric(point_type: str) -> bool:
    """Whether a string in place of a value of such a point may spell a number."""
    return point_type in _NUMERIC_POINT_TYPES


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
    """Text that UTF-8 can hold: U+FFFD stands for half a surrogate pair."""
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


def _stored_int(value: int) -> StoredValue:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    return StoredValue(number, None if number == value else str(value), None, ValueKind.NUMBER)


def _stored_text(text: str, point_type: str) -> StoredValue:
    if is_numeric(point_type) and text in NOT_NUMBERS:
        return StoredValue(NOT_NUMBERS[text], None, None, ValueKind.NUMBER)
    return StoredValue(None, well_formed(text), None, text_kind(point_type))


def _stored_object(value: dict[str, Any]) -> StoredValue:
    """A state; an object without a code is kept as it is, in JSON."""
    name, code = value.get("Name"), value.get("Value")
    code = int(code) if isinstance(code, float) and code.is_integer() else code
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(name, str | None):
        return StoredValue(None, _json_text(value), None, ValueKind.ARRAY)
    kind = ValueKind.SYSTEM if value.get("IsSystem") is True else ValueKind.DIGITAL
    if code not in _INT32:
        return StoredValue(None, _json_text(value), None, kind)  # the code has no place but beside the name
    return StoredValue(None, None if name is None else well_formed(name), code, kind)


def _blob(value: Any) -> str | None:
    try:
        return base64.b64encode(bytes(value)).decode()
    except (TypeError, ValueError):
        return None


def _json_text(value: Any) -> str:
    """Raises `ValueError` for what is nested deeper than can be written: it may have been read with more room."""
    try:
        return well_formed(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    except RecursionError as error:
        msg = "JSON nested too deep"
        raise ValueError(msg) from error


def _may_hold_long_int(text: bytes | str) -> bool:
    """Whether there may be a whole number that is longer than `_LONGEST_INT`: of every fiftieth letter it covers eight."""
    sample = text[::50]
    return _EIGHT_DIGITS.search(sample if isinstance(sample, str) else sample.decode("latin-1")) is not None


def _parse_int(text: str) -> int | float:
    return int(text) if len(text) <= _LONGEST_INT else _huge_number(float(text), text)


def _parse_float(text: str) -> float:
    number = float(text)
    return _huge_number(number, text) if math.isinf(number) else number


def _huge_number(number: float, text: str) -> _HugeNumber:
    beyond = _HugeNumber(number)
    beyond.text = text
    return beyond
