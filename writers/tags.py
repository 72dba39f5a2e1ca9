"""pi_tags: which points a server has, kept in step as `mirror` keeps tables. Imports nothing of the engine.

Invariant: a point is gone only if whoever calls says so of that point; that it was not seen proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from .commit import Lakehouse
from .mirror import Mirror, SyncReceipt, merge, sync
from .tables import PI_TAGS

__all__ = ["Replaced", "merge_tags", "missing_tags", "newly_replaced", "replaced_tags", "sync_tags"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A point that was created anew under the path of one that is gone."""

    name: str
    web_id: str
    replaces: str


def sync_tags(
    lakehouse: Lakehouse,
    seen: pa.Table,
    *,
    now: int,
    gone: Collection[str] = (),
    on_step: Callable[[str], None] = lambda _step: None,
) -> SyncReceipt:
    """Bring pi_tags up to date with `seen` (its columns without those that are kept here).

    `gone` are WebIDs of which the server says that there is no such point. `now` is in microseconds.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    return sync(lakehouse, _TAGS, seen, now=now, gone=gone, on_step=on_step)


def merge_tags(
    current: pa.Table, seen: pa.Table, *, now: int, gone: Collection[str] = ()
) -> tuple[pa.Table | None, SyncReceipt]:
    """Decide what pi_tags shall hold; None if it holds that already. Pure."""
    return merge(_TAGS, current, seen, now=now, gone=gone)


def missing_tags(receipt: SyncReceipt, seen: pa.Table) -> pa.Table:
    """The points of which the table does not say that they are gone, and that were not seen."""
    if receipt.rows is None:
        return PI_TAGS.schema.empty_table()
    rows = receipt.rows.filter(pc.is_null(receipt.rows["deleted_at"]))
    return rows.filter(pc.invert(pc.is_in(rows["tag_webid"], value_set=seen["tag_webid"].combine_chunks())))


def replaced_tags(receipt: SyncReceipt) -> Mapping[str, str]:
    """Of the points that replace another one: which."""
    return {} if receipt.rows is None else {one.web_id: one.replaces for one in _links(receipt.rows)}


def newly_replaced(receipt: SyncReceipt) -> list[Replaced]:
    """The points of which a sync has found out that they replace another one."""
    if receipt.rows is None or receipt.before is None:
        return []
    known = {one.web_id for one in _links(receipt.before)}
    return [one for one in _links(receipt.rows) if one.web_id not in known]


def _links(rows: pa.Table) -> list[Replaced]:
    rows = rows.filter(pc.is_valid(rows["replaces"]))
    columns = (rows[name].to_pylist() for name in ("name", "tag_webid", "replaces"))
    return [Replaced(name or web_id, web_id, replaces) for name, web_id, replaces in zip(*columns, strict=True)]


def _link(rows: pa.Table) -> pa.Table:
    """Say of each point that is there which one had its path before it: the one that was gone last.

    A point that is gone and was seen no earlier than the other was not before it. What was said once stays.
    """
    columns = ["tag_webid", "path", "first_seen", "deleted_at"]
    gone = rows.select(columns).filter(pc.and_(pc.is_valid(rows["deleted_at"]), pc.is_valid(rows["path"])))
    if not gone.num_rows:
        return rows
    paths = pc.utf8_lower(rows["path"])
    of_gone = pc.utf8_lower(gone["path"])
    is_open = pc.and_(pc.is_null(rows["deleted_at"]), pc.is_null(rows["replaces"]))
    is_open = pc.and_(is_open, pc.is_in(paths, value_set=of_gone.combine_chunks()))
    if not pc.any(is_open).as_py():
        return rows
    by_path: dict[str, list[tuple[object, object, str]]] = {}
    for path, gone_at, first, web_id in zip(
        *(column.to_pylist() for column in (of_gone, gone["deleted_at"], gone["first_seen"], gone["tag_webid"])),
        strict=True,
    ):
        by_path.setdefault(path, []).append((gone_at, first, web_id))
    replaces = rows["replaces"].to_pylist()
    firsts = rows["first_seen"]
    for place in pc.indices_nonzero(is_open).to_pylist():
        begun = firsts[place].as_py()
        earlier = [one for one in by_path[paths[place].as_py()] if one[1] < begun]
        if earlier:
            replaces[place] = max(earlier)[2]
    place = rows.schema.get_field_index("replaces")
    return rows.set_column(place, rows.schema.field(place), pa.chunked_array([pa.array(replaces, pa.string())]))


_TAGS = Mirror(PI_TAGS, things="tags", key=("tag_webid",), linked=("replaces",), link=_link)
