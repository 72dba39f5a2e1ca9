"""Watermarks as rows of the checkpoint table.

No I/O. Invariant: rows are never updated. Each row is complete, and the widest row of a tag counts, so rows may come
in any order and twice. The last event may go back (the newest one was deleted at the source): of the rows that reach
highest, the one written last has it.

Holes are rows of a dataset of their own ("recorded.holes"). Their window is empty, so they do not count as done. A row
opens or closes a stretch of time; the row written last counts. Engines of earlier versions compact the holes of a tag
to one row without an end: which holes there were is unknown from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..tables import PI_WATERMARKS, TIMESTAMP
from .holes import Hole, HoleChange, Holes, after
from .model import NEVER, Ints, Trouble, Watermark
from .store import WatermarkColumns, WatermarkStore

_SCHEMA = PI_WATERMARKS.schema
_MERGE_ROWS = 1 << 20
# Suffix of the dataset of holes, after the name of the dataset that has them.
HOLES = ".holes"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN, _CLOSED, _UNKNOWN = "open", "closed", "unknown"


def encode(
    watermarks: Iterable[Watermark], *, pipeline: str, dataset: str, sequence: int, updated_at: int
) -> pa.RecordBatch:
    """Give the rows of the checkpoint table for these watermarks."""
    given = watermarks if isinstance(watermarks, WatermarkColumns) else WatermarkColumns.of(watermarks)
    rows = len(given)
    low, high, last_event, rows_total, digest, ahead_from, rows_behind = np.ascontiguousarray(given.values.T)
    statuses, errors = given.troubles_of_each()
    columns = {
        "pipeline": pa.repeat(pipeline, rows),
        "dataset": pa.repeat(dataset, rows),
        "tag_webid": pa.array(given.web_ids, pa.string()),
        "low": _times(low),
        "high": _times(high),
        "last_event_timestamp": _times(last_event),
        "commit_sequence": pa.repeat(pa.scalar(sequence, pa.int64()), rows),
        "rows_total": pa.array(rows_total),
        "status": pa.array(statuses, pa.string()) if given.troubles else pa.repeat("ok", rows),
        "last_error": pa.array(errors, pa.string()),
        "updated_at": pa.repeat(pa.scalar(updated_at, TIMESTAMP), rows),
        "last_event_digest": pa.array(digest, mask=digest == NEVER),
        "ahead_from": _times(ahead_from),
        "rows_behind": pa.array(rows_behind),
    }
    return pa.RecordBatch.from_arrays(
        [
            columns[field.name] if field.name in columns else pa.nulls(rows, field.type)  # those of holes
            for field in _SCHEMA
        ],
        schema=_SCHEMA,
    )


def encode_holes(
    closed: Iterable[HoleChange],
    opened: Iterable[Hole],
    *,
    pipeline: str,
    dataset: str,
    sequence: int,
    updated_at: int,
) -> pa.RecordBatch:
    """Give the rows that close these stretches of time and open these holes."""
    rows = [
        {"tag_webid": one.tag_webid, "low": one.start, "hole_end": one.end, "status": _CLOSED} for one in closed
    ] + [
        {
            "tag_webid": hole.tag_webid,
            "low": hole.start,
            "hole_end": hole.end,
            "status": _OPEN,
            "last_error": hole.error,
            "hole_since": hole.since,
            "hole_attempts": hole.attempts,
            "hole_ask_at": hole.ask_at,
        }
        for hole in opened
    ]
    return _hole_rows(rows, pipeline=pipeline, dataset=dataset, sequence=sequence, updated_at=updated_at)


def holes_unknown_row(*, pipeline: str, dataset: str, sequence: int, updated_at: int) -> pa.RecordBatch:
    """Give the row that says: watermarks were rebuilt now, and older holes are unknown."""
    row = {"tag_webid": "", "low": updated_at, "status": _UNKNOWN}
    return _hole_rows([row], pipeline=pipeline, dataset=dataset, sequence=sequence, updated_at=updated_at)


def _hole_rows(
    rows: list[dict[str, Any]], *, pipeline: str, dataset: str, sequence: int, updated_at: int
) -> pa.RecordBatch:
    shared = {
        "pipeline": pipeline,
        "dataset": dataset + HOLES,
        "commit_sequence": sequence,
        "rows_total": 0,
        "updated_at": updated_at,
    }
    filled = [{**shared, **row, "high": row["low"]} for row in rows]
    columns = [pa.array([row.get(field.name) for row in filled], field.type) for field in _SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _times(column: Ints) -> pa.Array:
    return pa.array(column, mask=column == NEVER).cast(TIMESTAMP)


def merge(rows: pa.Table) -> pa.Table:
    """Merge to one row for each (pipeline, dataset, tag).

    It has the lowest low, the highest high and present, the status that was written last, and the last event of the row
    that reaches highest (of several: the one written last). Its rows are the highest count of live runs plus that of
    backfills. A row with an empty window does not count as done, unless the tag has no other. Only open holes are kept.
    """
    of_holes = _are_holes(rows)
    merged = _merged(_to_merge(rows.filter(pc.invert(of_holes)))).select(_SCHEMA.names)
    return pa.concat_tables([merged, _open_holes(rows.filter(of_holes))])


def merge_stream(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Merge as rows come in: memory follows the number of tags, not of rows."""
    merged = _to_merge(_SCHEMA.empty_table())
    waiting: list[pa.RecordBatch] = []
    holes: list[pa.RecordBatch] = []
    for batch in batches:
        of_holes = _are_holes(batch)
        if pc.any(of_holes).as_py():
            holes.append(batch.filter(of_holes))
            waiting.append(batch.filter(pc.invert(of_holes)))
        else:
            waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= _MERGE_ROWS:
            merged = _merged(_together(merged, waiting))
            waiting = []
    merged = _merged(_together(merged, waiting)).select(_SCHEMA.names)
    return pa.concat_tables([merged, _open_holes(_plain(holes))]) if holes else merged


def _plain(batches: list[pa.RecordBatch]) -> pa.Table:
    """Rows of files of any age, as the schema has them."""
    return pa.Table.from_batches(batches, schema=batches[0].schema).select(_SCHEMA.names).cast(_SCHEMA)


def newest_of_holes(rows: pa.RecordBatch) -> int:
    """When the newest row of a hole was written; 0 where there is none."""
    written = rows.filter(_are_holes(rows))["updated_at"]
    return int(pc.max(written.cast(pa.int64())).as_py() or 0)


def _are_holes(rows: pa.RecordBatch | pa.Table) -> pa.Array:
    return pc.ends_with(_decoded(rows["dataset"]), HOLES)


def _decoded(column: Any) -> Any:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


# Columns that merging in pieces needs in addition: high, time and sequence of the row that has the last event, and of
# the row that was written last. They are not stored.
_KNOWN = ("known_high", "known_at", "known_sequence")
_WRITTEN = ("written_at", "written_sequence", "written_high")
_TAG = ("pipeline", "dataset", "tag_webid")
_HIGHEST = ("commit_sequence", "ahead_from")
# A backfill and a live run count their rows separately; each has an old count of the other.
_COUNTED = ("rows_ahead", "rows_behind")


def _to_merge(rows: pa.Table) -> pa.Table:
    sources = ("high", "updated_at", "commit_sequence", "updated_at", "commit_sequence", "high")
    for name, source in zip((*_KNOWN, *_WRITTEN), sources, strict=True):
        rows = rows.append_column(name, rows[source])
    return rows


def _together(merged: pa.Table, batches: list[pa.RecordBatch]) -> pa.Table:
    if not batches:
        return merged
    return pa.concat_tables([merged, _to_merge(_plain(batches))])


def _merged(rows: pa.Table) -> pa.Table:
    done = pc.less(rows["low"], rows["high"])
    nothing = pa.scalar(None, TIMESTAMP)
    by_write, written = _ranked(rows, _WRITTEN)
    by_height, known = _ranked(rows, _KNOWN)
    keyed = pa.table(
        {
            **{name: rows[name] for name in (*_TAG, *_HIGHEST)},
            "rows_ahead": pc.subtract(rows["rows_total"], rows["rows_behind"].fill_null(0)),
            "rows_behind": rows["rows_behind"].fill_null(0),
            "done_low": pc.if_else(done, rows["low"], nothing),
            "done_high": pc.if_else(done, rows["high"], nothing),
            "written": written,
            "known": pc.if_else(pc.is_valid(rows["last_event_timestamp"]), known, pa.scalar(None, pa.int64())),
        }
    )
    grouped = keyed.group_by(_TAG).aggregate(
        [("done_low", "min"), *((name, "max") for name in ("done_high", *_HIGHEST, *_COUNTED, "written", "known"))]
    )
    newest = rows.take(pc.take(by_write, grouped["written_max"]))
    last = rows.take(pc.take(by_height, grouped["known_max"]))
    columns = {
        **{name: newest[name] for name in (*_TAG, "status", "last_error", "updated_at", *_WRITTEN)},
        "low": pc.coalesce(grouped["done_low_min"], newest["low"]),
        "high": pc.coalesce(grouped["done_high_max"], newest["high"]),
        **{name: grouped[f"{name}_max"] for name in (*_HIGHEST, "rows_behind")},
        "rows_total": pc.add(grouped["rows_ahead_max"], grouped["rows_behind_max"]),
        **{name: last[name] for name in ("last_event_timestamp", "last_event_digest", *_KNOWN)},
        **{name: newest[name] for name in rows.schema.names if name.startswith("hole_")},
    }
    return pa.table([columns[name] for name in rows.schema.names], schema=rows.schema)


def _open_holes(rows: pa.Table) -> pa.Table:
    """Apply the rows that open and close holes; give the open ones, and the newest row that says which are unknown.

    Versions that did not know holes leave rows without an end: the holes of such a tag are unknown.
    """
    if not rows.num_rows:
        return rows
    # Within a commit, closing comes first: what the commit opens is what is left.
    ordered = sorted(
        rows.to_pylist(), key=lambda row: (row["updated_at"], row["commit_sequence"], row["status"] == _OPEN)
    )
    left: dict[tuple[str, str, str], dict[str, Any]] = {}
    found: dict[tuple[str, str, str], tuple[Hole, ...]] = {}
    newest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in ordered:
        key = (row["pipeline"], row["dataset"], row["tag_webid"])
        if row["status"] == _UNKNOWN or row["hole_end"] is None:
            at = row["updated_at"]
            forgotten = {"tag_webid": "", "low": at, "high": at, "status": _UNKNOWN, "last_error": None}
            left[(*key[:2], "")] = row | forgotten
            continue
        start, end = _micros(row["low"]), _micros(row["hole_end"])
        kept = after(found.get(key, ()), [HoleChange(row["tag_webid"], start, end)], 0)
        found[key] = (*kept, _hole(row, start, end)) if row["status"] == _OPEN else kept
        newest[key] = row
    tables = [pa.Table.from_pylist(list(left.values()), schema=_SCHEMA)]
    for (pipeline, dataset, _), holes in found.items():
        row = newest[pipeline, dataset, _]
        batch = encode_holes(
            (),
            holes,
            pipeline=pipeline,
            dataset=dataset.removesuffix(HOLES),
            sequence=row["commit_sequence"],
            updated_at=_micros(row["updated_at"]),
        )
        tables.append(pa.Table.from_batches([batch]))
    return pa.concat_tables(tables)


def _hole(row: dict[str, Any], start: int, end: int) -> Hole:
    since, ask_at = row["hole_since"], row["hole_ask_at"]
    return Hole(
        row["tag_webid"],
        start,
        end,
        row["last_error"] or "",
        _micros(since) if since is not None else start,
        row["hole_attempts"] or 0,
        _micros(ask_at) if ask_at is not None else 0,
    )


def holes_of(merged: pa.Table, dataset: str) -> Holes:
    """Give the open holes of one dataset from merged rows."""
    rows = merged.filter(pc.equal(merged["dataset"], dataset + HOLES))
    found: dict[str, list[Hole]] = {}
    for row in rows.filter(pc.equal(rows["status"], _OPEN)).to_pylist():
        hole = _hole(row, _micros(row["low"]), _micros(row["hole_end"]))
        found.setdefault(hole.tag_webid, []).append(hole)
    return {web_id: tuple(sorted(holes, key=lambda hole: hole.start)) for web_id, holes in found.items()}


def holes_unknown_before(merged: pa.Table, dataset: str) -> int | None:
    """When the watermarks were rebuilt, which lost older holes; None if they never were."""
    rows = merged.filter(pc.and_(pc.equal(merged["dataset"], dataset + HOLES), pc.equal(merged["status"], _UNKNOWN)))
    return _micros(pc.max(rows["updated_at"]).as_py()) if rows.num_rows else None


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _ranked(rows: pa.Table, keys: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Give the indices of the rows in ascending order, and the rank of each row."""
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in keys]).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return pa.array(order), pa.array(ranks)


def decode(merged: pa.Table, dataset: str) -> WatermarkStore:
    """Give the watermarks of one dataset, and its holes, from merged rows."""
    watermarks = WatermarkStore()
    watermarks.replace_all(columns_of(merged, dataset), holes_of(merged, dataset))
    watermarks.holes_unknown_before = holes_unknown_before(merged, dataset)
    return watermarks


def columns_of(merged: pa.Table, dataset: str) -> WatermarkColumns:
    """As `decode`, without the index of each tag."""
    rows = merged.filter(pc.equal(merged["dataset"], dataset))

    def column(name: str, none: int) -> Ints:
        values: Ints = rows[name].cast(pa.int64()).fill_null(none).to_numpy()
        return values

    columns = (
        column("low", 0),
        column("high", 0),
        column("last_event_timestamp", NEVER),
        column("rows_total", 0),
        column("last_event_digest", NEVER),
        column("ahead_from", NEVER),
        column("rows_behind", 0),
    )
    return WatermarkColumns(rows["tag_webid"].to_pylist(), np.stack(columns, axis=1), _troubles(rows))


def _troubles(rows: pa.Table) -> dict[int, Trouble]:
    odd = pc.or_(pc.not_equal(rows["status"].fill_null(""), "ok"), pc.is_valid(rows["last_error"]))
    found = rows.filter(odd)
    troubles = zip(found["status"].to_pylist(), found["last_error"].to_pylist(), strict=True)
    return dict(zip(np.flatnonzero(odd.to_numpy()).tolist(), troubles, strict=True))
