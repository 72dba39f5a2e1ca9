"""Rows of a table beside the events of the simulator: what is missing, and what is there too often or with another value.

Peers land blobs, and floats that are no number, in different ways, which are no loss. So the value of a blob is not
compared, and a value that is no number is the same as none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from deltalake import DeltaTable

from benchmarks.lab.processes import SimulatorProcess
from benchmarks.lab.windows import TimeSpan

# Name of the tag, microseconds since 1970, and what the value is.
Row: TypeAlias = tuple[str, int, str]
_COLUMNS = ("tag_name", "timestamp", "value", "value_string", "state_code")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Difference:
    """How many events are not in the table, and how many rows it has too many."""

    lost: int
    extra: int

    @property
    def wrong(self) -> int:
        return self.lost + self.extra

    def __str__(self) -> str:
        counts = ((self.lost, "lost"), (self.extra, "doubled"))
        return ", ".join(f"{count:,} {what}" for count, what in counts if count) or "none"


def events_of(site: SimulatorProcess, tags: Iterable[int], span: TimeSpan) -> list[Row]:
    """The events of these tags that the simulator shows now."""
    start, end = span.texts
    rows: list[Row] = []
    for index in tags:
        answer = site.control(f"truth?tag={index}&start={start}&end={end}")
        rows += [(answer["Tag"], _micros(event["Timestamp"]), _said(event["Value"])) for event in answer["Events"]]
    return rows


def rows_of(table: Path, events: Iterable[Row]) -> list[Row]:
    """The rows of a table. `events` say which tags hold blobs."""
    blobs = {name for name, _, value in events if value == "blob"}
    if not (table / "_delta_log").exists():
        return []
    found = DeltaTable(str(table)).to_pyarrow_table(columns=list(_COLUMNS))
    columns = [found[name].cast(pa.int64()) if name == "timestamp" else found[name] for name in _COLUMNS]
    return [
        (name, at, _landed(value, text, code, is_blob=name in blobs))
        for name, at, value, text, code in zip(*(column.to_pylist() for column in columns), strict=True)
    ]


def difference(rows: Iterable[Row], events: Iterable[Row]) -> Difference:
    have, want = Counter(rows), Counter(events)
    return Difference((want - have).total(), (have - want).total())


def shared(events: Iterable[Row]) -> list[Row]:
    """The events that share tag and microsecond with another."""
    events = list(events)
    counted = Counter((name, at) for name, at, _ in events)
    return [row for row in events if counted[row[0], row[1]] > 1]


def states(rows: Iterable[Row]) -> list[Row]:
    """The rows that hold a state."""
    return [row for row in rows if row[2].startswith("state ")]


def _micros(text: str) -> int:
    return (datetime.fromisoformat(f"{text[:26]}Z") - _EPOCH) // datetime.resolution


def _said(value: Any) -> str:
    match value:
        case dict():
            return f"state {value['Value']} {value['Name']}"
        case list():
            return "blob"
        case None | "NaN":
            return "none"
        case bool():
            return f"text {value}".lower()
        case int() | float():
            return _number(value)
    return f"text {value}"


def _number(value: float) -> str:
    return "none" if math.isnan(value) else float(value).hex()


def _landed(value: float | None, text: str | None, code: int | None, *, is_blob: bool) -> str:
    if code is not None:
        return f"state {code} {text}"
    if value is not None:
        return _number(value)
    if is_blob and text is not None:
        return "blob"
    return "none" if text in {None, "NaN"} else f"text {text}"
