"""Corrections beside whoever moves the watermarks: a repair lands what it has read again, and nothing else.

Imports nothing of the engine. It has a name of its own for its commits, and writes no watermarks: what is
done stays done, and how far a tag is remains the business of the runs. Invariant: what lands was read after
everything that others have corrected of these tags. Whose rows have changed since the reading began is
left out and named, so that it can be read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from config.errors import CommitConflictError, ExtractError, UnknownCommitError

from .checkpoint import decode, merge_stream
from .commit import CommitKey, CommitReceipt, Lakehouse, LiveFile, Stage
from .correction import Correction, Replacements, correct
from .draft import Draft
from .landing_batch import LandingBatch, LandingReceipt
from .marks import Marks
from .owners import REPAIR, app_id
from .refusals import fenced
from .tables import PI_WATERMARKS, TableSpec
from .watermark import Watermark
from .windows import Windows, changed, holding

__all__ = ["Repairing"]

# A correction that others disturb (compaction, mostly) is computed again on what they left.
_ATTEMPTS = 16
# So often is one sent again, over corrections of others that are of other rows.
_RACES = 50


@dataclass(frozen=True, slots=True)
class _Planned:
    """A correction, and the files it was worked out from."""

    correction: Correction
    windows: Windows
    seen: Mapping[str, LiveFile]


class Repairing:
    """Repairs of one pipeline and dataset. One commit at a time; not for several threads."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        spec: TableSpec,
        *,
        pipeline: str,
        dataset: str,
        shard: str,
        run_id: str,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        if not shard.startswith(REPAIR):
            raise ValueError(f"the name of a repair begins with {REPAIR}, unlike {shard}")
        self._data = lakehouse.table(spec)
        self._checkpoint = lakehouse.table(PI_WATERMARKS)
        self._pipeline = pipeline
        self._dataset = dataset
        self._run_id = run_id
        self._app_id = app_id(pipeline, dataset, shard)
        self._sequence = 0
        self._marks = Marks()
        self._basis: Mapping[str, LiveFile] | None = None
        self.on_step = on_step

    def __repr__(self) -> str:
        return f"Repairing({self._app_id!r}, sequence {self._sequence})"

    def open(self) -> Marks:
        """Take fresh snapshots, and give the watermarks of the pipeline as they are now.

        Raises `SchemaDriftError`, `StorageError`.
        """
        self._checkpoint.open()
        self._data.open()
        self._sequence = self._data.last_sequence(self._app_id) or 0
        self._basis = None
        rows = self._checkpoint.read(where={"pipeline": self._pipeline})
        self._marks = decode(merge_stream(rows), self._dataset)
        return self._marks

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
        return LandingBatch(self._data.stage(), wanted, Draft(self._marks), self._land, self._data.allow_removing)

    def _land(self, stage: Stage, draft: Draft, wanted: Replacements) -> LandingReceipt:
        """Correct. That a tag could not be read is for the runs to note: news of that kind is passed over."""
        rows = stage.rows
        stage.abort()
        if rows or not all(_stands(mark, self._marks.get(mark.tag_webid)) for mark in draft.said({})):
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
        everybody = app_id(self._pipeline, self._dataset, "")
        metadata = {"run_id": self._run_id}
        try:
            for _ in range(_RACES):
                try:
                    return self._data.commit(
                        *(key, correction.files),
                        metadata=metadata,
                        remove=correction.remove,
                        changes=correction.changes,
                        beside=everybody,
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
        self._data.open()
        last = self._data.last_sequence(self._app_id) or 0
        if last != self._sequence:
            raise fenced(self._data.uri, CommitKey(self._app_id, last), {})

    def _holds(self, planned: _Planned, now: Mapping[str, LiveFile]) -> bool:
        """Whether the snapshot, with the files it has now, asks for the same correction."""
        if any(now.get(file.path) != file for file in planned.correction.remove):
            return False
        return not changed(self._data, planned.windows, planned.seen)


def _stands(mark: Watermark, before: Watermark | None) -> bool:
    """Whether it says of what is done no more than was known."""
    return before is not None and (mark.low, mark.high, mark.last_event) == (before.low, before.high, before.last_event)
