"""Hands tags over from one pipeline to another: one commit moves their rows in the checkpoint table.

Before it, an empty data commit advances the sequence of every app_id of the old pipeline. A run that still works under
one of them fails at its next commit. One app_id is the gate: the commit that moves the rows is the watermark commit of
its step. A run that opens the old pipeline before the move finishes the step of the gate first (`Landing`), and the
move fails. A run that opens it after the move finds the rows gone.

Invariant: at no instant does a tag have rows of both pipelines, and the old pipeline lands no more rows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import CommitConflictError, FencedError

from ..ports import Commit, CommitKey, commit_or_discard, stage_rows
from ..watermarks.checkpoint_rows import HOLES
from .commit_ids import BACKFILL, REPAIR, is_landing
from .landing import FENCE, GATE, Landing
from .tag_owners import claims, claims_name, of_dataset

# How often it is tried again after a conflict with another writer (compaction, mostly).
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class HandedOver:
    """How many tags were handed over. `doubled`: tags that both pipelines have read; their events may be stored twice."""

    tags: int = 0
    doubled: tuple[str, ...] = ()


class Handover(Landing):
    """The landing of the pipeline that gives tags away."""

    def hand_over(self, web_ids: Sequence[str], to: str) -> HandedOver:
        """Move the rows of these tags to the pipeline `to`, which must not be at work on them.

        Raises `FencedError` where a run of the old pipeline is at work; then nothing was handed over. Raises
        `LostStateError` as `open` does.
        """
        try:
            return self._handed_over(pa.array(web_ids, pa.string()), to)
        except FencedError as error:
            raise FencedError(
                f"No tag was taken over from pipeline {self._run.pipeline}: {error.message}",
                hint=f"Stop the runs of {self._run.pipeline}, see that nothing starts them again, and repeat this.",
            ) from error

    def _handed_over(self, wanted: pa.Array, to: str) -> HandedOver:
        with ExitStack() as leases:
            for shard in self._lakehouse.shards_seen(self._run.pipeline):
                lease = self._lakehouse.lease(self._run.pipeline, shard, self._run.run_id)
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
        self._external_changes.begin()
        names = self._names()
        landings = [name for name in names if is_landing(self._run.pipeline, self._run.dataset, name)]
        for name in landings:
            self._recover(name)
        if not pc.any(self._are_wanted(self._rows(), wanted)).as_py():
            return HandedOver()
        self.on_step("before_fencing")
        gate = landings[0]
        for name in (gate, *(name for name in names if name != gate)):
            key = CommitKey(name, (self._data.last_sequence(name) or 0) + 1)
            self._data.commit(Commit(key, (), metadata={"run_id": self._run.run_id, FENCE: "true", GATE: gate}))
        self.on_step("after_fencing")
        found = self._move(wanted, to, CommitKey(gate, self._data.last_sequence(gate) or 1))
        self.on_step("after_handover")
        for name in landings:
            self._recover(name)
        return found

    def _names(self) -> list[str]:
        """Every app_id under which the pipeline commits, or may begin to commit."""
        ours = self._run.app_id_of("")
        known = {name.removeprefix(ours) for name in self._data.last_sequences() if name.startswith(ours)}
        shards = {shard.rpartition(".")[2] for shard in (*known, *self._lakehouse.shards_seen(self._run.pipeline))}
        parts = [f"{part}{shard}" for shard in shards or {self._run.shard} for part in ("", BACKFILL, REPAIR)]
        # Shards before their parts: every part looks at the gate.
        return [ours + name for name in sorted({*known, *parts}, key=lambda name: ("." in name, name))]

    def _rows(self) -> pa.Table:
        return self._checkpoint.read(where=self._partition).read_all()

    def _are_wanted(self, rows: pa.Table, wanted: pa.Array) -> pa.ChunkedArray:
        ours = of_dataset(rows["dataset"].cast(pa.string()), self._run.dataset)
        return pc.and_(ours, pc.is_in(rows["tag_webid"], wanted))

    def _are_unknown_holes(self, rows: pa.Table) -> pa.ChunkedArray:
        of_holes = pc.equal(rows["dataset"].cast(pa.string()), self._run.dataset + HOLES)
        return pc.and_(of_holes, pc.equal(rows["tag_webid"], ""))

    def _move(self, wanted: pa.Array, to: str, key: CommitKey) -> HandedOver:
        rows = self._rows()
        go = self._are_wanted(rows, wanted)
        gone = rows.filter(go)
        at, claimed = gone.schema.get_field_index("pipeline"), claims_name(self._run.dataset, self._data.uri)
        known = gone.filter(pc.not_equal(gone["dataset"].cast(pa.string()), claimed))
        # Holes that were lost may have been of these tags.
        moving = pa.concat_tables([known, rows.filter(self._are_unknown_holes(rows))])
        moved = moving.set_column(at, moving.schema.field(at), pa.repeat(to, moving.num_rows))
        tags = pc.unique(gone["tag_webid"]).to_pylist()
        ours = claims(tags, pipeline=to, dataset=claimed, now=self._run.now())
        files = stage_rows(self._checkpoint, (*rows.filter(pc.invert(go)).to_batches(), *moved.to_batches(), ours))
        doubled = self._doubled(known, to)
        commit = Commit(key, files, metadata={"run_id": self._run.run_id}, replace_where=self._partition)
        commit_or_discard(self._checkpoint, commit, files)
        return HandedOver(len(tags), doubled)

    def _doubled(self, gone: pa.Table, to: str) -> tuple[str, ...]:
        """Tags that both pipelines have read."""
        tags = gone.filter(pc.less(gone["low"], gone["high"]))["tag_webid"]
        rows = self._checkpoint.read(["dataset", "tag_webid", "low", "high"], where={"pipeline": to}).read_all()
        read = pc.and_(
            pc.equal(rows["dataset"].cast(pa.string()), self._run.dataset), pc.less(rows["low"], rows["high"])
        )
        both = rows.filter(pc.and_(read, pc.is_in(rows["tag_webid"], tags.combine_chunks())))
        return tuple(sorted(pc.unique(both["tag_webid"]).to_pylist()))
