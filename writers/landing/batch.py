"""The commit that the engine is preparing, and the receipt for it.

Invariant: nothing is visible before `commit`, and after it nothing is ours
to remove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..corrections.correction import UNCHANGED, CorrectionCounts, Replacement, Replacements
from ..ports import CommitReceipt, OpenTable, Stage, StagedFile
from ..watermarks.holes import HoleChange
from ..watermarks.model import Move, Moves
from ..watermarks.pending import PendingWatermarks


@dataclass(frozen=True, slots=True)
class LandingReceipt:
    """Proof that rows and watermarks are in. `data` is None when only watermarks moved; both are None when
    there was nothing to do.

    `rows`: appended rows; `partitions`: partition values of the files that were added; `stale`: tags that a repair left
    as they are, because a run has corrected them since the repair began to read.
    """

    rows: int
    data: CommitReceipt | None
    watermarks: CommitReceipt | None
    partitions: frozenset[str] = frozenset()
    corrections: CorrectionCounts = UNCHANGED
    stale: frozenset[str] = frozenset()


class LandingBatch:
    """Collects the rows, corrections and moves of one commit."""

    def __init__(
        self,
        stage: Stage,
        wanted: Replacements,
        draft: PendingWatermarks,
        land: Callable[[Stage, PendingWatermarks, Replacements], LandingReceipt],
        allow: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._wanted = wanted
        self._draft = draft
        self._land = land
        self._allow = allow
        self._is_committing = False
        self._accounted = self._moves = self._noted = 0

    @property
    def rows(self) -> int:
        return self._stage.rows

    @property
    def tags(self) -> int:
        """Number of tags of which a window was done."""
        return self._draft.tags

    def write(self, rows: pa.RecordBatch) -> None:
        """Stage rows of the data table's schema. Raises `StorageError`; then `abort`."""
        self._stage.write(rows)

    def replace(self, replacements: Sequence[Replacement], rows: pa.RecordBatch) -> None:
        """Replace what the table holds in these windows by exactly these rows.

        May be called many times; where a window is given again, the later call counts. The rows are held in
        memory until `commit`: the caller counts them, like written rows, towards the size of a commit.
        Each tag must have a watermark, or a move in this commit.

        Raises `SchemaDriftError` or `ConfigurationError` for a table whose rows cannot be corrected, and
        ValueError for a row outside the windows.
        """
        if not self._wanted:
            self._allow()
        self._wanted.add(replacements, rows)

    def move(self, moves: Iterable[Move]) -> None:
        """As `move_all`, of single moves."""
        self.move_all(Moves.of(list(moves)))

    def move_all(self, moves: Moves) -> None:
        """Move watermarks with the commit, in order. A tag may come several times.

        Raises ValueError for a window that leaves a gap; then `abort`.
        """
        self._draft.move(moves)
        self._accounted += int(moves.rows.sum())
        self._moves += len(moves)

    def note_holes(self, changes: Sequence[HoleChange]) -> None:
        """Note windows that cannot be read, or have been read by now. They lie inside of what is done after the commit."""
        self._draft.note_holes(changes)
        self._noted += len(changes)

    def commit(self, moves: Iterable[Move] = ()) -> LandingReceipt:
        """Land the rows, and correct, together with all moves; their `rows` must add up to those written.

        Corrections that turn out to change nothing make no commit. Raises `FencedError`, `StorageError`, `CommitConflictError` (nothing has landed, staged files are
        gone), `UnknownCommitError` or, once the data is in, any of them again: `Landing.open` finishes it.
        """
        self._is_committing = True
        try:
            self._stage.flush()  # encoded while we count
            self.move(moves)
            self._check()
        except BaseException:
            self._stage.abort()
            raise
        return self._land(self._stage, self._draft, self._wanted)

    def _check(self) -> None:
        """Refuse rows that no move accounts for: they would be read again and land twice. Refuse outdated watermarks."""
        if self._draft.outdated:
            raise RuntimeError("another commit has landed since this one began")
        if self._accounted != self.rows or not (self._moves or self._wanted or self._noted):
            raise ValueError(
                f"{self.rows} rows were written and {self._accounted} are accounted for by {self._moves} moves"
            )
        for tag in self._wanted.owners:
            if tag not in self._draft:
                raise ValueError(f"nothing of {tag} is done, so nothing of it can be corrected")

    def abort(self) -> None:
        """Remove staged files. It does nothing after a `commit`, even a failed one: the files may be in the log."""
        if not self._is_committing:
            self._stage.abort()


class Appended:
    """Staged rows; the Parquet files are closed on first access."""

    def __init__(self, stage: Stage, table: OpenTable) -> None:
        self.rows = stage.rows
        self._stage = stage
        self._table = table
        self._files: tuple[StagedFile, ...] | None = None

    def files(self) -> tuple[StagedFile, ...]:
        if self._files is None:
            try:
                self._files = self._stage.close()
            except BaseException:
                self._stage.abort()
                raise
        return self._files

    def drop(self) -> None:
        """Remove the files: the commit has failed."""
        if self._files is None:
            self._stage.abort()
        else:
            self._table.discard(self._files)
