"""Watermarks: what is done of each tag, as values and as rows of the checkpoint table.

Imports nothing of the engine; no I/O. Invariant: a watermark only widens. Rows are never updated:
each is whole in itself, and the widest row of a tag counts, so rows may come in any order and twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from .tables import PI_WATERMARKS, TIMESTAMP

__all__ = ["Move", "Watermark", "decode", "encode", "merge", "merge_stream", "widen"]

_SCHEMA = PI_WATERMARKS.schema
_MERGE_ROWS = 1 << 20


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """Events of a tag in `[low, high)` are in the data table. Times are microseconds since 1970, UTC."""

    tag_webid: str
    low: int
    high: int
    last_event: int | None = None
    rows_total: int = 0
    status: str = "ok"
    last_error: str | None = None


class Move(msgspec.Struct, frozen=True, gc=False):
    """What one commit adds to a tag: `rows` events, which are all there are in `[low, high)`.

    An empty window (`low == high`) moves nothing and only reports a status.
    """

    tag_webid: str
    low: int
    high: int
    last_event: int | None = None
    rows: int = 0
    status: str = "ok"
    last_error: str | None = None


def widen(before: Watermark | None, move: Move) -> Watermark:
    """Apply a move. Raises ValueError for a window that leaves a gap: it would count as done unread."""
    low, high, last_event, rows_total = move.low, move.high, move.last_event, move.rows
    if before is not None:
        if move.low == move.high:
            low, high = before.low, before.high
        elif before.low < before.high and (move.low > before.high or move.high < before.low):
            raise ValueError(
                f"the window [{move.low}, {move.high}) of {move.tag_webid} does not touch "
                f"[{before.low}, {before.high}), which is done"
            )
        elif before.low < before.high:
            low, high = min(low, before.low), max(high, before.high)
        rows_total += before.rows_total
        last_event = max((e for e in (last_event, before.last_event) if e is not None), default=None)
    if low > high:
        raise ValueError(f"the window [{move.low}, {move.high}) of {move.tag_webid} ends before it starts")
    return Watermark(move.tag_webid, low, high, last_event, rows_total, move.status, move.last_error)


def encode(
    marks: Iterable[Watermark], *, pipeline: str, dataset: str, sequence: int, updated_at: int
) -> pa.RecordBatch:
    """Give the rows of the checkpoint table for these watermarks."""
    rows = list(marks)

    def times(values: list[int | None]) -> pa.Array:
        return pa.array(values, pa.int64()).cast(TIMESTAMP)

    columns = {
        "pipeline": pa.array([pipeline] * len(rows), pa.string()),
        "dataset": pa.array([dataset] * len(rows), pa.string()),
        "tag_webid": pa.array([m.tag_webid for m in rows], pa.string()),
        "low": times([m.low for m in rows]),
        "high": times([m.high for m in rows]),
        "last_event_timestamp": times([m.last_event for m in rows]),
        "commit_sequence": pa.array([sequence] * len(rows), pa.int64()),
        "rows_total": pa.array([m.rows_total for m in rows], pa.int64()),
        "status": pa.array([m.status for m in rows], pa.string()),
        "last_error": pa.array([m.last_error for m in rows], pa.string()),
        "updated_at": times([updated_at] * len(rows)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


def merge(rows: pa.Table) -> pa.Table:
    """One row a (pipeline, dataset, tag): lowest low, highest high, the status that was written last.

    A row whose window is empty says nothing about what is done, unless the tag has no other.
    """
    rows = rows.sort_by([("updated_at", "ascending"), ("commit_sequence", "ascending"), ("high", "ascending")])
    done = pc.less(rows["low"], rows["high"])
    nothing = pa.scalar(None, TIMESTAMP)
    rows = rows.append_column("done_low", pc.if_else(done, rows["low"], nothing))
    rows = rows.append_column("done_high", pc.if_else(done, rows["high"], nothing))
    rows = rows.append_column("place", pa.array(range(rows.num_rows), pa.int64()))
    grouped = rows.group_by(["pipeline", "dataset", "tag_webid"]).aggregate(
        [
            ("done_low", "min"),
            ("done_high", "max"),
            ("last_event_timestamp", "max"),
            ("commit_sequence", "max"),
            ("rows_total", "max"),
            ("place", "max"),
        ]
    )
    newest = rows.take(grouped["place_max"])
    columns = {
        **{name: newest[name] for name in ("pipeline", "dataset", "tag_webid", "status", "last_error", "updated_at")},
        "low": pc.coalesce(grouped["done_low_min"], newest["low"]),
        "high": pc.coalesce(grouped["done_high_max"], newest["high"]),
        "last_event_timestamp": grouped["last_event_timestamp_max"],
        "commit_sequence": grouped["commit_sequence_max"],
        "rows_total": grouped["rows_total_max"],
    }
    return pa.table([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


def merge_stream(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Merge as rows come in, so that memory follows the number of tags, not of rows."""
    merged = _SCHEMA.empty_table()
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= _MERGE_ROWS:
            merged = merge(_together(merged, waiting))
            waiting = []
    return merge(_together(merged, waiting))


def _together(merged: pa.Table, batches: list[pa.RecordBatch]) -> pa.Table:
    return (
        pa.concat_tables([merged, pa.Table.from_batches(batches, schema=merged.schema.remove_metadata()).cast(_SCHEMA)])
        if batches
        else merged
    )


def decode(merged: pa.Table, dataset: str) -> dict[str, Watermark]:
    """Give the watermarks of one dataset from merged rows."""
    rows = merged.filter(pc.equal(merged["dataset"], dataset))

    def whole(name: str) -> list[int | None]:
        values: list[int | None] = rows[name].cast(pa.int64()).to_pylist()
        return values

    columns = zip(
        rows["tag_webid"].to_pylist(),
        whole("low"),
        whole("high"),
        whole("last_event_timestamp"),
        whole("rows_total"),
        rows["status"].to_pylist(),
        rows["last_error"].to_pylist(),
        strict=True,
    )
    return {mark.tag_webid: mark for mark in (Watermark(*values) for values in columns)}


def moved(before: Mapping[str, Watermark], moves: Iterable[Move]) -> dict[str, Watermark]:
    """Apply moves one after the other; give the watermarks that result, of the tags that moved only."""
    after: dict[str, Watermark] = {}
    for move in moves:
        known = after.get(move.tag_webid) or before.get(move.tag_webid)
        after[move.tag_webid] = widen(known, move)
    return after
