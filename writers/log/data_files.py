"""Live files and what their statistics say, from the log's actions.

Invariant: a bound that is not certain is loosened or left out. Other writers cut timestamps in statistics to
milliseconds, so an upper bound may be up to a millisecond too low.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from ..tables import Grain
from .actions import Action
from .model import LiveFile

# Stands for a deletion vector that delta-rs does not return.
_SOME_VECTOR: Mapping[str, Any] = {"storageType": "?"}

_CUT_MICROS = 999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_DAY = 86_400_000_000
_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))


def may_hold(file: LiveFile, grain: Grain, low: int, high: int) -> bool:
    """Whether a file may hold rows of times in `[low, high)`. Without a time column every file may."""
    if not _is_day_of(file.partition_values, grain, low, high):
        return False
    return (file.low is None or file.low < high) and (file.high is None or file.high >= low)


def files_in_range(adds: Iterable[Action], grain: Grain, low: int, high: int) -> Iterator[LiveFile]:
    """Give the files that may hold rows of times in `[low, high)`; statistics are read of the right days alone."""
    for add in adds:
        if _is_day_of(add["partitionValues"], grain, low, high):
            file = from_add(add, grain)
            if may_hold(file, grain, low, high):
                yield file


def from_add(add: Action, grain: Grain) -> LiveFile:
    """Read an `add` of the log, its statistics as JSON."""
    stats = _statistics(add.get("stats") or "{}")
    lows, highs = _mapping(stats.get("minValues")), _mapping(stats.get("maxValues"))
    return LiveFile(
        path=add["path"],
        size_bytes=int(add["size"]),
        partition_values=dict(add["partitionValues"]),
        rows=rows if isinstance(rows := stats.get("numRecords"), int) else None,
        low=_micros(lows.get(grain.time or "")),
        high=_loosened(_micros(highs.get(grain.time or ""))),
        low_owner=_text(lows.get(grain.owner)),
        high_owner=_text(highs.get(grain.owner)),
        deletion_vector=add.get("deletionVector") or None,
    )


def from_columns(
    adds: pa.Table, grain: Grain, low: int, high: int, *, with_vector: Collection[str]
) -> Iterator[LiveFile]:
    """Read what delta-rs tells of the files of a table (flattened), those that may hold rows in `[low, high)`.

    `with_vector`: base names of files from which rows have been deleted.
    """
    there = adds.schema.names
    if f"partition.{grain.date}" in there:
        days = adds[f"partition.{grain.date}"].cast(pa.string())
        inside = pc.and_(pc.greater_equal(days, _day(low)), pc.less_equal(days, _day(high - 1)))
        adds = adds.filter(pc.fill_null(inside, True))
    partitions = [name for name in there if name.startswith("partition.")]
    bounds = [f"{end}.{name}" for end in ("min", "max") for name in (grain.time, grain.owner) if name]
    adds = pa.table({name: _readable(adds[name]) for name in (*_FILE_COLUMNS, *bounds, *partitions) if name in there})
    for row in adds.to_pylist():
        file = LiveFile(
            path=row["path"],
            size_bytes=row["size_bytes"],
            partition_values={name.removeprefix("partition."): row[name] for name in partitions},
            rows=row.get("num_records"),
            low=row.get(f"min.{grain.time}"),
            high=_loosened(row.get(f"max.{grain.time}")),
            low_owner=row.get(f"min.{grain.owner}"),
            high_owner=row.get(f"max.{grain.owner}"),
            deletion_vector=_SOME_VECTOR if base_name(row["path"]) in with_vector else None,
        )
        if may_hold(file, grain, low, high):
            yield file


def to_add_action(file: LiveFile) -> Action:
    """Return the part of the `add` of a live file that reading and removing it need."""
    return {
        "path": file.path,
        "partitionValues": dict(file.partition_values),
        "size": file.size_bytes,
        "deletionVector": file.deletion_vector,
    }


def base_name(path: str) -> str:
    return unquote(path.rpartition("/")[2])


_FILE_COLUMNS = ("path", "size_bytes", "num_records")


def _statistics(text: str) -> Mapping[str, Any]:
    """Parse the statistics of a file; those that cannot be read count as absent."""
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _text(found: Any) -> str | None:
    return found if isinstance(found, str) else None


def _is_day_of(values: Mapping[str, str | None], grain: Grain, low: int, high: int) -> bool:
    day = None if grain.date is None else values.get(grain.date)
    return day is None or _day(low) <= day <= _day(high - 1)


def _readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    return column.cast(pa.string()) if pa.types.is_date32(column.type) else column


def _loosened(high: int | None) -> int | None:
    return None if high is None else high + _CUT_MICROS


def _micros(text: str | None) -> int | None:
    try:
        return None if text is None else (datetime.fromisoformat(text) - _EPOCH) // _MICRO
    except (ValueError, TypeError, OverflowError):  # no time that we can read, or one without a zone
        return None


def _day(micros: int) -> str:
    day = min(max(micros // _DAY, _FIRST_DAY), _LAST_DAY)
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()
