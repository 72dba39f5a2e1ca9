"""File statistics of Delta add actions, from a Parquet footer.

Invariant: a bound may be loose or absent, never wrong, because readers skip files by it. So a float column that holds a
NaN has no bounds (engines disagree where NaN sorts), an infinity is not written (JSON has none), and a string that is
cut is rounded up. The Parquet footer says nothing of floats, for the same reason: bounds there leave NaN out, and
Spark, for which NaN is greater than any number, would skip row groups by them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# WebIDs of one server share their first 30 characters and differ after them: 32, as other writers
# use, would make every file look alike.
MAX_TEXT = 96

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_CODE_POINT = 0x10FFFF


@dataclass(slots=True)
class FloatStatistics:
    """What is known of a column of floats, as its pieces are written. No bounds: none known, or a NaN is there."""

    nulls: int = 0
    bounds: tuple[float, float] | None = None
    with_nan: bool = False

    def take(self, column: pa.ChunkedArray) -> None:
        self.nulls += column.null_count
        self.with_nan = self.with_nan or bool(pc.any(pc.is_nan(column)).as_py())
        ends = pc.min_max(column)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if self.with_nan:
            self.bounds = None
        elif low is not None:
            known = self.bounds or (low, high)
            # Of the two zeros the wider one: some readers tell them apart.
            self.bounds = min(low, known[0]) or -0.0, max(high, known[1]) or 0.0


def file_statistics(footer: pq.FileMetaData, fields: Sequence[pa.Field], floats: Mapping[str, FloatStatistics]) -> str:
    """Give the stats JSON of a file whose `fields` are to be indexed; `floats` has those that are floats."""
    place = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for field in fields:
        index = place[field.name]
        chunks = [footer.row_group(g).column(index) for g in range(footer.num_row_groups)]
        known = floats.get(field.name)
        found = [chunk.statistics for chunk in chunks]
        if known is not None:
            nulls[field.name] = known.nulls
        elif all(s is not None and s.has_null_count for s in found):
            nulls[field.name] = sum(s.null_count for s in found)
        bounds = _bounds(chunks, field.type) if known is None else known.bounds
        if bounds is not None:
            _put(lows, field, bounds[0], upper=False)
            _put(highs, field, bounds[1], upper=True)
    return json.dumps(
        {"numRecords": footer.num_rows, "minValues": lows, "maxValues": highs, "nullCount": nulls},
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )


def _bounds(chunks: Iterable[Any], kind: pa.DataType) -> tuple[Any, Any] | None:
    """Least and greatest over the row groups; None if any group with values does not say."""
    lows: list[Any] = []
    highs: list[Any] = []
    for chunk in chunks:
        found = chunk.statistics
        if found is None:
            return None
        if not found.has_min_max:
            if found.has_null_count and found.null_count == chunk.num_values:
                continue
            return None
        raw = pa.types.is_temporal(kind)
        lows.append(found.min_raw if raw else found.min)
        highs.append(found.max_raw if raw else found.max)
    return (min(lows), max(highs)) if lows else None


def _put(bounds: dict[str, Any], field: pa.Field, value: Any, *, upper: bool) -> None:
    known = _as_json(value, field.type, upper=upper)
    if known is not None:
        bounds[field.name] = known


def _as_json(value: Any, kind: pa.DataType, *, upper: bool) -> Any:
    if pa.types.is_timestamp(kind):
        return (_EPOCH + timedelta(microseconds=value)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if pa.types.is_date32(kind):
        return date.fromordinal(_EPOCH.toordinal() + value).isoformat()
    if pa.types.is_string(kind):
        return upper_text(value) if upper else lower_text(value)
    if pa.types.is_floating(kind):
        return value if math.isfinite(value) else None
    return value


def lower_text(text: str) -> str:
    """Cut a text; the rest is not greater than the whole."""
    return text[:MAX_TEXT]


def upper_text(text: str) -> str | None:
    """Cut a text and round up, so that the rest is not less than the whole; None if there is no such text."""
    if len(text) <= MAX_TEXT:
        return text
    for end in range(MAX_TEXT, 0, -1):
        code = ord(text[end - 1])
        if code < _LAST_CODE_POINT:
            # U+D800..U+DFFF are not characters: the one after U+D7FF is U+E000.
            return text[: end - 1] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None
