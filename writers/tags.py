"""pi_tags: which points a server has, kept in step as `mirror` keeps tables. Imports nothing of the engine."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from .commit import Lakehouse
from .mirror import Mirror, SyncReceipt, merge, sync
from .tables import PI_TAGS

__all__ = ["merge_tags", "sync_tags"]

# A crawl is complete for the servers it saw; the table may hold points of others, too.
_TAGS = Mirror(PI_TAGS, things="tags", key=("tag_webid",), seen_with=(("data_server",),))


def sync_tags(
    lakehouse: Lakehouse,
    seen: pa.Table,
    *,
    now: int,
    complete: bool,
    on_step: Callable[[str], None] = lambda _step: None,
) -> SyncReceipt:
    """Bring pi_tags up to date with `seen` (its columns without first_seen, last_seen and deleted_at).

    Only a `complete` listing of the server says that a point is missing. `now` is in microseconds.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    return sync(lakehouse, _TAGS, seen, now=now, complete=complete, on_step=on_step)


def merge_tags(current: pa.Table, seen: pa.Table, *, now: int, complete: bool) -> tuple[pa.Table | None, SyncReceipt]:
    """Decide what pi_tags shall hold; None if it holds that already. Pure."""
    return merge(_TAGS, current, seen, now=now, complete=complete)
