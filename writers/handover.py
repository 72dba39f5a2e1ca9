"""Tags go over from one pipeline to another: their rows in the checkpoint table, in one commit.

Imports nothing of the engine. Before it, every name under which the old pipeline commits is taken one further in
the data, so that whoever still works under it fails at its next commit. One of these names is the gate: the commit
that moves the rows is the other half of its step. Whoever opens the old pipeline in between finishes the gate's step
first (`Landing`), which makes the move fail; whoever opens it after the move finds its rows gone.

Invariant: at no instant does a tag have rows of both, and nothing that the old pipeline lands afterwards is of a tag
that went over.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, ExtractError, FencedError, UnknownCommitError

from .checkpoint import HOLES
from .commit import CommitKey, StagedFile
from .landing import FENCE, GATE, Landing
from .owners import BACKFILL, REPAIR, app_id, is_landing
from .tag_owners import claims, claims_name, of_dataset

__all__ = ["HandedOver", "HandingOver"]

# So often is it begun anew where another writer (compaction, mostly) comes between.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What went over. `doubled`: tags that both pipelines had brought, whose events may be in the table twice."""

    tags: int = 0
    doubled: tuple[str, ...] = ()


class HandingOver(Landing):
    """The landing of the pipeline that gives tags away."""

    def hand_over(self, web_ids: Sequence[str], to: str) -> HandedOver:
        """Move the rows of these tags to the pipeline `to`, which must not be at work on them.

        Raises `FencedError` where a run of the old pipeline is at work, or was not stopped by its lease; then
        nothing has gone over. `LostStateError` as `open` does.
        """
        try:
            return self._handed_over(pa.array(web_ids, pa.string()), to)
        except FencedError as error:
            raise FencedError(
                f"No tag was taken over from pipeline {self._pipeline}: {error.message}",
                hint=f"Stop the runs of {self._pipeline}, see that nothing starts them again, and repeat this.",
            ) from error

    def _handed_over(self, wanted: pa.Array, to: str) -> HandedOver:
        with ExitStack() as leases:
            for shard in self._lakehouse.shards_seen(self._pipeline):
                lease = self._lakehouse.lease(self._pipeline, shard, self._run_id)
                lease.acquire()
                leases.callback(lease.release)
            for attempt in range(_ATTEMPTS):
                try:
                    return self._moved(wanted, to)
                except CommitConflictError:
                    if attempt == _ATTEMPTS - 1:
                        raise
        raise AssertionError("unreachable")

    def _moved(self, wanted: pa.Array, to: str) -> HandedOver:
        self._ready = False
        self._refresh()
        self._others.begin()
        names = self._names()
        landings = [name for name in names if is_landing(self._pipeline, self._dataset, name)]
        for name in landings:
            self._recover(name)
        if not self._theirs(self._rows(), wanted).num_rows:
            return HandedOver()
        self.on_step("before_fencing")
        gate = landings[0]
        for name in (gate, *(name for name in names if name != gate)):
            key = CommitKey(name, (self._data.last_sequence(name) or 0) + 1)
            self._data.commit(key, (), metadata={"run_id": self._run_id, FENCE: "true", GATE: gate})
        self.on_step("after_fencing")
        found = self._move(wanted, to, CommitKey(gate, self._data.last_sequence(gate) or 1))
        self.on_step("after_handover")
        for name in landings:
            self._recover(name)
        return found

    def _names(self) -> list[str]:
        """Every name under which the pipeline commits, or may begin to at any moment."""
        ours = app_id(self._pipeline, self._dataset, "")
        known = {name.removeprefix(ours) for name in self._data.last_sequences() if name.startswith(ours)}
        shards = {shard.rpartition(".")[2] for shard in (*known, *self._lakehouse.shards_seen(self._pipeline))}
        parts = [f"{part}{shard}" for shard in shards or {self._shard} for part in ("", BACKFILL, REPAIR)]
        # Shards before their parts: the gate is one that every part looks at.
        return [ours + name for name in sorted({*known, *parts}, key=lambda name: ("." in name, name))]

    def _rows(self) -> pa.Table:
        return self._checkpoint.read(where=self._partition).read_all()

    def _theirs(self, rows: pa.Table, wanted: pa.Array) -> pa.Table:
        return rows.filter(self._are_wanted(rows, wanted))

    def _are_wanted(self, rows: pa.Table, wanted: pa.Array) -> pa.ChunkedArray:
        ours = of_dataset(rows["dataset"].cast(pa.string()), self._dataset)
        return pc.and_(ours, pc.is_in(rows["tag_webid"], wanted))

    def _are_unknown_holes(self, rows: pa.Table) -> pa.ChunkedArray:
        of_holes = pc.equal(rows["dataset"].cast(pa.string()), self._dataset + HOLES)
        return pc.and_(of_holes, pc.equal(rows["tag_webid"], ""))

    def _move(self, wanted: pa.Array, to: str, key: CommitKey) -> HandedOver:
        rows = self._rows()
        go = self._are_wanted(rows, wanted)
        gone = rows.filter(go)
        at, claimed = gone.schema.get_field_index("pipeline"), claims_name(self._dataset, self._data.uri)
        known = gone.filter(pc.not_equal(gone["dataset"].cast(pa.string()), claimed))
        # What was forgotten of holes may have been of these tags.
        told = pa.concat_tables([known, rows.filter(self._are_unknown_holes(rows))])
        moved = told.set_column(at, told.schema.field(at), pa.repeat(to, told.num_rows))
        tags = pc.unique(gone["tag_webid"]).to_pylist()
        ours = claims(tags, pipeline=to, dataset=claimed, now=self._now())
        files = self._written(rows.filter(pc.invert(go)), moved, pa.Table.from_batches([ours]))
        doubled = self._doubled(known, to)
        try:
            self._checkpoint.commit(key, files, metadata={"run_id": self._run_id}, replace_where=self._partition)
        except UnknownCommitError:
            raise
        except ExtractError:
            self._checkpoint.discard(files)
            raise
        return HandedOver(len(tags), doubled)

    def _written(self, *tables: pa.Table) -> tuple[StagedFile, ...]:
        stage = self._checkpoint.stage()
        try:
            for table in tables:
                for batch in table.to_batches():
                    stage.write(batch)
            return stage.close()
        except BaseException:
            stage.abort()
            raise

    def _doubled(self, gone: pa.Table, to: str) -> tuple[str, ...]:
        """Tags that both have read."""
        tags = gone.filter(pc.less(gone["low"], gone["high"]))["tag_webid"]
        rows = self._checkpoint.read(["dataset", "tag_webid", "low", "high"], where={"pipeline": to}).read_all()
        read = pc.and_(pc.equal(rows["dataset"].cast(pa.string()), self._dataset), pc.less(rows["low"], rows["high"]))
        both = rows.filter(pc.and_(read, pc.is_in(rows["tag_webid"], tags.combine_chunks())))
        return tuple(sorted(pc.unique(both["tag_webid"]).to_pylist()))
