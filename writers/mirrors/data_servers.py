"""pi_data_servers: the data servers that a PI Web API shows, kept in step as `mirror` keeps tables."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from ..ports import Lakehouse
from ..tables import PI_DATA_SERVERS
from .mirror import Listing, Mirror, SyncReceipt, sync

_SERVERS = Mirror(PI_DATA_SERVERS, things="data_servers", seen_with=(("web_api_host",),))


def sync_data_servers(
    lakehouse: Lakehouse,
    seen: pa.Table,
    *,
    now: int,
    complete: bool,
    on_step: Callable[[str], None] = lambda _step: None,
) -> SyncReceipt:
    """Bring pi_data_servers up to date with `seen`: servers that one PI Web API shows; all of them, if `complete`.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    return sync(lakehouse, _SERVERS, Listing(seen, now, complete), on_step=on_step)
