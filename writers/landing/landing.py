"""Rows and watermarks land together, exactly once. The heart of the product.

Two tables cannot be committed at once, so the data leads. The data commit names, in its metadata, the Parquet file
that holds its watermarks. The watermark commit adds exactly that file under the same number. A run that dies between
the two leaves everything needed to finish.

Invariant: at rest, data and checkpoint table carry the same sequence for each (pipeline, dataset,
shard). Data one ahead: roll forward. Anything else: state was lost, and a person has to know.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from config.errors import (
    CommitConflictError,
    ExtractError,
    FencedError,
    LostStateError,
    UnknownCommitError,
)

from ..commit_rules import fenced, find_commit
from ..corrections.correction import Changes, Correction, Replacements
from ..ports import Commit, CommitKey, CommitReceipt, Lakehouse, OpenTable, Stage, StagedFile, stage_rows
from ..tables import PI_WATERMARKS, TableSpec
from ..watermarks.checkpoint_rows import (
    columns_of,
    encode,
    encode_holes,
    holes_of,
    holes_unknown_before,
    merge_stream,
    newest_of_holes,
)
from ..watermarks.holes import Holes
from ..watermarks.model import Move, Moves
from ..watermarks.pending import PendingWatermarks
from ..watermarks.store import WatermarkStore
from .batch import Appended, LandingBatch, LandingReceipt
from .commit_ids import (
    BACKFILL,
    REPAIR,
    SequenceState,
    compare_sequences,
    is_landing,
    must_recover,
    owners,
    same_shard_count,
)
from .external_changes import ExternalChangeDetector
from .landing_run import LandingRun

# Metadata of a data commit: its staged watermark file, as JSON.
WATERMARK_FILE = "watermark_file"
# Marks an empty commit that fences a stalled writer.
FENCE = "fence"
# Metadata of a fence before a handover (writers.landing.handover): the app_id whose commit has to be finished first.
GATE = "gate"
_MANY_FILES = 64
# A correction that conflicts with other writers (compaction, repairs) is computed again on their result, so often.
_ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A commit of data and watermarks, fully staged."""

    key: CommitKey
    files: tuple[StagedFile, ...]
    correction: Correction
    watermark_files: tuple[StagedFile, ...]
    lands_data: bool
    holes: Holes


class Landing:
    """Lands the rows of one pipeline, dataset and shard. One at a time; not for several threads."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        spec: TableSpec,
        run: LandingRun,
        *,
        many_files: int = _MANY_FILES,
    ) -> None:
        """`many_files`: more small files of watermarks than these are put together."""
        self._lakehouse = lakehouse
        self._data_table = lakehouse.table(spec)
        self._checkpoint_table = lakehouse.table(PI_WATERMARKS)
        self._data: OpenTable  # both as they were when the landing was opened, or has committed last
        self._checkpoint: OpenTable
        self._run = run
        self._app_id = run.app_id_of(run.shard)
        self._repairs = run.app_id_of(REPAIR)
        self._external_changes = ExternalChangeDetector(run.pipeline, partial(is_landing, run.pipeline, run.dataset))
        self._sequence = 0
        self._commits = 0
        self._holes_written_at = 0
        self._watermarks = WatermarkStore()
        self._ready = False
        self._many_files = many_files
        self.on_step = run.on_step

    def __repr__(self) -> str:
        return f"Landing({self._app_id!r}, sequence {self._sequence}, {len(self._watermarks)} tags)"

    def open(self) -> WatermarkStore:
        """Finish what dead runs left behind, and give the watermarks of the pipeline.

        The mapping is live: every commit updates it. After an error of `commit` that left the outcome
        open, `open` again before the next `begin`.

        Raises `LostStateError` (watermarks and data do not belong together), `FencedError` (shards of
        another division of the tags are at work), `SchemaDriftError`, `StorageError`.
        """
        self._ready = False
        self._refuse_missing()
        self._refresh()
        self._external_changes.begin()
        shards = self._lakehouse.shards_seen(self._run.pipeline)
        for shard in shards:
            if must_recover(self._run.shard, shard):
                self._look_at(shard)
        if not self._checkpoint.file_count(where=self._partition):
            self._refuse_empty_start({self._run.app_id_of(s) for s in (self._run.shard, *shards)})
        # Last: looking at other shards takes fresh snapshots, and our commits go through the newest one.
        self._recover(self._app_id)
        self._sequence = self._data.last_sequence(self._app_id) or 0
        merged = self._merged()
        self._watermarks.replace_all(columns_of(merged, self._run.dataset), holes_of(merged, self._run.dataset))
        self._watermarks.holes_unknown_before = holes_unknown_before(merged, self._run.dataset)
        if self._checkpoint.file_count(where=self._partition) > self._many_files:
            self._compact(merged)
        self._ready = True
        return self._watermarks

    @property
    def checkpoint(self) -> OpenTable:
        """The checkpoint table as it was when the landing was opened, or has committed last. To be read only."""
        return self._checkpoint

    @property
    def keeps_holes(self) -> bool:
        """Whether holes can be written down: a checkpoint table of an earlier version may lack the columns for it."""
        return "hole_end" in self._checkpoint.columns

    def begin(self) -> LandingBatch:
        """Start a commit. Finish it before the next one begins."""
        draft, wanted = self._draft(), Replacements(self._data.spec)
        return LandingBatch(self._data.stage(), wanted, draft, self._land, self._data.allow_removing)

    def land(self, changes: Changes, moves: Sequence[Move]) -> LandingReceipt:
        """Land changes of stored rows together with these moves, in one go. Raises as `LandingBatch.commit`."""
        draft = self._draft()
        draft.move(Moves.of(moves))
        return self._land(self._data.stage(), draft, changes)

    def _draft(self) -> PendingWatermarks:
        if not self._ready:
            raise RuntimeError("open the landing before a commit, and again after one whose outcome is open")
        self.on_step("before_staging")
        return PendingWatermarks(self._watermarks, behind=self._run.shard.startswith(BACKFILL))

    def _refresh(self) -> None:
        """Take fresh snapshots. Watermarks first: if a run is alive, we may then find data ahead of them,
        which is harmless, and never the reverse, which would look like lost data.
        """
        self._checkpoint = self._checkpoint_table.open()
        self._data = self._data_table.open()

    def _look_at(self, shard: str) -> None:
        """Finish the commit of another shard that died midway. A shard of another division must not be alive."""
        alike = same_shard_count(shard, self._run.shard)
        other = self._run.app_id_of(shard)
        lease = self._lakehouse.lease(self._run.pipeline, shard, self._run.run_id)
        finished = (
            compare_sequences(self._data.last_sequence(other), self._checkpoint.last_sequence(other))
            is SequenceState.EQUAL
        )
        silent = not alike and lease.holder() is not None
        if finished and not silent:
            return
        try:
            lease.acquire()
        except FencedError:
            if alike:
                return  # it is alive, and between its two commits at this moment
            raise
        try:
            self._refresh()
            self._recover(other)
            if silent:
                self._fence(other)
        finally:
            lease.release()

    def _fence(self, owner: str) -> None:
        """Make a run that only seemed to be dead fail when it wakes: its tags are ours now."""
        key = CommitKey(owner, (self._data.last_sequence(owner) or 0) + 1)
        self._data.commit(Commit(key, (), metadata={"run_id": self._run.run_id, FENCE: "true"}))
        self._recover(owner)

    def _refuse_missing(self) -> None:
        """Raise if data was committed and the checkpoint table is gone. Creates no table."""
        checkpoint, data = self._checkpoint_table, self._data_table
        if checkpoint.exists() or not data.exists():
            return
        if owners(data.open(), self._run.pipeline, self._run.dataset) and not checkpoint.exists():
            raise self._lost("the checkpoint table is missing")

    def _refuse_empty_start(self, seen: Collection[str]) -> None:
        """Raise if no tag has a watermark and some shard, of any division, has landed rows.

        The leases, which name the shards, are lost with the table. A shard with a lease may be between its two commits.
        """
        for owner in sorted(owners(self._data, self._run.pipeline, self._run.dataset)):
            if owner not in seen or compare_sequences(*self._stand(owner)) is SequenceState.LOST:
                self._recover(owner)

    def _stand(self, owner: str) -> tuple[int | None, int | None]:
        """Give the last sequences of both tables. If a rival commits between the two snapshots, take them again."""
        seen: tuple[int | None, int | None] | None = None
        while True:
            now = self._data.last_sequence(owner), self._checkpoint.last_sequence(owner)
            if compare_sequences(*now) is not SequenceState.LOST or now == seen:
                return now
            seen = now
            self._refresh()

    def _refuse_external_changes(self) -> None:
        found = self._external_changes.look(self._data, self._checkpoint)
        if found is not None:
            raise self._lost(found)

    def _recover(self, owner: str) -> None:
        """Finish the commit of `owner` if only its data has landed."""
        data, watermarks = self._stand(owner)
        state = compare_sequences(data, watermarks)
        if state is SequenceState.LOST:
            raise self._lost(f"the data is at commit {data or 0}, the watermarks are at {watermarks or 0}")
        self._refuse_external_changes()
        last = find_commit(self._data, owner) if state is SequenceState.ROLL_FORWARD else None
        if last is None:
            return
        gate = last.metadata.get(GATE, owner)
        if gate != owner:
            self._recover(gate)
        file = _decode_file(last.metadata.get(WATERMARK_FILE))
        if FENCE not in last.metadata and (file is None or not self._checkpoint.has_file(file)):
            raise self._lost(f"the watermarks of commit {data} are gone")
        self._checkpoint.commit(Commit(last.key, [file] if file else (), metadata={"run_id": self._run.run_id}))

    def _land(self, stage: Stage, draft: PendingWatermarks, wanted: Changes) -> LandingReceipt:
        """Stage all files, commit the data, commit the watermarks."""
        landed = self._land_data(Appended(stage, self._data), draft, wanted)
        if landed is None:
            return LandingReceipt(0, None, None)
        prepared, data = landed
        self.on_step("after_data_commit")
        watermarks = self._commit_watermarks(prepared.key, prepared.watermark_files, landed=data is not None)
        self._ready = True
        self.on_step("after_watermark_commit")
        self._external_changes.committed(data, watermarks)
        self._apply(prepared, draft)
        partitions = frozenset(v for file in prepared.files for v in file.partition_values.values() if v is not None)
        return LandingReceipt(stage.rows, data, watermarks, partitions, prepared.correction.counts)

    def _land_data(
        self, appended: Appended, draft: PendingWatermarks, wanted: Changes
    ) -> tuple[_Prepared, CommitReceipt | None] | None:
        """Commit the data, if there is any; None if there is nothing to do at all."""
        attempts = 0
        while True:
            prepared = self._prepared(appended, draft, wanted)
            if prepared is None:
                return None
            self.on_step("after_staging")
            self._ready = False
            try:
                return prepared, self._commit_data(prepared) if prepared.lands_data else None
            except CommitConflictError:
                attempts += 1
                if not prepared.correction.counts or attempts == _ATTEMPTS:
                    appended.drop()
                    raise
            except UnknownCommitError:
                raise  # it may have landed: its files must stay
            except ExtractError:
                appended.drop()
                raise
            self._look_again(appended)

    def _look_again(self, appended: Appended) -> None:
        """Take a fresh snapshot for a correction whose files another writer has replaced. Raises `FencedError` if a
        run of this shard has committed meanwhile: its sequence tells.
        """
        try:
            self._data = self._data_table.open()
            last = self._data.last_sequence(self._app_id) or 0
        except BaseException:
            appended.drop()
            raise
        if last != self._sequence:
            appended.drop()
            raise fenced(self._data.uri, CommitKey(self._app_id, last), {})

    def _prepared(self, appended: Appended, draft: PendingWatermarks, wanted: Changes) -> _Prepared | None:
        """Compute corrections on the snapshot, and stage them and the watermarks; None if there is nothing to do."""
        correction, watermark_files = Correction(), tuple[StagedFile, ...]()
        if wanted:
            self.on_step("before_correction")
        try:
            self._refuse_external_changes()
            if wanted:
                correction = wanted.correct(self._data, appended.files)
            lands_data = bool(appended.rows or correction.files or correction.remove or correction.replaces_all)
            if not (lands_data or draft.has_changes):
                appended.drop()
                return None
            key = CommitKey(self._app_id, self._sequence + lands_data)
            watermark_files, holes = self._staged(draft, correction, key.sequence)
            files = (*appended.files(), *correction.files)  # last: they are encoded meanwhile
            return _Prepared(key, files, correction, watermark_files, lands_data, holes)
        except BaseException:
            appended.drop()
            self._data.discard(correction.staged)
            self._checkpoint.discard(watermark_files)
            raise

    def _apply(self, landed: _Prepared, draft: PendingWatermarks) -> None:
        self._sequence = landed.key.sequence
        draft.apply(landed.correction.inserted, landed.holes)
        self._commits += 1
        if self._commits % self._many_files == 0:
            self._compact(self._merged())

    def _staged(
        self, draft: PendingWatermarks, correction: Correction, sequence: int
    ) -> tuple[tuple[StagedFile, ...], Holes]:
        """Write the watermarks, and the holes, that the commit changes into one file; give the holes there are then."""
        now = self._run.now()
        named: dict[str, Any] = {
            "pipeline": self._run.pipeline,
            "dataset": self._run.dataset,
            "sequence": sequence,
            "updated_at": now,
        }
        holes, closed_, opened = draft.holes(now)
        rows = encode(draft.changed(correction.inserted), **named)
        if closed_:  # in one piece, so that it is one file
            # Of rows of holes the newest counts: never older than what was there, even if our clock goes behind others.
            named["updated_at"] = self._holes_written_at = max(now, self._holes_written_at + 1)
            rows = pa.concat_batches([rows, encode_holes(closed_, opened, **named)])
        return stage_rows(self._checkpoint, [rows]), holes

    def _commit_data(self, prepared: _Prepared) -> CommitReceipt:
        """Commit; if nothing has landed, what was prepared is removed again (but not the appended rows)."""
        [file] = prepared.watermark_files
        metadata = {"run_id": self._run.run_id, WATERMARK_FILE: json.dumps(asdict(file))}
        try:
            correction = prepared.correction
            return self._data.commit(
                Commit(
                    *(prepared.key, prepared.files),
                    metadata=metadata,
                    removes=correction.remove,
                    changes=correction.changes,
                    replace_where={} if correction.replaces_all else None,
                    conflicts_with_prefix=self._prefix(correction),
                )
            )
        except UnknownCommitError:
            raise
        except ExtractError as error:
            self._data.discard(prepared.correction.staged)
            self._checkpoint.discard(prepared.watermark_files)
            self._ready = not isinstance(error, FencedError)
            raise

    def _prefix(self, correction: Correction) -> str | None:
        """How app_ids begin that must not have corrected since the snapshot."""
        if not correction.counts or correction.replaces_all:
            return None
        return self._repairs if correction.conflicts_with is None else correction.conflicts_with

    def _commit_watermarks(self, key: CommitKey, files: Sequence[StagedFile], *, landed: bool) -> CommitReceipt:
        try:
            return self._checkpoint.commit(Commit(key, files, metadata={"run_id": self._run.run_id}))
        except UnknownCommitError:
            raise
        except ExtractError as error:
            # Once the data is in, its watermark file is named in the log: the next run finishes with it.
            if not landed:
                self._checkpoint.discard(files)
                self._ready = not isinstance(error, FencedError)
            raise

    def _merged(self) -> pa.Table:
        return merge_stream(self._noted(self._checkpoint.read(where=self._partition)))

    def _noted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass rows on, and remember when the newest row of a hole was written."""
        for batch in batches:
            self._holes_written_at = max(self._holes_written_at, newest_of_holes(batch))
            yield batch

    def _compact(self, merged: pa.Table) -> None:
        """Rewrite the watermarks of the pipeline as one file; many small files make every start slower."""
        files = stage_rows(self._checkpoint, merged.to_batches())
        key = CommitKey(self._app_id, self._sequence)
        try:
            self._checkpoint.commit(
                Commit(key, files, metadata={"run_id": self._run.run_id}, replace_where=self._partition)
            )
        except CommitConflictError:
            self._checkpoint.discard(files)  # another shard has committed; the next compaction will do

    @property
    def _partition(self) -> dict[str, str]:
        return {"pipeline": self._run.pipeline}

    def _lost(self, what: str) -> LostStateError:
        return LostStateError(
            f"Watermarks and data of pipeline {self._run.pipeline} do not belong together: {what} "
            f"({self._app_id}, data at {self._data_table.uri}, watermarks at {self._checkpoint_table.uri}).",
            hint="Run rebuild-watermarks: it reads the watermarks back from the data.",
        )


def _decode_file(text: str | None) -> StagedFile | None:
    return None if text is None else StagedFile(**json.loads(text))
