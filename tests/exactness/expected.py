"""The table we expect, from the simulator's closed form and a reading of our own of how a value lands.

Imports the simulator and nothing else of the product: neither the decoder nor its reference may
vouch for themselves. Times are whole microseconds since 1970; a row is a plain tuple in the order of
`COLUMNS`, so that two tables can be compared as multisets.
"""

from __future__ import annotations

import base64
import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from engine.simulator import DigitalState, Event, Point, SimulatorOptions, events, point

__all__ = ["COLUMNS", "Row", "assert_same_rows", "exact_double", "expected_rows", "rows_of", "web_id_of"]

# All columns but the moment a row was read, which no closed form knows.
COLUMNS = (
    "tag_webid", "tag_name", "timestamp", "sequence", "value", "value_string", "state_code", "value_kind",
    "good", "questionable", "substituted", "annotated", "units", "partition_date",
)  # fmt: skip
Row: TypeAlias = tuple[Any, ...]

_TICKS_PER_MICRO = 10
_MICROS_PER_DAY = 86_400_000_000
# The data archive of the simulator, and the number of its first point.
_SERVER_GUID = bytes.fromhex("710a3c5e442b6e4f9d100c7be1a2f301")
_FIRST_POINT_ID = 1001


def expected_rows(options: SimulatorOptions, indexes: Iterable[int], start: int, end: int) -> list[Row]:
    """Rows of these tags for every event in `[start, end)`, microseconds."""
    return [
        row
        for index in indexes
        for row in rows_of(
            point(options, index), events(options, index, start * _TICKS_PER_MICRO, end * _TICKS_PER_MICRO)
        )
    ]


def rows_of(tag: Point, found: Sequence[Event]) -> list[Row]:
    """Rows of one tag's events, given in the server's order and whole microsecond by whole microsecond."""
    rows: list[Row] = []
    shared: Counter[int] = Counter()
    for event in found:
        micros = event.ticks // _TICKS_PER_MICRO  # cut off, never rounded
        sequence = shared[micros]
        shared[micros] += 1
        rows.append(
            (
                web_id_of(tag.index),
                tag.name,
                micros,
                sequence,
                *_landed(event.value, tag.type),
                event.good,
                event.questionable,
                event.substituted,
                event.annotated,
                tag.units,
                micros // _MICROS_PER_DAY,
            )
        )
    return rows


@functools.cache
def web_id_of(index: int) -> str:
    """The IDOnly WebID of a tag: the archive's GUID and the point's number, little-endian."""
    server, number = (
        base64.urlsafe_b64encode(raw).decode().rstrip("=")
        for raw in (_SERVER_GUID, (_FIRST_POINT_ID + index).to_bytes(4, "little"))
    )
    return f"I1DP{server}{number}"


def exact_double(value: float | None) -> str | None:
    """A double as text that tells any two apart, the sign of zero too, and is equal for NaN."""
    if value is None:
        return None
    return "nan" if math.isnan(value) else value.hex()


def assert_same_rows(found: Iterable[Row], expected: Iterable[Row], what: str = "the table") -> None:
    """Same rows, each as often as the other. Fails with the first few that differ."""
    have, want = Counter(found), Counter(expected)
    if have == want:
        return
    lost, extra = want - have, have - want
    raise AssertionError(
        f"{what}: {have.total()} rows, expected {want.total()}; "
        f"{lost.total()} missing, first {sorted(lost, key=repr)[:3]}; "
        f"{extra.total()} too many, first {sorted(extra, key=repr)[:3]}"
    )


def _landed(value: object, point_type: str) -> tuple[str | None, str | None, int | None, str]:
    """Columns value, value_string, state_code, value_kind."""
    match value:
        case None:
            return None, None, None, "null"
        case bool():
            return None, "true" if value else "false", None, "boolean"
        case int():
            beyond = int(float(value)) != value
            return exact_double(float(value)), str(value) if beyond else None, None, "number"
        case float():
            return exact_double(value), None, None, "number"
        case str():
            return None, value, None, "timestamp" if point_type == "Timestamp" else "string"
        case DigitalState():
            return None, value.name, value.code, "system" if value.is_system else "digital"
        case list():
            return None, base64.b64encode(bytes(value)).decode(), None, "blob"
        case _:
            raise TypeError(f"the simulator made a {type(value).__name__}")
