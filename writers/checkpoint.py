"""Watermarks: what is done of each tag, as values and as rows of the checkpoint table.

Imports nothing of the engine; no I/O. Invariant: the window of a watermark only widens. Rows are never
updated: each is whole in itself, and the widest row of a tag counts, so rows may come in any order and
twice. The last event may go back (the newest was deleted at the source): of the rows that reach highest,
the one written last knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .digest import signed
from .tables import PI_WATERMARKS, TIMESTAMP

__all__ = ["Move", "Watermark", "decode", "encode", "merge", "merge_stream", "widen"]

_SCHEMA = PI_WATERMARKS.schema
_MERGE_ROWS = 1 << 20


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """Events of a tag in `[low, high)` are in the data table. Times are microseconds since 1970, UTC.

    `last_event_digest`: of the rows at `last_event`, as `Digest.signed` gives it; None if it is not known.
    """

    tag_webid: str
    low: int
    high: int
    last_event: int | None = None
    rows_total: int = 0
    status: str = "ok"
    last_error: str | None = None
    last_event_digest: int | None = None


class Move(msgspec.Struct, frozen=True, gc=False):
    """What one commit adds to a tag: `rows` events, which are all there are in `[low, high)`.

    An empty window (`low == high`) moves nothing and only reports a status.

    `last_event` and `last_event_digest` go together. Without a `last_event` the old pair stays. A move that
    reaches the end of what is done (`high` not below the watermark's, an empty window at it included) decides,
    also when its event lies before the one known: that is how the last event goes back.
    """

    tag_webid: str
    low: int
    high: int
    last_event: int | None = None
    rows: int = 0
    status: str = "ok"
    last_error: str | None = None
    last_event_digest: int | None = None


def widen(before: Watermark | None, move: Move) -> Watermark:
    """Apply a move. Raises ValueError for a window that leaves a gap: it would count as done unread."""
    low, high, rows_total = move.low, move.high, move.rows
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
    if low > high:
        raise ValueError(f"the window [{move.low}, {move.high}) of {move.tag_webid} ends before it starts")
    last_event, digest = _last(before, move)
    return Watermark(move.tag_webid, low, high, last_event, rows_total, move.status, move.last_error, digest)


def _last(before: Watermark | None, move: Move) -> tuple[int | None, int | None]:
    """Choose between the last event that is known and the one that a move reports."""
    digest = None if move.last_event_digest is None else signed(move.last_event_digest)
    if before is None or before.last_event is None:
        return move.last_event, digest if move.last_event is not None else None
    known = before.last_event, before.last_event_digest
    if move.last_event is None or move.last_event < before.low < before.high:
        return known  # what was done already is younger than an event that lies below it
    decides = move.high >= before.high or move.last_event >= before.last_event
    return (move.last_event, digest) if decides else known


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
        "last_event_digest": pa.array([m.last_event_digest for m in rows], pa.int64()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


def merge(rows: pa.Table) -> pa.Table:
    """One row a (pipeline, dataset, tag): lowest low, highest high, the status that was written last, the last
    event of the row that reaches highest (of several: the one written last).

    A row whose window is empty says nothing about what is done, unless the tag has no other.
    """
    return _merged(_to_merge(rows)).select(_SCHEMA.names)


def merge_stream(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Merge as rows come in, so that memory follows the number of tags, not of rows."""
    merged = _to_merge(_SCHEMA.empty_table())
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= _MERGE_ROWS:
            merged = _merged(_together(merged, waiting))
            waiting = []
    return _merged(_together(merged, waiting)).select(_SCHEMA.names)


# What merging in pieces has to remember beside the rows: how high, and when, the row stood that knows the last
# event, and the one that was written last. (What is stored forgets it again; a merged row then stands as high and
# as late as any of its rows.)
_KNOWN = ("known_high", "known_at", "known_sequence")
_WRITTEN = ("written_at", "written_sequence", "written_high")
_TAG = ("pipeline", "dataset", "tag_webid")
_HIGHEST = ("commit_sequence", "rows_total")


def _to_merge(rows: pa.Table) -> pa.Table:
    sources = ("high", "updated_at", "commit_sequence", "updated_at", "commit_sequence", "high")
    for name, source in zip((*_KNOWN, *_WRITTEN), sources, strict=True):
        rows = rows.append_column(name, rows[source])
    return rows


def _together(merged: pa.Table, batches: list[pa.RecordBatch]) -> pa.Table:
    if not batches:
        return merged
    rows = pa.Table.from_batches(batches, schema=batches[0].schema).select(_SCHEMA.names).cast(_SCHEMA)
    return pa.concat_tables([merged, _to_merge(rows)])


def _merged(rows: pa.Table) -> pa.Table:
    done = pc.less(rows["low"], rows["high"])
    nothing = pa.scalar(None, TIMESTAMP)
    by_write, written = _ranked(rows, _WRITTEN)
    by_height, known = _ranked(rows, _KNOWN)
    keyed = pa.table(
        {
            **{name: rows[name] for name in (*_TAG, "commit_sequence", "rows_total")},
            "done_low": pc.if_else(done, rows["low"], nothing),
            "done_high": pc.if_else(done, rows["high"], nothing),
            "written": written,
            "known": pc.if_else(pc.is_valid(rows["last_event_timestamp"]), known, pa.scalar(None, pa.int64())),
        }
    )
    grouped = keyed.group_by(_TAG).aggregate(
        [("done_low", "min"), *((name, "max") for name in ("done_high", *_HIGHEST, "written", "known"))]
    )
    newest = rows.take(pc.take(by_write, grouped["written_max"]))
    last = rows.take(pc.take(by_height, grouped["known_max"]))
    columns = {
        **{name: newest[name] for name in (*_TAG, "status", "last_error", "updated_at", *_WRITTEN)},
        "low": pc.coalesce(grouped["done_low_min"], newest["low"]),
        "high": pc.coalesce(grouped["done_high_max"], newest["high"]),
        **{name: grouped[f"{name}_max"] for name in _HIGHEST},
        **{name: last[name] for name in ("last_event_timestamp", "last_event_digest", *_KNOWN)},
    }
    return pa.table([columns[name] for name in rows.schema.names], schema=rows.schema)


def _ranked(rows: pa.Table, keys: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Give the places of the rows in ascending order, and the rank of each row."""
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in keys]).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return pa.array(order), pa.array(ranks)


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
        rows["last_event_digest"].to_pylist(),
        strict=True,
    )
    return {mark.tag_webid: mark for mark in (Watermark(*values) for values in columns)}
