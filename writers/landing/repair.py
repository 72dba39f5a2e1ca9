"""Repairs: corrections that land beside the runs, without moving a watermark.

A repair commits under an app_id of its own. Invariant: what lands was read after every correction that a run has made
of these tags. A tag whose rows have changed since the reading began is left out and named, to be read once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from config.errors import CommitConflictError, ExtractError, UnknownCommitError

from ..commit_rules import fenced
from ..corrections.correction import Correction, Replacements, correct
from ..corrections.windows import Windows, changed, holding
from ..ports import Commit, CommitKey, CommitReceipt, Lakehouse, LiveFile, OpenTable, Stage
from ..tables import PI_WATERMARKS, TableSpec
from ..watermarks.checkpoint_rows import decode, merge_stream
from ..watermarks.model import Watermark
from ..watermarks.pending import PendingWatermarks
from ..watermarks.store import WatermarkStore
from .batch import LandingBatch, LandingReceipt
from .commit_ids import REPAIR
from .landing_run import LandingRun

# How often a correction is computed again after a conflict (compaction, mostly).
_ATTEMPTS = 16
# How often a correction is sent again on top of corrections of other rows.
_RACES = 50


@dataclass(frozen=True, slots=True)
class _Planned:
    """A correction, and the files it was worked out from."""

    correction: Correction
    windows: Windows
    seen: Mapping[str, LiveFile]


class RepairLanding:
    """Repairs of one pipeline and dataset. One commit at a time; not for several threads."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        spec: TableSpec,
        run: LandingRun,
    ) -> None:
        if not run.shard.startswith(REPAIR):
            raise ValueError(f"the name of a repair begins with {REPAIR}, unlike {run.shard}")
        self._data_table = lakehouse.table(spec)
        self._checkpoint_table = lakehouse.table(PI_WATERMARKS)
        self._data: OpenTable  # as it was when the repair was opened, or has committed last
        self._run = run
        self._app_id = run.app_id_of(run.shard)
        self._sequence = 0
        self._watermarks = WatermarkStore()
        self._basis: Mapping[str, LiveFile] | None = None
        self.on_step = run.on_step

    def __repr__(self) -> str:
        return f"RepairLanding({self._app_id!r}, sequence {self._sequence})"

    def open(self) -> WatermarkStore:
        """Take fresh snapshots, and give the watermarks of the pipeline as they are now.

        Raises `SchemaDriftError`, `StorageError`.
        """
        checkpoint = self._checkpoint_table.open()
        self._data = self._data_table.open()
        self._sequence = self._data.last_sequence(self._app_id) or 0
        self._basis = None
        rows = checkpoint.read(where={"pipeline": self._run.pipeline})
        self._watermarks = decode(merge_stream(rows), self._run.dataset)
        return self._watermarks

    def watch(self, windows: Iterable[tuple[str, int, int]]) -> None:
        """Note what is there of these windows (tag, low, high), right before they are read at the source; each of
        them once: what the repair itself has corrected since is taken for changed, too.
        """
        self._basis = holding(self._data, Windows.of(windows))

    def begin(self) -> LandingBatch:
        """Start a commit. Finish it before the next one begins."""
        if self._basis is None:
            raise RuntimeError("open the repair, and watch what is to be read, before a commit")
        self.on_step("before_staging")
        wanted = Replacements(self._data.spec)
        return LandingBatch(
            self._data.stage(), wanted, PendingWatermarks(self._watermarks), self._land, self._data.allow_removing
        )

    def _land(self, stage: Stage, draft: PendingWatermarks, wanted: Replacements) -> LandingReceipt:
        """Correct. That a tag could not be read is for the runs to note: news of that kind is passed over."""
        rows = stage.rows
        stage.abort()
        if rows or not all(
            _stands(watermark, self._watermarks.get(watermark.tag_webid)) for watermark in draft.changed({})
        ):
            raise ValueError("a repair appends nothing and moves no watermark")
        self.on_step("before_correction")
        stale: set[str] = set()
        for _ in range(_ATTEMPTS):
            stale |= changed(self._data, wanted.windows(), self._basis or {})
            planned = self._planned(wanted.without(stale) if stale else wanted)
            correction = planned.correction
            if not correction.counts:
                return LandingReceipt(0, None, None, stale=frozenset(stale))
            self.on_step("after_staging")
            receipt = self._commit(planned)
            if receipt is not None:
                self._sequence = receipt.key.sequence
                self.on_step("after_data_commit")
                days = frozenset(v for f in correction.files for v in f.partition_values.values() if v is not None)
                return LandingReceipt(0, receipt, None, days, correction.counts, frozenset(stale))
        raise CommitConflictError(
            f"Other writers changed {self._data.uri} {_ATTEMPTS} times while it was being repaired.",
            hint="What was mended so far is in the table; repair again when less is written to it.",
        )

    def _planned(self, wanted: Replacements) -> _Planned:
        windows = wanted.windows()
        return _Planned(correct(self._data, wanted), windows, holding(self._data, windows))

    def _commit(self, planned: _Planned) -> CommitReceipt | None:
        """Commit, also over corrections of others that are of other rows; None: it has to be worked out again."""
        correction, key = planned.correction, CommitKey(self._app_id, self._sequence + 1)
        all_shards = self._run.app_id_of("")
        metadata = {"run_id": self._run.run_id}
        try:
            for _ in range(_RACES):
                try:
                    return self._data.commit(
                        Commit(
                            *(key, correction.files),
                            metadata=metadata,
                            removes=correction.remove,
                            changes=correction.changes,
                            conflicts_with_prefix=all_shards,
                        )
                    )
                except CommitConflictError:
                    self._look_again()
                    now = holding(self._data, planned.windows)
                    if not self._holds(planned, now):
                        break
                    planned = replace(planned, seen=now)
        except UnknownCommitError:
            raise  # it may have landed: its files must stay
        except ExtractError:
            self._data.discard(correction.staged)
            raise
        self._data.discard(correction.staged)
        return None

    def _look_again(self) -> None:
        """Take a fresh snapshot. It does not tell who has committed, but the number says whether it was one of us."""
        self._data = self._data_table.open()
        last = self._data.last_sequence(self._app_id) or 0
        if last != self._sequence:
            raise fenced(self._data.uri, CommitKey(self._app_id, last), {})

    def _holds(self, planned: _Planned, now: Mapping[str, LiveFile]) -> bool:
        """Whether the snapshot, with the files it has now, asks for the same correction."""
        if any(now.get(file.path) != file for file in planned.correction.remove):
            return False
        return not changed(self._data, planned.windows, planned.seen)


def _stands(watermark: Watermark, before: Watermark | None) -> bool:
    """Whether it says of what is done no more than was known."""
    return before is not None and (watermark.low, watermark.high, watermark.last_event) == (
        before.low,
        before.high,
        before.last_event,
    )
