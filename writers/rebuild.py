"""Reads watermarks back from the data: what to do when the checkpoint table was lost.

Imports nothing of the engine. Invariant: until both tables are done they do not look settled, so a
rebuild that dies is noticed by the next run and can simply be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import ExtractError, FencedError, UnknownCommitError

from .checkpoint import HOLES, encode, holes_unknown_row
from .commit import CommitKey, CommitTable, Lakehouse
from .owners import app_id, owners
from .tables import PI_WATERMARKS, TableSpec
from .watermark import Watermark

__all__ = ["RebuildReport", "rebuild_watermarks"]

_CHUNK = 100_000


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What the data says; `strangers` are tags of it that belong to other pipelines."""

    tags: int
    rows: int
    low: int | None  # of all tags, microseconds since 1970
    high: int | None
    strangers: int = 0


def rebuild_watermarks(
    lakehouse: Lakehouse,
    spec: TableSpec,
    *,
    pipeline: str,
    dataset: str,
    shard: str,
    run_id: str,
    selected: Collection[str] | None = None,
    now: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> RebuildReport:
    """Replace the watermarks of a pipeline by what the data table holds, in one commit.

    Exact, because whole microseconds and one contiguous window per tag are committed: events of a tag
    are complete from its first to its last. Hold the lease of `shard`; no other shard of the pipeline may
    be at work. Tags that another pipeline has watermarks of, this one has none of, and that are not among
    the `selected` of this one are left out; without `selected` none are. (Whose a row is, it does not say:
    in doubt it is ours, for a tag without a watermark would be read, and land, a second time.)

    Raises `FencedError` naming the shard that is at work.
    """
    seen = {shard, *lakehouse.shards_seen(pipeline)}
    for other in sorted(seen):
        holder = None if other == shard else lakehouse.lease(pipeline, other, run_id).holder()
        if holder is not None:
            raise FencedError(
                f"Watermarks of pipeline {pipeline} cannot be rebuilt: shard {other} is at work ({holder}).",
                hint="Stop its runs first.",
            )
    checkpoint, data = lakehouse.table(PI_WATERMARKS).open(), lakehouse.table(spec).open()
    names = sorted(owners(data, pipeline, dataset) | {app_id(pipeline, dataset, s) for s in seen})
    # One number above both. Watermarks take it first: a rebuild that dies here leaves them ahead of the
    # data, which no run mistakes for a settled state.
    keys = [CommitKey(o, max(data.last_sequence(o) or 0, checkpoint.last_sequence(o) or 0) + 1) for o in names]
    found, strangers = _ours(data.scan_tags(), checkpoint, pipeline, selected)
    first, *others = sorted(keys, key=lambda key: key.app_id != app_id(pipeline, dataset, shard))
    for key in others:
        checkpoint.commit(key, (), metadata={"run_id": run_id})
    _replace(checkpoint, found, first, pipeline=pipeline, dataset=dataset, run_id=run_id, updated_at=now())
    for key in keys:
        data.commit(key, (), metadata={"run_id": run_id})
    return _report(found, strangers)


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
        ours = pa.array([dataset, dataset + HOLES], pa.string())
        for batch in kept.filter(pc.invert(pc.is_in(kept["dataset"], ours))).to_batches():
            stage.write(batch)
        named: dict[str, Any] = {
            "pipeline": pipeline,
            "dataset": dataset,
            "sequence": key.sequence,
            "updated_at": updated_at,
        }
        stage.write(holes_unknown_row(**named))
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
            stage.write(encode(marks, **named))
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


def _ours(
    found: pa.Table, checkpoint: CommitTable, pipeline: str, selected: Collection[str] | None
) -> tuple[pa.Table, int]:
    """Leave out what belongs to others, beyond doubt; give also how many tags that are."""
    if selected is None:
        return found, 0
    ours, theirs = set(selected), set()
    for batch in checkpoint.read(["pipeline", "tag_webid"]):
        mine = pc.equal(batch.column("pipeline"), pipeline)
        ours.update(pc.unique(batch.filter(mine).column("tag_webid")).to_pylist())
        theirs.update(pc.unique(batch.filter(pc.invert(mine)).column("tag_webid")).to_pylist())
    kept = found.filter(pc.invert(pc.is_in(found["tag_webid"], pa.array(sorted(theirs - ours), pa.string()))))
    return kept, found.num_rows - kept.num_rows


def _report(found: pa.Table, strangers: int) -> RebuildReport:
    ends = pc.min_max(found["low"].cast(pa.int64())), pc.min_max(found["high"].cast(pa.int64()))
    return RebuildReport(
        found.num_rows, pc.sum(found["rows"]).as_py() or 0, ends[0]["min"].as_py(), ends[1]["max"].as_py(), strangers
    )
