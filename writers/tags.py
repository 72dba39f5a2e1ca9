"""Keeps pi_tags in step with the points of the source.

Imports nothing of the engine. Invariant: one atomic replacement, and only if something differs. What
other shards wrote in the meantime is read again, never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, ExtractError, FencedError, UnknownCommitError

from .commit import CommitKey, CommitTable, Lakehouse
from .tables import PI_TAGS, TIMESTAMP

__all__ = ["TagsReceipt", "merge_tags", "sync_tags"]

# Shared by all pipelines and shards, so that any two who sync at once are told apart.
_APP_ID = "osipi/pi_tags"
_ATTEMPTS = 8
_DAY = 86_400_000_000
_OWN = ("first_seen", "last_seen", "deleted_at")  # written here; everything else comes from the source


@dataclass(frozen=True, slots=True)
class TagsReceipt:
    """What the sync changed: new points, points with other attributes, points found missing."""

    added: int
    changed: int
    missing: int


def sync_tags(
    lakehouse: Lakehouse,
    seen: pa.Table,
    *,
    now: int,
    complete: bool,
    on_step: Callable[[str], None] = lambda _step: None,
) -> TagsReceipt:
    """Bring pi_tags up to date with `seen` (its columns without first_seen, last_seen and deleted_at).

    Only a `complete` listing of the server says that a point is missing. `now` is in microseconds.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    table = lakehouse.table(PI_TAGS)
    for _ in range(_ATTEMPTS):
        table.open()
        merged, receipt = merge_tags(table.read().read_all(), seen, now=now, complete=complete)
        if merged is None:
            return receipt
        try:
            _replace(table, merged, on_step)
        except (CommitConflictError, FencedError):
            continue
        return receipt
    raise CommitConflictError(
        f"Other runs changed {table.uri} {_ATTEMPTS} times while tags were being written.",
        hint="Run again; if it persists, let fewer shards start at the same moment.",
    )


def _replace(table: CommitTable, rows: pa.Table, on_step: Callable[[str], None]) -> None:
    on_step("before_tags_staging")
    stage = table.stage()
    try:
        for batch in rows.to_batches():
            stage.write(batch)
        files = stage.close()
    except BaseException:
        stage.abort()
        raise
    on_step("after_tags_staging")
    key = CommitKey(_APP_ID, (table.last_sequence(_APP_ID) or 0) + 1)
    try:
        table.commit(key, files, replace_where={})
    except UnknownCommitError:
        raise
    except ExtractError:
        table.discard(files)
        raise
    on_step("after_tags_commit")


def merge_tags(current: pa.Table, seen: pa.Table, *, now: int, complete: bool) -> tuple[pa.Table | None, TagsReceipt]:
    """Decide what the table shall hold; None if it holds that already. Pure."""
    from_source = [name for name in PI_TAGS.schema.names if name not in _OWN]
    seen = _distinct(seen.select(from_source).cast(pa.schema([PI_TAGS.schema.field(n) for n in from_source])))
    current = current.select(PI_TAGS.schema.names)
    before = current.take(pc.index_in(seen["tag_webid"], value_set=current["tag_webid"].combine_chunks()))
    is_new = pc.is_null(before["tag_webid"])
    differs = pc.is_valid(before["deleted_at"])
    for name in from_source:
        differs = pc.or_(differs, _differs(before[name], seen[name]))
    is_changed = pc.and_(differs, pc.invert(is_new))
    today = pa.scalar(now // _DAY * _DAY, pa.int64()).cast(TIMESTAMP)
    is_stale = pc.less(before["last_seen"], today)
    is_later = pc.fill_null(pc.greater(before["last_seen"], today), False)  # a clock went back
    at = pa.scalar(now, pa.int64()).cast(TIMESTAMP)
    own = {
        "first_seen": pc.coalesce(before["first_seen"], at),
        "last_seen": pc.if_else(is_later, before["last_seen"], today),
        "deleted_at": pa.nulls(seen.num_rows, TIMESTAMP),
    }
    found = pa.table([own.get(n, seen[n] if n in from_source else None) for n in PI_TAGS.schema.names], PI_TAGS.schema)
    unseen = current.filter(pc.invert(pc.is_in(current["tag_webid"], value_set=seen["tag_webid"].combine_chunks())))
    # A crawl is complete for the servers it saw; the table may hold points of others, too.
    here = pc.is_in(unseen["data_server"], value_set=seen["data_server"].combine_chunks())
    is_gone = pc.and_(here, pc.is_null(unseen["deleted_at"]))
    gone = _count(is_gone) if complete else 0
    if gone:
        place = unseen.schema.get_field_index("deleted_at")
        unseen = unseen.set_column(place, "deleted_at", pc.if_else(is_gone, at, unseen["deleted_at"]))
    receipt = TagsReceipt(_count(is_new), _count(is_changed), gone)
    if receipt == TagsReceipt(0, 0, 0) and not _count(is_stale):
        return None, receipt
    return pa.concat_tables([found, unseen.cast(PI_TAGS.schema)]).sort_by("tag_webid"), receipt


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _distinct(seen: pa.Table) -> pa.Table:
    """Keep the first row of each point: two filters may find the same one."""
    webids = seen["tag_webid"].combine_chunks()
    unique = webids.unique()
    return seen if len(unique) == len(webids) else seen.take(pc.index_in(unique, value_set=webids))


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
