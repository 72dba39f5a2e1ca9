"""pi_digital_states: what the codes of digital states mean, kept in step as `mirror` keeps tables.

Invariant: a state is gone only if its set was read without it. A set that was not read stays as it was. A set that was
renamed is recognised by its WebID.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import FencedError

from ..ports import Commit, CommitKey, Lakehouse, commit_or_discard, stage_rows
from ..tables import PI_DIGITAL_STATES, PI_WATERMARKS
from ..watermarks.checkpoint_rows import encode
from ..watermarks.model import Watermark
from .mirror import Listing, Mirror, SyncReceipt, day_of, sync

# Sets that were read have rows of this dataset in the checkpoint table.
_DATASET = "digital_states"
_SEPARATOR = "\\"
_ATTEMPTS = 8
_DAY = 86_400_000_000

_STATES = Mirror(
    PI_DIGITAL_STATES,
    things="states",
    seen_with=(("data_server", "digital_set"), ("data_server", "set_webid")),
)


def sync_states(
    lakehouse: Lakehouse, seen: pa.Table, *, now: int, on_step: Callable[[str], None] = lambda _step: None
) -> SyncReceipt:
    """Bring pi_digital_states up to date with `seen`: all states of the sets that were read.

    `seen` has its columns without first_seen, last_seen and deleted_at; `now` is in microseconds.

    Raises `CommitConflictError` when other writers were quicker again and again.
    """
    return sync(lakehouse, _STATES, Listing(seen, now, complete=True), on_step=on_step)


def note_sets_read(
    lakehouse: Lakehouse, sets: Iterable[tuple[str, str]], *, pipeline: str, run_id: str, now: int
) -> None:
    """Remember that a pipeline has read these sets (data server and name), for `sets_seen_today`.

    It is a row of each set in the checkpoint table: where a set is as it was, pi_digital_states is not committed to.
    """
    day = now // _DAY * _DAY
    read = [Watermark(_SEPARATOR.join(one), day, now + 1) for one in sorted(sets)]
    for _ in range(_ATTEMPTS if read else 0):
        table = lakehouse.table(PI_WATERMARKS).open()
        files = stage_rows(table, [encode(read, pipeline=pipeline, dataset=_DATASET, sequence=0, updated_at=now)])
        owner = f"osipi/{pipeline}/{_DATASET}"
        commit = Commit(CommitKey(owner, (table.last_sequence(owner) or 0) + 1), files, metadata={"run_id": run_id})
        with contextlib.suppress(FencedError):
            commit_or_discard(table, commit, files)
            return


def sets_seen_today(lakehouse: Lakehouse, *, pipeline: str, now: int) -> frozenset[tuple[str, str]]:
    """Sets, by data server and name, that the pipeline has read on the UTC day of `now`. Creates no table."""
    table = lakehouse.table(PI_WATERMARKS)
    if not table.exists():
        return frozenset()
    found: set[tuple[str, str]] = set()
    for batch in table.open().read(["dataset", "tag_webid", "high"], where={"pipeline": pipeline}):
        is_read = pc.and_(pc.equal(batch["dataset"], _DATASET), pc.greater(batch["high"], day_of(now)))
        for name in batch.filter(is_read)["tag_webid"].to_pylist():
            server, _, digital_set = name.partition(_SEPARATOR)
            found.add((server, digital_set))
    return frozenset(found)
