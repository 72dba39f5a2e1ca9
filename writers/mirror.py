"""Keeps a table in step with what the source shows: one row a thing (a point, a state), as last seen.

Imports nothing of the engine. Invariant: one atomic replacement, and only if something differs. What
other shards and pipelines wrote in the meantime is read again, never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, ExtractError, FencedError, UnknownCommitError

from .commit import CommitKey, CommitTable, Lakehouse
from .tables import TIMESTAMP, TableSpec

__all__ = ["OWN", "Mirror", "SyncReceipt", "merge", "sync", "today"]

_ATTEMPTS = 8
_DAY = 86_400_000_000
# Written here; everything else comes from the source.
OWN = ("first_seen", "last_seen", "deleted_at")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A table that follows the source. `key` tells its rows apart; `things` is what they are called.

    `seen_with`: sets of columns. A row that agrees in one of these sets with a row that was seen would have
    been seen, too, if it still were there.
    """

    spec: TableSpec
    things: str
    key: tuple[str, ...]
    seen_with: tuple[tuple[str, ...], ...] = ()
    # Columns that are worked out from the rows of the table itself, and how; they are never of the source.
    linked: tuple[str, ...] = ()
    link: Callable[[pa.Table], pa.Table] = lambda rows: rows

    @property
    def app_id(self) -> str:
        """Shared by all pipelines and shards, so that any two who sync at once are told apart."""
        return f"osipi/{self.spec.name}"


@dataclass(frozen=True, slots=True)
class SyncReceipt:
    """What a sync changed: new things, things that are otherwise than before, things found missing.

    `rows` is what the table holds after it, and `before` what it held.
    """

    added: int = 0
    changed: int = 0
    missing: int = 0
    rows: pa.Table | None = field(default=None, compare=False, repr=False)
    before: pa.Table | None = field(default=None, compare=False, repr=False)


def sync(
    lakehouse: Lakehouse,
    mirror: Mirror,
    seen: pa.Table,
    *,
    now: int,
    complete: bool = False,
    gone: Collection[str] = (),
    on_step: Callable[[str], None],
) -> SyncReceipt:
    """Bring the table up to date with `seen` (its columns without those of `OWN`), as `merge` decides.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    table = lakehouse.table(mirror.spec)
    for _ in range(_ATTEMPTS):
        table.open()
        current = table.read().read_all()
        merged, receipt = merge(mirror, current, seen, now=now, complete=complete, gone=gone)
        receipt = replace(receipt, rows=current if merged is None else merged, before=current)
        if merged is None:
            return receipt
        try:
            _replace(table, mirror, merged, on_step)
        except (CommitConflictError, FencedError):
            continue
        return receipt
    raise CommitConflictError(
        f"Other runs changed {table.uri} {_ATTEMPTS} times while {mirror.things} were being written.",
        hint="Run again; if it persists, let fewer shards start at the same moment.",
    )


def _replace(table: CommitTable, mirror: Mirror, rows: pa.Table, on_step: Callable[[str], None]) -> None:
    on_step(f"before_{mirror.things}_staging")
    stage = table.stage()
    try:
        for batch in rows.to_batches():
            stage.write(batch)
        files = stage.close()
    except BaseException:
        stage.abort()
        raise
    on_step(f"after_{mirror.things}_staging")
    key = CommitKey(mirror.app_id, (table.last_sequence(mirror.app_id) or 0) + 1)
    try:
        table.commit(key, files, replace_where={})
    except UnknownCommitError:
        raise
    except ExtractError:
        table.discard(files)
        raise
    on_step(f"after_{mirror.things}_commit")


def merge(
    mirror: Mirror,
    current: pa.Table,
    seen: pa.Table,
    *,
    now: int,
    complete: bool = False,
    gone: Collection[str] = (),
) -> tuple[pa.Table | None, SyncReceipt]:
    """Decide what the table shall hold; None if it holds that already. Pure. `now` is in microseconds.

    Only where `seen` is `complete` does it say that a thing is missing; others are missing whose first column of the
    key is among `gone`.
    """
    schema = mirror.spec.schema
    from_source = [name for name in schema.names if name not in OWN and name not in mirror.linked]
    seen = _distinct(seen.select(from_source).cast(pa.schema([schema.field(n) for n in from_source])), mirror.key)
    current = current.select(schema.names)
    known, shown = _keys(current, seen, mirror.key)
    places = pc.index_in(shown, value_set=known)
    is_new = pc.is_null(places)
    before = current.take(places)
    differs = pc.is_valid(before["deleted_at"])
    for name in from_source:
        differs = pc.or_(differs, _differs(before[name], seen[name]))
    is_changed = pc.and_(differs, pc.invert(is_new))
    day = today(now)
    is_stale = pc.less(before["last_seen"], day)
    is_later = pc.fill_null(pc.greater(before["last_seen"], day), False)  # a clock went back
    at = pa.scalar(now, pa.int64()).cast(TIMESTAMP)
    own = {
        "first_seen": pc.coalesce(before["first_seen"], at),
        "last_seen": pc.if_else(is_later, before["last_seen"], day),
        "deleted_at": pa.nulls(seen.num_rows, TIMESTAMP),
        **{name: before[name] for name in mirror.linked},
    }
    found = pa.table([own.get(n, seen[n] if n in from_source else None) for n in schema.names], schema)
    unseen = current.filter(pc.invert(pc.is_in(known, value_set=shown)))
    is_gone = pc.is_in(unseen[mirror.key[0]], value_set=pa.array(list(gone), pa.string()))
    if complete:
        is_gone = pc.or_(is_gone, _seen_with(mirror, unseen, seen))
    is_gone = pc.and_(is_gone, pc.is_null(unseen["deleted_at"]))
    missing = _count(is_gone)
    if missing:
        place = unseen.schema.get_field_index("deleted_at")
        unseen = unseen.set_column(place, "deleted_at", pc.if_else(is_gone, at, unseen["deleted_at"]))
    receipt = SyncReceipt(_count(is_new), _count(is_changed), missing)
    if receipt == SyncReceipt() and not _count(is_stale):
        return None, receipt
    rows = mirror.link(pa.concat_tables([found, unseen.cast(schema)]))
    return rows.sort_by([(name, "ascending") for name in mirror.key]), receipt


def today(now: int) -> pa.Scalar:
    """The UTC day of an instant: what `last_seen` says of things seen then."""
    return pa.scalar(now // _DAY * _DAY, pa.int64()).cast(TIMESTAMP)


def _seen_with(mirror: Mirror, unseen: pa.Table, seen: pa.Table) -> pa.Array:
    """Rows beside which something was seen, so that they would have been seen themselves."""
    beside = pa.repeat(pa.scalar(False), unseen.num_rows)
    for columns in mirror.seen_with:
        theirs, shown = _keys(unseen, seen, columns)
        beside = pc.or_(beside, pc.is_in(theirs, value_set=shown))
    return beside


def _keys(one: pa.Table, other: pa.Table, columns: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """One value for each row of two tables: the same for rows that agree in all these columns."""
    if len(columns) == 1:
        return one[columns[0]].combine_chunks(), other[columns[0]].combine_chunks()
    both = pa.concat_tables([one.select(columns), other.select(columns)])
    numbers = pa.repeat(pa.scalar(0, pa.int64()), both.num_rows)
    for name in columns:
        values = both[name].unique()
        place = pc.index_in(both[name], value_set=values).combine_chunks().cast(pa.int64())
        numbers = pc.add(pc.multiply(numbers, len(values)), place)
    return numbers.slice(0, one.num_rows), numbers.slice(one.num_rows)


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _distinct(seen: pa.Table, key: Sequence[str]) -> pa.Table:
    """Keep the first row of each thing: two filters may find the same one."""
    keys, _ = _keys(seen, seen.slice(0, 0), key)
    unique = keys.unique()
    return seen if len(unique) == len(keys) else seen.take(pc.index_in(unique, value_set=keys))


def _differs(before: pa.ChunkedArray, after: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Compare row by row; two nulls are alike."""
    if before.equals(after):
        return pa.repeat(pa.scalar(False), len(after))
    if pa.types.is_nested(after.type):
        pairs = zip(before.to_pylist(), after.to_pylist(), strict=True)  # Arrow does not compare maps by row
        return pa.array(
            [sorted(b or ()) != sorted(a or ()) or (b is None) != (a is None) for b, a in pairs], pa.bool_()
        )
    both_null = pc.and_(pc.is_null(before), pc.is_null(after))
    return pc.and_not(pc.fill_null(pc.not_equal(before, after), True), both_null)
