"""Watermarks: the window of a tag that is done, what a commit adds to it, and the watermark after it. Pure.

Invariant: the window of a watermark only widens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
# "None" in a column of whole numbers: no time, and the least of all, so that the later of two is the greater.
NEVER: Final = int(np.iinfo(np.int64).min)
# "None" in a column of digests, before they get a sign. One real digest in 2^64 counts as unknown, too.
UNKNOWN_DIGEST: Final = 1 << 63
_MASK: Final = (1 << 64) - 1
Trouble: TypeAlias = tuple[str, str | None]  # status and last error
WELL: Final[Trouble] = ("ok", None)


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """Events of a tag in `[low, high)` are in the data table. Times are microseconds since 1970, UTC.

    `rows_behind`: those of `rows_total` that backfills have landed. A backfill and a live run count side by side, and
    each sees the count of the other only when it opens again.
    `last_event_digest`: of the rows at `last_event`, as `Digest.signed` gives it; None if it is not known.
    `ahead_from`: of a tag that stores future data, the present when it was read last.
    """

    tag_webid: str
    low: int
    high: int
    last_event: int | None = None
    rows_total: int = 0
    status: str = "ok"
    last_error: str | None = None
    last_event_digest: int | None = None
    ahead_from: int | None = None
    rows_behind: int = 0

    @property
    def present(self) -> int:
        """End of what is done and was past when it was read; what lies beyond is forecast."""
        return self.high if self.ahead_from is None else min(self.high, self.ahead_from)


class Move(msgspec.Struct, frozen=True, gc=False):
    """What one commit adds to a tag: `rows` events, which are all there are in `[low, high)`.

    An empty window (`low == high`) moves nothing and only reports a status. `ahead_from` only ever grows.

    `last_event` and `last_event_digest` go together. Without a `last_event` the old pair stays. A move that
    reaches the end of what is done (`high` not below the watermark's, an empty window at it included) decides,
    also when its event lies before the one known: that is how the last event goes back.
    """

    tag_webid: str
    low: int
    high: int
    last_event: int | None = None
    rows: int = 0
    status: str = "ok"
    last_error: str | None = None
    last_event_digest: int | None = None
    ahead_from: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What one commit adds to many tags, as columns. Of a tag that comes more than once the order counts.

    `NEVER` in `last_event` and `ahead_from` is None, as is `UNKNOWN_DIGEST` in `last_digest`. `troubles`: status and
    last error of those that are not ok.
    """

    web_ids: Sequence[str]
    low: Ints
    high: Ints
    rows: Ints
    last_event: Ints
    last_digest: npt.NDArray[np.uint64]
    ahead_from: Ints | None = None  # None: of no tag
    troubles: Mapping[int, Trouble] = field(default_factory=dict)

    @classmethod
    def of(cls, moves: Sequence[Move]) -> Self:
        ahead = [move.ahead_from for move in moves]
        return cls(
            [move.tag_webid for move in moves],
            np.array([move.low for move in moves], np.int64),
            np.array([move.high for move in moves], np.int64),
            np.array([move.rows for move in moves], np.int64),
            np.array([NEVER if move.last_event is None else move.last_event for move in moves], np.int64),
            np.array([_unsigned(move.last_event_digest) for move in moves], np.uint64),
            None if set(ahead) <= {None} else np.array([NEVER if at is None else at for at in ahead], np.int64),
            {n: trouble for n, move in enumerate(moves) if (trouble := (move.status, move.last_error)) != WELL},
        )

    def __len__(self) -> int:
        return len(self.web_ids)

    def without_repeats(self) -> Iterator[Moves]:
        """Split into parts, in order, in each of which a tag comes once. Nearly always there is one part."""
        if len(set(self.web_ids)) == len(self):
            yield self
            return
        times: Counter[str] = Counter()
        parts: list[list[int]] = []
        for index, web_id in enumerate(self.web_ids):
            if times[web_id] == len(parts):
                parts.append([])
            parts[times[web_id]].append(index)
            times[web_id] += 1
        yield from map(self._select, parts)

    def _select(self, indices: list[int]) -> Moves:
        return Moves(
            [self.web_ids[index] for index in indices],
            self.low[indices],
            self.high[indices],
            self.rows[indices],
            self.last_event[indices],
            self.last_digest[indices],
            None if self.ahead_from is None else self.ahead_from[indices],
            {n: self.troubles[index] for n, index in enumerate(indices) if index in self.troubles},
        )


def _unsigned(digest: int | None) -> int:
    return UNKNOWN_DIGEST if digest is None else digest & _MASK
