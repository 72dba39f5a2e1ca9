"""Reads tables with delta-kernel: neither our code nor the reader of the library that committed them.

What it sees is what any other engine that follows the Delta protocol sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import delta_kernel_rust_sharing_wrapper as kernel
import pyarrow as pa

from tests.exactness.expected import COLUMNS, Row, exact_double

__all__ = ["Mark", "as_rows", "holes_in", "is_table", "marks_in", "read_table", "rows_in", "version_of"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What the checkpoint table says is done of a tag, `[low, high)`."""

    low: int
    high: int
    last_event: int | None
    rows_total: int
    status: str
    last_error: str | None
    rows_behind: int = 0


def is_table(path: str | Path) -> bool:
    return any((Path(path) / "_delta_log").glob("*.json"))


def read_table(path: str | Path) -> pa.Table:
    """All rows of the newest version."""
    location = Path(path).absolute().as_uri()
    interface = kernel.PythonInterface(location)
    scan = kernel.ScanBuilder(kernel.Table(location).snapshot(interface)).build()
    table: pa.Table = scan.execute(interface).read_all()
    return table


def version_of(path: str | Path) -> int:
    location = Path(path).absolute().as_uri()
    version: int = kernel.Table(location).snapshot(kernel.PythonInterface(location)).version()
    return version


def rows_in(path: str | Path) -> list[Row]:
    """Rows of a timeseries table, in no particular order."""
    return as_rows(read_table(path))


def as_rows(table: pa.Table) -> list[Row]:
    assert table["ingestion_timestamp"].null_count == 0
    columns = {name: table[name].to_pylist() for name in COLUMNS if name not in {"timestamp", "partition_date"}}
    columns["timestamp"] = table["timestamp"].cast(pa.int64()).to_pylist()
    columns["partition_date"] = table["partition_date"].cast(pa.int32()).to_pylist()
    columns["value"] = [exact_double(value) for value in columns["value"]]
    return list(zip(*(columns[name] for name in COLUMNS), strict=True))


def marks_in(path: str | Path, pipeline: str = "default") -> Mapping[str, Mark]:
    """Watermarks of a pipeline by WebID: of all rows of a tag the widest window, the newest status, and of both that
    count rows, those who read history and the others, the most.
    """
    found: dict[str, Mark] = {}
    table = read_table(path)
    for name in ("low", "high", "last_event_timestamp", "updated_at"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    for row in sorted(table.to_pylist(), key=lambda row: (row["updated_at"], row["commit_sequence"], row["high"])):
        if row["pipeline"] != pipeline or row["dataset"] != "recorded":
            continue
        low, high, last_event, rows = row["low"], row["high"], row["last_event_timestamp"], row["rows_total"]
        behind = row["rows_behind"]
        if before := found.get(row["tag_webid"]):
            if low < high and before.low < before.high:
                low, high = min(low, before.low), max(high, before.high)
            elif low == high:
                low, high = before.low, before.high
            rows = max(rows - behind, before.rows_total - before.rows_behind) + max(behind, before.rows_behind)
            behind = max(behind, before.rows_behind)
            last_event = max((e for e in (last_event, before.last_event) if e is not None), default=None)
        found[row["tag_webid"]] = Mark(low, high, last_event, rows, row["status"], row["last_error"], behind)
    return found


def holes_in(path: str | Path, pipeline: str = "default") -> list[tuple[str, int, int]]:
    """The open holes of a pipeline, as (WebID, start, end): each row opens or closes a stretch of its tag."""
    table = read_table(path)
    for name in ("low", "hole_end", "updated_at"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    open_now: dict[str, list[tuple[int, int]]] = {}
    # Of one commit, what closes comes first.
    rows = sorted(
        table.to_pylist(), key=lambda row: (row["updated_at"], row["commit_sequence"], row["status"] == "open")
    )
    for row in rows:
        if row["pipeline"] != pipeline or row["dataset"] != "recorded.holes":
            continue
        start, end = row["low"], row["hole_end"]
        left = []
        for a, b in open_now.get(row["tag_webid"], ()):
            left += [(a, min(b, start)), (max(a, end), b)] if a < end and start < b else [(a, b)]
        found = [(a, b) for a, b in left if a < b]
        open_now[row["tag_webid"]] = [*found, (start, end)] if row["status"] == "open" else found
    return sorted((web_id, a, b) for web_id, holes in open_now.items() for a, b in holes)
