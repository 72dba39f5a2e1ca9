"""One commit in the making, as the engine sees it; and the receipt for it.

Imports nothing of the engine. Invariant: nothing is visible before `commit`, and after it nothing is ours
to remove.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from .checkpoint import Move
from .commit import CommitReceipt, Stage
from .correction import UNCHANGED, CorrectionCounts, Replacement, Replacements

__all__ = ["LandingBatch", "LandingReceipt"]


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
        land: Callable[[Stage, Sequence[Move], Replacements], LandingReceipt],
        allow: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._wanted = wanted
        self._land = land
        self._allow = allow
        self._begun = False

    @property
    def rows(self) -> int:
        return self._stage.rows

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

    def commit(self, moves: Sequence[Move]) -> LandingReceipt:
        """Land the rows, and correct, together with the moves; their `rows` must add up to those written.

        Corrections that turn out to change nothing make no commit. Raises `FencedError`, `StorageError`, `CommitConflictError` (nothing has landed, staged files are
        gone), `UnknownCommitError` or, once the data is in, any of them again: `Landing.open` finishes it.
        """
        self._begun = True
        return self._land(self._stage, moves, self._wanted)

    def abort(self) -> None:
        """Remove what was staged. After a `commit`, even one that failed, it does nothing: the files may be in the log."""
        if not self._begun:
            self._stage.abort()
