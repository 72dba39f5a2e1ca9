"""Reads watermarks back from the data: what to do when the checkpoint table was lost.

Invariant: until both tables are committed their sequences differ. So the next run notices a rebuild that died, and it
can simply be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import FencedError

from ..ports import Commit, CommitKey, Lakehouse, OpenTable, commit_or_discard, stage_rows
from ..tables import PI_WATERMARKS, TableSpec
from ..watermarks.checkpoint_rows import HOLES, encode, holes_unknown_row
from ..watermarks.model import Watermark
from .commit_ids import owners
from .landing_run import LandingRun

_CHUNK = 100_000


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was found in the data; `strangers` are tags that belong to other pipelines."""

    tags: int
    rows: int
    low: int | None  # of all tags, microseconds since 1970
    high: int | None
    strangers: int = 0


def rebuild_watermarks(
    lakehouse: Lakehouse,
    spec: TableSpec,
    run: LandingRun,
    *,
    selected: Collection[str] | None = None,
) -> RebuildReport:
    """Replace the watermarks of a pipeline by what the data table holds, in one commit.

    Exact, because whole microseconds and one contiguous window per tag are committed: events of a tag
    are complete from its first to its last. Hold the lease of `run.shard`; no other shard of the pipeline may
    be at work. With `selected`, a tag is left out if another pipeline has a watermark of it, this one has none, and it is
    not among the selected. (A row does not say whose it is. In doubt it is ours: a tag without a watermark would be
    read, and land, a second time.)

    Raises `FencedError` naming the shard that is at work.
    """
    tables = _Tables.open(lakehouse, spec, run)
    found, strangers = _ours(tables.data.scan_tags(), tables.checkpoint, run.pipeline, selected)
    tables.replace(found, holes=True)
    return _report(found, strangers)


def clear_watermarks(lakehouse: Lakehouse, spec: TableSpec, run: LandingRun) -> None:
    """Drop the watermarks of keyed records, so that the next run compares all of them. By their keys none comes twice.

    Their table does not say up to where they are complete. Hold the lease of `run.shard`. Raises as `rebuild_watermarks`.
    """
    tables = _Tables.open(lakehouse, spec, run)
    tables.replace(pa.table({}), holes=False)


@dataclass(frozen=True, slots=True)
class _Tables:
    """The data table and the checkpoint table, and the next commit of each shard in both; that of `run.shard` comes first."""

    data: OpenTable
    checkpoint: OpenTable
    keys: Sequence[CommitKey]
    run: LandingRun

    @classmethod
    def open(cls, lakehouse: Lakehouse, spec: TableSpec, run: LandingRun) -> Self:
        """Raises `FencedError` naming a shard that is at work."""
        seen = {run.shard, *lakehouse.shards_seen(run.pipeline)}
        for other in sorted(seen):
            holder = None if other == run.shard else lakehouse.lease(run.pipeline, other, run.run_id).holder()
            if holder is not None:
                raise FencedError(
                    f"Watermarks of pipeline {run.pipeline} cannot be rebuilt: shard {other} is at work ({holder}).",
                    hint="Stop its runs first.",
                )
        checkpoint, data = lakehouse.table(PI_WATERMARKS).open(), lakehouse.table(spec).open()
        names = owners(data, run.pipeline, run.dataset) | {run.app_id_of(s) for s in seen}
        # One number above both. The watermarks take it first: a rebuild that dies here leaves them ahead of the data, and
        # no run takes that for a finished commit.
        keys = [CommitKey(o, max(data.last_sequence(o) or 0, checkpoint.last_sequence(o) or 0) + 1) for o in names]
        keys.sort(key=lambda key: (key.app_id != run.app_id_of(run.shard), key.app_id))
        return cls(data, checkpoint, keys, run)

    def replace(self, found: pa.Table, *, holes: bool) -> None:
        """Replace the watermarks of the dataset. `holes`: say that it is not known which holes there were."""
        first, *others = self.keys
        for key in others:
            self.checkpoint.commit(Commit(key, (), metadata={"run_id": self.run.run_id}))
        partition = {"pipeline": self.run.pipeline}
        kept = self.checkpoint.read(where=partition).read_all()
        named: dict[str, Any] = {
            "pipeline": self.run.pipeline,
            "dataset": self.run.dataset,
            "sequence": first.sequence,
            "updated_at": self.run.now(),
        }

        def rows() -> Iterator[pa.RecordBatch]:
            ours = pa.array([self.run.dataset, self.run.dataset + HOLES], pa.string())
            yield from kept.filter(pc.invert(pc.is_in(kept["dataset"], ours))).to_batches()
            if holes:
                yield holes_unknown_row(**named)
            for batch in found.to_batches(max_chunksize=_CHUNK):
                columns = (batch["tag_webid"], *(batch[name].cast(pa.int64()) for name in ("low", "high", "rows")))
                each = zip(*(column.to_pylist() for column in columns), strict=True)
                yield encode([Watermark(tag, low, high + 1, high, count) for tag, low, high, count in each], **named)

        files = stage_rows(self.checkpoint, rows())
        commit = Commit(first, files, metadata={"run_id": self.run.run_id}, replace_where=partition)
        commit_or_discard(self.checkpoint, commit, files)
        for key in self.keys:
            self.data.commit(Commit(key, (), metadata={"run_id": self.run.run_id}))


def _ours(
    found: pa.Table, checkpoint: OpenTable, pipeline: str, selected: Collection[str] | None
) -> tuple[pa.Table, int]:
    """Leave out tags that surely belong to other pipelines; give also how many there are."""
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
