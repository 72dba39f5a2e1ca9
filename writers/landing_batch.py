"""One commit in the making, as the engine sees it; and the receipt for it.

Imports nothing of the engine. Invariant: nothing is visible before `commit`, and after it nothing is ours
to remove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from .commit import CommitReceipt, CommitTable, Stage, StagedFile
from .correction import UNCHANGED, CorrectionCounts, Replacement, Replacements
from .draft import Draft
from .holes import HoleChange
from .watermark import Move, Moves

__all__ = ["Appended", "LandingBatch", "LandingReceipt", "closed"]


@dataclass(frozen=True, slots=True)
class LandingReceipt:
    """Proof that rows and watermarks are in. `data` is None when only watermarks moved; both are None when
    there was nothing to do.

    `rows`: appended ones; `partitions`: the values of the partition column that rows went to; `stale`: tags that
    a repair left as they are, for others have corrected them since it began to read.
    """

    rows: int
    data: CommitReceipt | None
    watermarks: CommitReceipt | None
    partitions: frozenset[str] = frozenset()
    corrections: CorrectionCounts = UNCHANGED
    stale: frozenset[str] = frozenset()


class LandingBatch:
    """The rows of one commit, what it corrects, and then its moves."""

    def __init__(
        self,
        stage: Stage,
        wanted: Replacements,
        draft: Draft,
        land: Callable[[Stage, Draft, Replacements], LandingReceipt],
        allow: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._wanted = wanted
        self._draft = draft
        self._land = land
        self._allow = allow
        self._begun = False
        self._told = self._moves = self._noted = 0

    @property
    def rows(self) -> int:
        return self._stage.rows

    @property
    def tags(self) -> int:
        """Tags of which a window was said to be done."""
        return self._draft.tags

    def write(self, rows: pa.RecordBatch) -> None:
        """Stage rows of the data table's schema. Raises `StorageError`; then `abort`."""
        self._stage.write(rows)

    def replace(self, replacements: Sequence[Replacement], rows: pa.RecordBatch) -> None:
        """Say that the source holds, in these windows, exactly these rows; `commit` makes the table so.

        May be called many times; where a window is given again, the later call counts. The rows are held in
        memory until `commit`: whoever calls counts them, with those written, towards the size of a commit.
        Each tag must have a watermark, or a move in this commit.

        Raises `SchemaDriftError` or `ConfigurationError` for a table whose rows cannot be corrected, and
        ValueError for a row outside the windows.
        """
        if not self._wanted:
            self._allow()
        self._wanted.add(replacements, rows)

    def move(self, moves: Iterable[Move]) -> None:
        """Say what becomes true with the commit, one after the other, for a tag as often as there is news of it.

        Raises ValueError for a window that leaves a gap; then `abort`.
        """
        for move in moves:
            self._draft.move(move)
            self._told += move.rows
            self._moves += 1

    def move_all(self, moves: Moves) -> None:
        """As `move`, of many tags at once."""
        self._draft.move_all(moves)
        self._told += int(moves.rows.sum())
        self._moves += len(moves)

    def note_holes(self, changes: Sequence[HoleChange]) -> None:
        """Say which windows, inside of what is done or of what this commit moves over, cannot be read, or were read
        by now.
        """
        self._draft.note_holes(changes)
        self._noted += len(changes)

    def commit(self, moves: Iterable[Move] = ()) -> LandingReceipt:
        """Land the rows, and correct, together with all moves; their `rows` must add up to those written.

        Corrections that turn out to change nothing make no commit. Raises `FencedError`, `StorageError`, `CommitConflictError` (nothing has landed, staged files are
        gone), `UnknownCommitError` or, once the data is in, any of them again: `Landing.open` finishes it.
        """
        self._begun = True
        try:
            self._stage.flush()  # encoded while we count
            self.move(moves)
            self._check()
        except BaseException:
            self._stage.abort()
            raise
        return self._land(self._stage, self._draft, self._wanted)

    def _check(self) -> None:
        """Rows that no move accounts for would be read again and land twice; what others moved would be forgotten."""
        if self._draft.outdated:
            raise RuntimeError("another commit has landed since this one began")
        if self._told != self.rows or not (self._moves or self._wanted or self._noted):
            raise ValueError(f"{self.rows} rows were written and {self._told} are accounted for by {self._moves} moves")
        for tag in self._wanted.tags:
            if tag not in self._draft:
                raise ValueError(f"nothing of {tag} is done, so nothing of it can be corrected")

    def abort(self) -> None:
        """Remove what was staged. After a `commit`, even one that failed, it does nothing: the files may be in the log."""
        if not self._begun:
            self._stage.abort()


class Appended:
    """Rows on their way into files, finished when these are asked for."""

    def __init__(self, stage: Stage, table: CommitTable) -> None:
        self.rows = stage.rows
        self._stage = stage
        self._table = table
        self._files: tuple[StagedFile, ...] | None = None

    def files(self) -> tuple[StagedFile, ...]:
        if self._files is None:
            self._files = closed(self._stage)
        return self._files

    def drop(self) -> None:
        """Remove them: nothing has come of the commit."""
        if self._files is None:
            self._stage.abort()
        else:
            self._table.discard(self._files)


def closed(stage: Stage) -> tuple[StagedFile, ...]:
    """Finish the files of a stage; none stays where that fails."""
    try:
        return stage.close()
    except BaseException:
        stage.abort()
        raise
