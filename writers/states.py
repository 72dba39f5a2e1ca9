"""pi_digital_states: what the codes of digital states mean, kept in step as `mirror` keeps tables.

Imports nothing of the engine. Invariant: a state is gone only if its set was read and does not hold it; a
set that was not read stays as it was. A set that was renamed is known by its WebID.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from .commit import Lakehouse
from .mirror import Mirror, SyncReceipt, merge, sync, today
from .tables import PI_DIGITAL_STATES

__all__ = ["merge_states", "sets_seen_today", "sync_states"]

_STATES = Mirror(
    PI_DIGITAL_STATES,
    things="states",
    key=("data_server", "digital_set", "state_code"),
    seen_with=(("data_server", "digital_set"), ("data_server", "set_webid")),
)


def sync_states(
    lakehouse: Lakehouse, seen: pa.Table, *, now: int, on_step: Callable[[str], None] = lambda _step: None
) -> SyncReceipt:
    """Bring pi_digital_states up to date with `seen`: all states of the sets that were read.

    `seen` has its columns without first_seen, last_seen and deleted_at; `now` is in microseconds.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    return sync(lakehouse, _STATES, seen, now=now, complete=True, on_step=on_step)


def merge_states(current: pa.Table, seen: pa.Table, *, now: int) -> tuple[pa.Table | None, SyncReceipt]:
    """Decide what pi_digital_states shall hold; None if it holds that already. Pure."""
    return merge(_STATES, current, seen, now=now, complete=True)


def sets_seen_today(lakehouse: Lakehouse, *, now: int) -> frozenset[tuple[str, str]]:
    """Sets, by data server and name, that were read on the UTC day of `now`. Creates no table."""
    table = lakehouse.table(PI_DIGITAL_STATES)
    if not table.exists():
        return frozenset()
    rows = table.open().read(["data_server", "digital_set", "last_seen"]).read_all()
    rows = rows.filter(pc.greater_equal(rows["last_seen"], today(now)))
    return frozenset(zip(rows["data_server"].to_pylist(), rows["digital_set"].to_pylist(), strict=True))
