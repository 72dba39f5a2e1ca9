"""pi_tags: which points a server has, and their attributes, kept in step as `mirror` keeps tables.

Invariant: a point is gone only if the caller says so of that very point. Not seeing it proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..ports import Lakehouse
from ..tables import OWN, PI_TAGS
from .mirror import Listing, Mirror, SyncReceipt, sync


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
    return sync(lakehouse, _TAGS, Listing(seen, now, gone=gone), on_step=on_step)


def sync_point_attributes(
    lakehouse: Lakehouse, seen: pa.Table, *, now: int, on_step: Callable[[str], None] = lambda _step: None
) -> SyncReceipt:
    """Bring the column `attributes` of pi_tags up to date with `seen`: tag_webid and attributes of points that are there.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    return sync(lakehouse, _ATTRIBUTES, Listing(seen, now), on_step=on_step)


def missing_tags(receipt: SyncReceipt, seen: pa.Table) -> pa.Table:
    """Points that are not deleted in the table, and were not seen."""
    if receipt.rows is None:
        return PI_TAGS.schema.empty_table()
    rows = receipt.rows.filter(pc.is_null(receipt.rows["deleted_at"]))
    return rows.filter(pc.invert(pc.is_in(rows["tag_webid"], value_set=seen["tag_webid"].combine_chunks())))


def replaced_tags(receipt: SyncReceipt) -> Mapping[str, str]:
    """The WebID that each replacing point replaces."""
    return {} if receipt.rows is None else {one.web_id: one.replaces for one in _links(receipt.rows)}


def newly_replaced(receipt: SyncReceipt) -> list[Replaced]:
    """Points that this sync has found to replace another one."""
    if receipt.rows is None or receipt.before is None:
        return []
    known = {one.web_id for one in _links(receipt.before)}
    return [one for one in _links(receipt.rows) if one.web_id not in known]


def _links(rows: pa.Table) -> list[Replaced]:
    rows = rows.filter(pc.is_valid(rows["replaces"]))
    columns = (rows[name].to_pylist() for name in ("name", "tag_webid", "replaces"))
    return [Replaced(name or web_id, web_id, replaces) for name, web_id, replaces in zip(*columns, strict=True)]


def _link(rows: pa.Table) -> pa.Table:
    """Fill `replaces` of each point that exists: the point that had its path before, and was deleted last.

    A deleted point that was first seen no earlier was not before it. A value that is there already stays.
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
    for index in pc.indices_nonzero(is_open).to_pylist():
        first_seen = firsts[index].as_py()
        earlier = [one for one in by_path[paths[index].as_py()] if one[1] < first_seen]
        if earlier:
            replaces[index] = max(earlier)[2]
    column = rows.schema.get_field_index("replaces")
    return rows.set_column(column, rows.schema.field(column), pa.chunked_array([pa.array(replaces, pa.string())]))


# Two mirrors of one table: the attributes of points are read beside values, and more seldom.
_TAGS = Mirror(
    PI_TAGS,
    things="tags",
    linked=("replaces",),
    link=_link,
    kept=("name", "path", "data_server"),
    of_others=("attributes",),
)
_ATTRIBUTES = Mirror(
    PI_TAGS,
    things="point_attributes",
    of_others=tuple(name for name in PI_TAGS.schema.names if name not in {"tag_webid", "attributes", *OWN}),
)
