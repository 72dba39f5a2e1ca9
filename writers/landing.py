"""Rows and watermarks land together, exactly once. The heart of the product.

Imports nothing of the engine. Two tables cannot be committed at once, so one of them leads: the data
commit names, in its own metadata, the Parquet file that holds the watermarks which belong to it, and
the watermark commit adds exactly that file under the same number. Whoever dies between the two leaves
everything needed to finish behind.

Invariant: at rest, data and checkpoint table carry the same sequence for each (pipeline, dataset,
shard). Data one ahead: roll forward. Anything else: state was lost, and a person has to know.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from config.errors import CommitConflictError, ExtractError, FencedError, LostStateError, UnknownCommitError

from .checkpoint import (
    columns_of,
    encode,
    encode_holes,
    holes_of,
    holes_unknown_before,
    merge_stream,
    newest_of_holes,
)
from .commit import CommitKey, CommitReceipt, CommitTable, Lakehouse, Stage, StagedFile
from .correction import Correction, Replacements, correct
from .draft import Draft
from .foreign import Others
from .holes import Holes
from .landing_batch import Appended, LandingBatch, LandingReceipt, closed
from .marks import Marks
from .owners import BACKFILL, REPAIR, State, app_id, concerns, is_alike, is_landing, owners, settle
from .refusals import fenced
from .tables import PI_WATERMARKS, TableSpec

__all__ = ["Landing", "LandingBatch", "LandingReceipt"]

# Metadata of a data commit: the staged watermark file, to the last detail.
WATERMARK_FILE = "watermark_file"
# Of one that says nothing but that whoever was at work under this name is not to commit any more.
FENCE = "fence"
# Of a fence before tags go over to another pipeline: whose step has to be finished before this one (writers.handover).
GATE = "gate"
_MANY_FILES = 64
# A correction that other writers disturb (compaction, repairs) is computed again on what they left. Each time
# somebody has got on; a run that goes on for months does not give way at the first crowd.
_ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Everything that one commit of data and watermarks needs, staged."""

    key: CommitKey
    files: tuple[StagedFile, ...]
    correction: Correction
    mark_files: tuple[StagedFile, ...]
    lands_data: bool
    holes: Holes


class Landing:
    """Lands the rows of one pipeline, dataset and shard. One at a time; not for several threads."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        spec: TableSpec,
        *,
        pipeline: str,
        dataset: str,
        shard: str = "0-of-1",
        run_id: str,
        on_step: Callable[[str], None] = lambda _step: None,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._lakehouse = lakehouse
        self._data = lakehouse.table(spec)
        self._checkpoint = lakehouse.table(PI_WATERMARKS)
        self._pipeline = pipeline
        self._dataset = dataset
        self._shard = shard
        self._run_id = run_id
        self._app_id = app_id(pipeline, dataset, shard)
        self._repairs = app_id(pipeline, dataset, REPAIR)
        self._others = Others(self._data, self._checkpoint, pipeline, partial(is_landing, pipeline, dataset))
        self._sequence = 0
        self._commits = 0
        self._holes_written_at = 0
        self._marks = Marks()
        self._ready = False
        self._now = now
        self.on_step = on_step

    def __repr__(self) -> str:
        return f"Landing({self._app_id!r}, sequence {self._sequence}, {len(self._marks)} tags)"

    def open(self) -> Marks:
        """Finish what dead runs left behind, and give the watermarks of the pipeline.

        The mapping is live: every commit updates it. After an error of `commit` that left the outcome
        open, `open` again before the next `begin`.

        Raises `LostStateError` (watermarks and data do not belong together), `FencedError` (shards of
        another division of the tags are at work), `SchemaDriftError`, `StorageError`.
        """
        self._ready = False
        self._refuse_missing()
        self._refresh()
        self._others.begin()
        shards = self._lakehouse.shards_seen(self._pipeline)
        for shard in shards:
            if concerns(self._shard, shard):
                self._look_at(shard)
        if not self._checkpoint.file_count(where=self._partition):
            self._refuse_empty_start({app_id(self._pipeline, self._dataset, s) for s in (self._shard, *shards)})
        # Last, for seeing to other shards takes fresh snapshots, and ours is what we commit through.
        self._recover(self._app_id)
        self._sequence = self._data.last_sequence(self._app_id) or 0
        merged = self._merged()
        self._marks.become(columns_of(merged, self._dataset), holes_of(merged, self._dataset))
        self._marks.holes_unknown_before = holes_unknown_before(merged, self._dataset)
        if self._checkpoint.file_count(where=self._partition) > _MANY_FILES:
            self._compact(merged)
        self._ready = True
        return self._marks

    @property
    def checkpoint(self) -> CommitTable:
        """The checkpoint table as it was when the landing was opened, or has committed last. To be read only."""
        return self._checkpoint

    @property
    def keeps_holes(self) -> bool:
        """Whether holes can be written down: a checkpoint table of an earlier version may lack the columns for it."""
        return "hole_end" in self._checkpoint.columns

    def begin(self) -> LandingBatch:
        """Start a commit. Finish it before the next one begins."""
        if not self._ready:
            raise RuntimeError("open the landing before a commit, and again after one whose outcome is open")
        self.on_step("before_staging")
        wanted = Replacements(self._data.spec)
        draft = Draft(self._marks, behind=self._shard.startswith(BACKFILL))
        return LandingBatch(self._data.stage(), wanted, draft, self._land, self._data.allow_removing)

    def _refresh(self) -> None:
        """Take fresh snapshots. Watermarks first: if a run is alive, we may then find data ahead of them,
        which is harmless, and never the reverse, which would look like lost data.
        """
        self._checkpoint.open()
        self._data.open()

    def _look_at(self, shard: str) -> None:
        """See to another shard: one that died midway is finished; one of another division must not be alive."""
        alike = is_alike(shard, self._shard)
        other = app_id(self._pipeline, self._dataset, shard)
        lease = self._lakehouse.lease(self._pipeline, shard, self._run_id)
        settled = settle(self._data.last_sequence(other), self._checkpoint.last_sequence(other)) is State.SETTLED
        silent = not alike and lease.holder() is not None
        if settled and not silent:
            return
        try:
            lease.acquire()
        except FencedError:
            if alike:
                return  # alive, and between its two commits at this moment
            raise
        try:
            self._refresh()
            self._recover(other)
            if silent:
                self._fence(other)
        finally:
            lease.release()

    def _fence(self, owner: str) -> None:
        """See to it that a run which only seemed to be dead fails when it wakes: it has tags that are ours now."""
        key = CommitKey(owner, (self._data.last_sequence(owner) or 0) + 1)
        self._data.commit(key, (), metadata={"run_id": self._run_id, FENCE: "true"})
        self._recover(owner)

    def _refuse_missing(self) -> None:
        """Whoever has committed data had a checkpoint table before. Looking leaves no empty table behind."""
        if self._checkpoint.exists() or not self._data.exists():
            return
        if owners(self._data.open(), self._pipeline, self._dataset) and not self._checkpoint.exists():
            raise self._lost("the checkpoint table is missing")

    def _refuse_empty_start(self, seen: Collection[str]) -> None:
        """No tag has a watermark: then no shard, by whatever division of the tags, may have landed any. The leases,
        which name the shards, are lost with the table; one that is seen may just be between its two commits.
        """
        for owner in sorted(owners(self._data, self._pipeline, self._dataset)):
            if owner not in seen or settle(*self._stand(owner)) is State.LOST:
                self._recover(owner)

    def _stand(self, owner: str) -> tuple[int | None, int | None]:
        """Give the last sequences of both tables. Two snapshots are not taken at one moment: while a rival
        commits between them, they are taken again.
        """
        seen: tuple[int | None, int | None] | None = None
        while True:
            now = self._data.last_sequence(owner), self._checkpoint.last_sequence(owner)
            if settle(*now) is not State.LOST or now == seen:
                return now
            seen = now
            self._refresh()

    def _refuse_others(self) -> None:
        found = self._others.look()
        if found is not None:
            raise self._lost(found)

    def _recover(self, owner: str) -> None:
        """Finish the commit that `owner` left half done, if it did."""
        data, watermarks = self._stand(owner)
        state = settle(data, watermarks)
        if state is State.LOST:
            raise self._lost(f"the data is at commit {data or 0}, the watermarks are at {watermarks or 0}")
        self._refuse_others()
        last = self._data.last_commit(owner) if state is State.ROLL_FORWARD else None
        if last is None:
            return
        gate = last.metadata.get(GATE, owner)
        if gate != owner:
            self._recover(gate)
        file = _decode_file(last.metadata.get(WATERMARK_FILE))
        if FENCE not in last.metadata and (file is None or not self._checkpoint.has_file(file)):
            raise self._lost(f"the watermarks of commit {data} are gone")
        self._checkpoint.commit(last.key, [file] if file else (), metadata={"run_id": self._run_id})

    def _land(self, stage: Stage, draft: Draft, wanted: Replacements) -> LandingReceipt:
        """Stage all files, commit the data, commit the watermarks."""
        landed = self._land_data(Appended(stage, self._data), draft, wanted)
        if landed is None:
            return LandingReceipt(0, None, None)
        prepared, data = landed
        self.on_step("after_data_commit")
        watermarks = self._commit_watermarks(prepared.key, prepared.mark_files, landed=data is not None)
        self._ready = True
        self.on_step("after_watermark_commit")
        self._others.committed(data, watermarks)
        self._settle(prepared, draft)
        partitions = frozenset(v for file in prepared.files for v in file.partition_values.values() if v is not None)
        return LandingReceipt(stage.rows, data, watermarks, partitions, prepared.correction.counts)

    def _land_data(
        self, appended: Appended, draft: Draft, wanted: Replacements
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
        """Take a fresh snapshot for a correction whose files another writer has replaced. It does not tell
        who committed since the old one, but the number says whether it was one of us.
        """
        try:
            self._data.open()
            last = self._data.last_sequence(self._app_id) or 0
        except BaseException:
            appended.drop()
            raise
        if last != self._sequence:
            appended.drop()
            raise fenced(self._data.uri, CommitKey(self._app_id, last), {})

    def _prepared(self, appended: Appended, draft: Draft, wanted: Replacements) -> _Prepared | None:
        """Compute corrections on the snapshot, and stage them and the watermarks; None if there is nothing to do."""
        correction, mark_files = Correction(), tuple[StagedFile, ...]()
        if wanted:
            self.on_step("before_correction")
        try:
            self._refuse_others()
            if wanted:
                correction = correct(self._data, wanted, appended.files)
            lands_data = bool(appended.rows or correction.files or correction.remove)
            if not (lands_data or draft.has_news):
                appended.drop()
                return None
            key = CommitKey(self._app_id, self._sequence + lands_data)
            mark_files, holes = self._staged(draft, correction, key.sequence)
            files = (*appended.files(), *correction.files)  # last: they are encoded meanwhile
            return _Prepared(key, files, correction, mark_files, lands_data, holes)
        except BaseException:
            appended.drop()
            self._data.discard(correction.staged)
            self._checkpoint.discard(mark_files)
            raise

    def _settle(self, landed: _Prepared, draft: Draft) -> None:
        self._sequence = landed.key.sequence
        draft.settle(landed.correction.inserted, landed.holes)
        self._commits += 1
        if self._commits % _MANY_FILES == 0:
            self._compact(self._merged())

    def _staged(self, draft: Draft, correction: Correction, sequence: int) -> tuple[tuple[StagedFile, ...], Holes]:
        """Write the watermarks, and the holes, that the commit changes into one file; give the holes there are then."""
        now = self._now()
        named: dict[str, Any] = {
            "pipeline": self._pipeline,
            "dataset": self._dataset,
            "sequence": sequence,
            "updated_at": now,
        }
        holes, closed_, opened = draft.holes(now)
        rows = encode(draft.said(correction.inserted), **named)
        if closed_:  # in one piece, so that it is one file
            # Of rows of holes the newest counts: never older than what was there, even if our clock goes behind others.
            named["updated_at"] = self._holes_written_at = max(now, self._holes_written_at + 1)
            rows = pa.concat_batches([rows, encode_holes(closed_, opened, **named)])
        stage = self._checkpoint.stage()
        stage.write(rows)
        return closed(stage), holes

    def _commit_data(self, prepared: _Prepared) -> CommitReceipt:
        """Commit; if nothing has landed, what was prepared is removed again (but not the appended rows)."""
        [mark] = prepared.mark_files
        metadata = {"run_id": self._run_id, WATERMARK_FILE: json.dumps(asdict(mark))}
        try:
            correction = prepared.correction
            return self._data.commit(
                *(prepared.key, prepared.files),
                metadata=metadata,
                remove=correction.remove,
                changes=correction.changes,
                beside=self._repairs if correction.counts else None,
            )
        except UnknownCommitError:
            raise
        except ExtractError as error:
            self._data.discard(prepared.correction.staged)
            self._checkpoint.discard(prepared.mark_files)
            self._ready = not isinstance(error, FencedError)
            raise

    def _commit_watermarks(self, key: CommitKey, marks: Sequence[StagedFile], *, landed: bool) -> CommitReceipt:
        try:
            return self._checkpoint.commit(key, marks, metadata={"run_id": self._run_id})
        except UnknownCommitError:
            raise
        except ExtractError as error:
            # Once the data is in, its watermark file is named in the log: the next run finishes with it.
            if not landed:
                self._checkpoint.discard(marks)
                self._ready = not isinstance(error, FencedError)
            raise

    def _merged(self) -> pa.Table:
        return merge_stream(self._noted(self._checkpoint.read(where=self._partition)))

    def _noted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass rows on, and remember how late those of holes were written, by whatever clock."""
        for batch in batches:
            self._holes_written_at = max(self._holes_written_at, newest_of_holes(batch))
            yield batch

    def _compact(self, merged: pa.Table) -> None:
        """Put the watermarks of the pipeline into one file; many small ones make every start slower."""
        stage = self._checkpoint.stage()
        for batch in merged.to_batches():
            stage.write(batch)
        files = closed(stage)
        key = CommitKey(self._app_id, self._sequence)
        try:
            self._checkpoint.commit(key, files, metadata={"run_id": self._run_id}, replace_where=self._partition)
        except CommitConflictError:
            self._checkpoint.discard(files)  # another shard was at it; there is always a next time

    @property
    def _partition(self) -> dict[str, str]:
        return {"pipeline": self._pipeline}

    def _lost(self, what: str) -> LostStateError:
        return LostStateError(
            f"Watermarks and data of pipeline {self._pipeline} do not belong together: {what} "
            f"({self._app_id}, data at {self._data.uri}, watermarks at {self._checkpoint.uri}).",
            hint="Run rebuild-watermarks: it reads the watermarks back from the data.",
        )


def _decode_file(text: str | None) -> StagedFile | None:
    return None if text is None else StagedFile(**json.loads(text))
