"""Reads watermarks back from the data: what to do when the checkpoint table was lost.

Imports nothing of the engine. Invariant: until both tables are done they do not look settled, so a
rebuild that dies is noticed by the next run and can simply be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import ExtractError, FencedError, UnknownCommitError

from .checkpoint import Watermark, encode
from .commit import CommitKey, CommitTable, Lakehouse
from .landing import app_id
from .tables import PI_WATERMARKS, TableSpec

__all__ = ["RebuildReport", "rebuild_watermarks"]

_CHUNK = 100_000


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What the data says."""

    tags: int
    rows: int
    low: int | None  # of all tags, microseconds since 1970
    high: int | None


def rebuild_watermarks(
    lakehouse: Lakehouse,
    spec: TableSpec,
    *,
    pipeline: str,
    dataset: str,
    shard: str,
    run_id: str,
    now: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> RebuildReport:
    """Replace the watermarks of a pipeline by what the data table holds, in one commit.

    Exact, because whole microseconds and one contiguous window per tag are committed: events of a tag
    are complete from its first to its last. Rows of the table that came from another pipeline are taken
    for this one's. Hold the lease of `shard`; no other shard of the pipeline may be at work.

    Raises `FencedError` naming the shard that is at work.
    """
    shards = sorted({shard, *lakehouse.shards_seen(pipeline)})
    for other in shards:
        holder = None if other == shard else lakehouse.lease(pipeline, other, run_id).holder()
        if holder is not None:
            raise FencedError(
                f"Watermarks of pipeline {pipeline} cannot be rebuilt: shard {other} is at work ({holder}).",
                hint="Stop its runs first.",
            )
    checkpoint, data = lakehouse.table(PI_WATERMARKS).open(), lakehouse.table(spec).open()
    owners = [app_id(pipeline, dataset, s) for s in shards]
    # One number above both. Watermarks take it first: a rebuild that dies here leaves them ahead of the
    # data, which no run mistakes for a settled state.
    keys = [CommitKey(o, max(data.last_sequence(o) or 0, checkpoint.last_sequence(o) or 0) + 1) for o in owners]
    found = data.scan_tags()
    first, *others = sorted(keys, key=lambda key: key.app_id != app_id(pipeline, dataset, shard))
    for key in others:
        checkpoint.commit(key, (), metadata={"run_id": run_id})
    _replace(checkpoint, found, first, pipeline=pipeline, dataset=dataset, run_id=run_id, updated_at=now())
    for key in keys:
        data.commit(key, (), metadata={"run_id": run_id})
    return _report(found)


def _replace(
    checkpoint: CommitTable,
    found: pa.Table,
    key: CommitKey,
    *,
    pipeline: str,
    dataset: str,
    run_id: str,
    updated_at: int,
) -> None:
    partition = {"pipeline": pipeline}
    kept = checkpoint.read(where=partition).read_all()
    stage = checkpoint.stage()
    try:
        for batch in kept.filter(pc.not_equal(kept["dataset"], dataset)).to_batches():
            stage.write(batch)
        for batch in found.to_batches(max_chunksize=_CHUNK):
            marks = [
                Watermark(tag, low, high + 1, high, rows)
                for tag, low, high, rows in zip(
                    batch["tag_webid"].to_pylist(),
                    batch["low"].cast(pa.int64()).to_pylist(),
                    batch["high"].cast(pa.int64()).to_pylist(),
                    batch["rows"].to_pylist(),
                    strict=True,
                )
            ]
            stage.write(encode(marks, pipeline=pipeline, dataset=dataset, sequence=key.sequence, updated_at=updated_at))
        files = stage.close()
    except BaseException:
        stage.abort()
        raise
    try:
        checkpoint.commit(key, files, metadata={"run_id": run_id}, replace_where=partition)
    except UnknownCommitError:
        raise
    except ExtractError:
        checkpoint.discard(files)
        raise


def _report(found: pa.Table) -> RebuildReport:
    ends = pc.min_max(found["low"].cast(pa.int64())), pc.min_max(found["high"].cast(pa.int64()))
    return RebuildReport(
        found.num_rows, pc.sum(found["rows"]).as_py() or 0, ends[0]["min"].as_py(), ends[1]["max"].as_py()
    )
