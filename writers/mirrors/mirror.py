"""Keeps a table in step with what the source shows: one row a thing (a point, a state), as last seen.

Invariant: a mirror that shows nothing new is not committed to. A commit replaces rows by key, in only those files that
hold a row that changed. What other shards and pipelines wrote in the meantime is read again, never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, FencedError

from ..corrections.by_key import FILE_ROWS, KeyedTable, StoredRows, index_of, key_codes
from ..corrections.correction import Correction
from ..corrections.windows import Bools, Int64s
from ..ports import Commit, CommitKey, Lakehouse, OpenTable, commit_or_discard
from ..row_hash import Hashes, row_hashes
from ..tables import OWN, TIMESTAMP, TableSpec
from .seen import SeenRows

_ATTEMPTS = 8
_DAY = 86_400_000_000
# So many rows that differ are written at a time.
_PART_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Mirror:
    """A table that follows the source, by the key of its grain. `things` is what its rows are called.

    `seen_with`: sets of columns. A row that agrees in one of these sets with a row that was seen would have
    been seen, too, if it still were there.
    """

    spec: TableSpec
    things: str
    seen_with: tuple[tuple[str, ...], ...] = ()
    # Columns that are worked out from the kept columns of all rows, and how; they are never of the source.
    linked: tuple[str, ...] = ()
    link: Callable[[pa.Table], pa.Table] = lambda rows: rows
    # Columns that another mirror of the same table writes: they stay as they are.
    of_others: tuple[str, ...] = ()
    # Columns that are kept in memory beside the key: for `link`, and for who reads the receipt.
    kept: tuple[str, ...] = ()
    # Columns by which people know a row.
    named_by: tuple[str, ...] = ()
    file_rows: int = FILE_ROWS

    @property
    def app_id(self) -> str:
        """Shared by all pipelines and shards, so that two that sync at once conflict, and one tries again."""
        return f"osipi/{self.spec.name}"

    @property
    def from_source(self) -> tuple[str, ...]:
        return tuple(name for name in self.spec.schema.names if name not in {*OWN, *self.linked, *self.of_others})

    @property
    def kept_columns(self) -> tuple[str, ...]:
        together = (name for names in self.seen_with for name in names)
        own = (name for name in OWN if name in self.spec.schema.names)
        return tuple(dict.fromkeys((*self.spec.grain.key, *together, *self.kept, *own, *self.linked, *self.of_others)))

    def collect(self) -> SeenRows:
        """Room for what is seen, piece by piece."""
        schema = pa.schema([self.spec.schema.field(name) for name in self.from_source])
        kept = [name for name in self.kept_columns if name in schema.names]
        return SeenRows(schema, key=self.spec.grain.key, kept=kept)

    def keyed(self) -> KeyedTable:
        return KeyedTable(self.spec, kept=self.kept_columns, hashed=self.from_source, file_rows=self.file_rows)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source shows of a mirror at `now` (microseconds): `rows`, with the columns of the table but those of `OWN`.
    Those of `Mirror.collect` are for many rows, which are never held all together.

    Only where it is `complete` does it say that a thing is missing; others are missing whose first column of the key is
    among `gone`.
    """

    rows: pa.Table | SeenRows
    now: int
    complete: bool = False
    gone: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class SyncReceipt:
    """What a sync changed: new things, things that are otherwise than before, things found missing.

    `rows` is what the table holds after it, and `before` what it held, in the kept columns of the mirror; `unseen` are
    those of `rows` that were not seen, and are not missing. `was_seen` says of each row of `before` whether it was seen.
    """

    added: int = 0
    changed: int = 0
    missing: int = 0
    rows: pa.Table | None = field(default=None, compare=False, repr=False)
    before: pa.Table | None = field(default=None, compare=False, repr=False)
    unseen: pa.Table | None = field(default=None, compare=False, repr=False)
    was_seen: pa.Array | None = field(default=None, compare=False, repr=False)


class MirrorDifference(NamedTuple):
    """The kept columns of all rows as they shall be, the stored rows first, in their order, and new ones behind."""

    rows: pa.Table
    written: Bools  # which of the rows differ from what is stored
    seen_at: Int64s  # where a row stands in what was seen; -1: it was not seen
    receipt: SyncReceipt


class SyncMirror(Protocol):
    """`sync`, or what takes its place."""

    def __call__(
        self,
        lakehouse: Lakehouse,
        mirror: Mirror,
        listing: Listing,
        *,
        on_step: Callable[[str], None],
        keyed: KeyedTable | None = None,
    ) -> SyncReceipt: ...


def sync(
    lakehouse: Lakehouse,
    mirror: Mirror,
    listing: Listing,
    *,
    on_step: Callable[[str], None],
    keyed: KeyedTable | None = None,
) -> SyncReceipt:
    """Bring the table up to date with what is listed, in one commit. `keyed`, of `Mirror.keyed`, saves a run that syncs
    often from reading files again.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    table = lakehouse.table(mirror.spec)
    keyed = keyed or mirror.keyed()
    seen, rows, hashes = to_compare(mirror, listing.rows)
    for _ in range(_ATTEMPTS):
        stored = keyed.read(table.open())
        found = difference(mirror, stored.rows, stored.hashes, replace(listing, rows=rows), hashes)
        receipt = replace(found.receipt, before=stored.rows)
        if not found.written.any():
            return receipt
        try:
            on_step(f"before_{mirror.things}_staging")
            correction = _staged(keyed, mirror, stored, found, seen)
            on_step(f"after_{mirror.things}_staging")
            _commit(stored.table, mirror, correction)
            on_step(f"after_{mirror.things}_commit")
        except (CommitConflictError, FencedError):
            continue
        return receipt
    raise CommitConflictError(
        f"Other runs changed {table.uri} {_ATTEMPTS} times while {mirror.things} were being written.",
        hint="Run again; if it persists, let fewer shards start at the same moment.",
    )


def _staged(
    keyed: KeyedTable, mirror: Mirror, stored: StoredRows, found: MirrorDifference, seen: pa.Table | SeenRows
) -> Correction:
    known = stored.rows.num_rows
    replaced: Int64s = np.flatnonzero(found.written[:known])
    unseen = replaced[found.seen_at[replaced] < 0]
    fetched = keyed.fetch(stored, unseen)
    come: pa.Table | Iterator[pa.RecordBatch]
    if isinstance(seen, SeenRows):
        order = _by_key(mirror, found)
        come, new = _parts_to_write(mirror, found, seen, (unseen, fetched), order), order >= known
    else:
        come, new = _rows_to_write(mirror, found, seen, fetched, known)
    return keyed.replace(stored, replaced, np.ones(len(replaced), np.bool_), come=come, new=new)


def _by_key(mirror: Mirror, found: MirrorDifference) -> Int64s:
    """The rows that differ, in the order of their keys."""
    at = np.flatnonzero(found.written)
    key = mirror.spec.grain.key
    keys = found.rows.select(list(key)).take(pa.array(at))
    order: Int64s = at[pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in key]).to_numpy()]
    return order


def _parts_to_write(
    mirror: Mirror,
    found: MirrorDifference,
    seen: SeenRows,
    unseen: tuple[Int64s, pa.Table],
    order: Int64s,
) -> Iterator[pa.RecordBatch]:
    """Every column of the rows that differ, in this order, so many at a time that memory bears them. `unseen`: which of
    the stored rows that differ were not seen, and what the table holds of them.
    """
    for first in range(0, len(order), _PART_ROWS):
        at = np.sort(order[first : first + _PART_ROWS])
        seen_at = found.seen_at[at]
        shown = np.unique(seen_at[seen_at >= 0])
        fetched = unseen[1].filter(pa.array(np.isin(unseen[0], at)))
        part = MirrorDifference(
            found.rows.take(pa.array(at)),
            np.ones(len(at), np.bool_),
            np.where(seen_at >= 0, np.searchsorted(shown, seen_at), -1),
            found.receipt,
        )
        rows, _ = _rows_to_write(mirror, part, seen.take(shown), fetched, 0)
        yield from rows.to_batches()


def _commit(table: OpenTable, mirror: Mirror, correction: Correction) -> None:
    commit = Commit(
        CommitKey(mirror.app_id, (table.last_sequence(mirror.app_id) or 0) + 1),
        correction.files,
        removes=correction.remove,
        changes=correction.changes,
        replace_where={} if correction.replaces_all else None,
    )
    commit_or_discard(table, commit, correction.staged)


def _rows_to_write(
    mirror: Mirror, found: MirrorDifference, seen: pa.Table, fetched: pa.Table, known: int
) -> tuple[pa.Table, Bools]:
    """Every column of the rows that differ, by key, and which of them are new.

    `fetched`: of the stored rows that differ and were not seen, what the table holds, in their order.
    """
    at = np.flatnonzero(found.written)
    was_seen = found.seen_at[at] >= 0
    source = pa.concat_tables([seen, fetched.select(seen.schema.names).cast(seen.schema)])
    rank = np.cumsum(~was_seen) - 1 + seen.num_rows
    source_at = np.where(was_seen, found.seen_at[at], rank)
    # Sorted by their keys alone first, so that all columns are taken once.
    key = mirror.spec.grain.key
    keys = source.select(list(key)).take(pa.array(source_at))
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in key]).to_numpy()
    at = at[order]
    source = source.take(pa.array(source_at[order]))
    own = found.rows.take(pa.array(at))
    columns = [source[name] if name in mirror.from_source else own[name] for name in mirror.spec.schema.names]
    return pa.table(columns, mirror.spec.schema), at >= known


def to_compare(mirror: Mirror, seen: pa.Table | SeenRows) -> tuple[pa.Table | SeenRows, pa.Table, Hashes]:
    """What was seen, each thing once; of each the columns that are at hand, and a hash of what the source says."""
    if isinstance(seen, SeenRows):
        return seen, seen.rows, seen.hashes
    rows = _of_source(mirror, seen)
    return rows, rows, _hashes(mirror, rows)


def difference(
    mirror: Mirror,
    stored: pa.Table,
    hashes: Hashes,
    listing: Listing,
    seen_hashes: Hashes,
) -> MirrorDifference:
    """Compare what is stored (kept columns, and hashes of what came from the source) with what is listed: the rows of
    `to_compare`, and their hashes. Pure.
    """
    key, known, seen, now = mirror.spec.grain.key, stored.num_rows, listing.rows, listing.now
    assert isinstance(seen, pa.Table)  # noqa: S101
    seen_at = _places_of(key, stored, seen)
    is_seen = seen_at >= 0
    is_new = np.ones(seen.num_rows, np.bool_)
    is_new[seen_at[is_seen]] = False
    added = np.flatnonzero(is_new)
    deleted = _bools(pc.is_valid(stored["deleted_at"]))
    changed = is_seen & deleted
    changed[is_seen] |= hashes[is_seen] != seen_hashes[seen_at[is_seen]]
    missing = _bools(pc.is_in(stored[key[0]], value_set=pa.array(list(listing.gone), stored[key[0]].type)))
    if listing.complete:
        missing |= _seen_with(mirror, stored, seen)
    missing &= ~is_seen & ~deleted
    written = np.concatenate([changed | missing, np.ones(len(added), np.bool_)])
    unseen = stored.filter(pa.array(~is_seen & ~deleted & ~missing))
    counts = SyncReceipt(
        *(len(added), int(changed.sum()), int(missing.sum())), rows=stored, unseen=unseen, was_seen=pa.array(is_seen)
    )
    if not written.any():
        return MirrorDifference(stored, written, seen_at, counts)
    seen_at = np.concatenate([seen_at, added])
    rows = _dated(pa.concat_tables([stored, _new_rows(mirror, seen.take(pa.array(added)))]), seen_at, missing, now)
    linked = mirror.link(rows)
    for name in mirror.linked:
        written[:known] |= _differ(rows[name], linked[name])[:known]
    name = "last_seen" if "last_seen" in linked.schema.names else "last_updated"
    at, before = linked.schema.get_field_index(name), linked[name]
    moment = day_of(now) if name == "last_seen" else pa.scalar(now, pa.int64()).cast(TIMESTAMP)
    moves = pc.and_not(pa.array(written), pc.fill_null(pc.greater(before, moment), False))  # a clock may go back
    linked = linked.set_column(at, linked.schema.field(at), pc.if_else(moves, moment, before))
    return MirrorDifference(linked, written, seen_at, replace(counts, rows=linked))


def _places_of(key: Sequence[str], stored: pa.Table, seen: pa.Table) -> Int64s:
    """Where each stored row stands among those seen, of which each has another key; -1 where it does not."""
    if len(key) > 1:
        return index_of(*key_codes(key, stored, seen))
    value_set = seen[key[0]].combine_chunks()
    found = pc.index_in(stored[key[0]], value_set=value_set)
    places: Int64s = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return places


def _new_rows(mirror: Mirror, seen: pa.Table) -> pa.Table:
    """Things that are seen for the first time, in the kept columns."""
    schema = pa.schema([mirror.spec.schema.field(name) for name in mirror.kept_columns])
    return pa.table(
        [seen[f.name] if f.name in seen.schema.names else pa.nulls(len(seen), f.type) for f in schema], schema
    )


def _dated(rows: pa.Table, seen_at: Int64s, missing: Bools, now: int) -> pa.Table:
    """Say when things were seen first, and since when they are gone. One that is seen is not gone."""
    at = pa.scalar(now, pa.int64()).cast(TIMESTAMP)
    is_missing = np.concatenate([missing, np.zeros(len(seen_at) - len(missing), np.bool_)])
    deleted = pc.if_else(pa.array(is_missing), at, rows["deleted_at"])
    columns = {
        "first_seen": pc.coalesce(rows["first_seen"], at),
        "deleted_at": pc.if_else(pa.array(seen_at >= 0), pa.scalar(None, TIMESTAMP), deleted),
    }
    return pa.table([columns.get(name, rows[name]) for name in rows.schema.names], rows.schema)


def day_of(now: int) -> pa.Scalar:
    """The UTC day of an instant: what `last_seen` says of rows that are written then."""
    return pa.scalar(now // _DAY * _DAY, pa.int64()).cast(TIMESTAMP)


def _seen_with(mirror: Mirror, stored: pa.Table, seen: pa.Table) -> Bools:
    """Rows beside which something was seen, so that they would have been seen themselves."""
    found = np.zeros(stored.num_rows, np.bool_)
    for columns in mirror.seen_with:
        theirs, shown = key_codes(columns, stored, seen)
        found |= np.isin(theirs, shown)
    return found


def _of_source(mirror: Mirror, seen: pa.Table) -> pa.Table:
    """What was seen, in the types of the table, each thing once: two filters may find the same one."""
    schema = pa.schema([mirror.spec.schema.field(name) for name in mirror.from_source])
    seen = seen.select(schema.names).cast(schema)
    codes, _ = key_codes(mirror.spec.grain.key, seen, seen.slice(0, 0))
    first = np.sort(np.unique(codes, return_index=True)[1])
    return seen if len(first) == len(codes) else seen.take(pa.array(first))


def _hashes(mirror: Mirror, rows: pa.Table) -> Hashes:
    parts = (row_hashes(batch, mirror.from_source) for batch in rows.to_batches())
    return np.concatenate([np.empty(0, np.uint64), *parts])


def _differ(before: pa.ChunkedArray, after: pa.ChunkedArray) -> Bools:
    """Compare row by row; two nulls are alike."""
    both_null = pc.and_(pc.is_null(before), pc.is_null(after))
    return _bools(pc.and_not(pc.fill_null(pc.not_equal(before, after), True), both_null))


def _bools(mask: pa.ChunkedArray | pa.Array) -> Bools:
    found: Bools = np.array(mask.to_numpy(zero_copy_only=False) if isinstance(mask, pa.Array) else mask.to_numpy())
    return found.astype(np.bool_)
