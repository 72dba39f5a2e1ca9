"""Watermarks: what is done of a tag, what a commit adds to it, and what comes of the two. Pure.

Imports nothing of the engine. Invariant: the window of a watermark only widens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from .digest import signed

__all__ = ["NEVER", "Ints", "Move", "Moves", "Watermark", "widen"]

Ints = npt.NDArray[np.int64]
# "None" in a column of whole numbers: no time, and the least of all, so that the later of two is the greater.
NEVER: Final = int(np.iinfo(np.int64).min)


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """Events of a tag in `[low, high)` are in the data table. Times are microseconds since 1970, UTC.

    `rows_behind`: of `rows_total`, what was landed by those who read history behind what was done. They and live runs
    are at work at once, and neither sees what the other counts until it begins anew.
    `last_event_digest`: of the rows at `last_event`, as `Digest.signed` gives it; None if it is not known.
    `ahead_from`: of a tag that stores future data, where its present was when it was read last.
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
        """Up to where the tag is done that was over when it was read; what lies ahead of it is forecast."""
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
    """What one commit adds to many tags, as columns: of each what a `Move` with status "ok" says.

    `NEVER` in `last_event` and `ahead_from` is None. `last_digest` counts wherever there is a last event. Of a
    tag that comes more than once the order counts.
    """

    web_ids: Sequence[str]
    low: Ints
    high: Ints
    rows: Ints
    last_event: Ints
    last_digest: npt.NDArray[np.uint64]
    ahead_from: Ints | None = None  # None: of no tag

    @classmethod
    def of(cls, moves: Sequence[Move]) -> Self:
        """Of moves that went well, and know the digest of the last event they know."""
        ahead = [move.ahead_from for move in moves]
        return cls(
            [move.tag_webid for move in moves],
            np.array([move.low for move in moves], np.int64),
            np.array([move.high for move in moves], np.int64),
            np.array([move.rows for move in moves], np.int64),
            np.array([NEVER if move.last_event is None else move.last_event for move in moves], np.int64),
            np.array([move.last_event_digest or 0 for move in moves], np.uint64),
            None if set(ahead) <= {None} else np.array([NEVER if at is None else at for at in ahead], np.int64),
        )

    def __len__(self) -> int:
        return len(self.web_ids)

    def apart(self) -> Iterator[Moves]:
        """In parts, one after the other, in each of which a tag comes once: nearly always that is all of it."""
        if len(set(self.web_ids)) == len(self):
            yield self
            return
        times: Counter[str] = Counter()
        parts: list[list[int]] = []
        for place, web_id in enumerate(self.web_ids):
            if times[web_id] == len(parts):
                parts.append([])
            parts[times[web_id]].append(place)
            times[web_id] += 1
        yield from map(self._taken, parts)

    def _taken(self, places: list[int]) -> Moves:
        return Moves(
            [self.web_ids[place] for place in places],
            self.low[places],
            self.high[places],
            self.rows[places],
            self.last_event[places],
            self.last_digest[places],
            None if self.ahead_from is None else self.ahead_from[places],
        )

    def __iter__(self) -> Iterator[Move]:
        """One by one."""
        ahead_from = [NEVER] * len(self) if self.ahead_from is None else self.ahead_from.tolist()
        for web_id, low, high, rows, last, digest, ahead in zip(
            self.web_ids,
            self.low.tolist(),
            self.high.tolist(),
            self.rows.tolist(),
            self.last_event.tolist(),
            self.last_digest.tolist(),
            ahead_from,
            strict=True,
        ):
            known = last != NEVER
            yield Move(
                *(web_id, low, high, last if known else None, rows),
                last_event_digest=digest if known else None,
                ahead_from=None if ahead == NEVER else ahead,
            )


def widen(before: Watermark | None, move: Move, *, behind: bool = False) -> Watermark:
    """Apply a move; `behind`: of one who reads history. Raises ValueError for a window that leaves a gap: it would
    count as done unread.
    """
    low, high, rows_total = move.low, move.high, move.rows
    rows_behind = move.rows if behind else 0
    if before is not None:
        if move.low == move.high:
            low, high = before.low, before.high
        elif before.low < before.high and (move.low > before.high or move.high < before.low):
            raise ValueError(
                f"the window [{move.low}, {move.high}) of {move.tag_webid} does not touch "
                f"[{before.low}, {before.high}), which is done"
            )
        elif before.low < before.high:
            low, high = min(low, before.low), max(high, before.high)
        rows_total += before.rows_total
        rows_behind += before.rows_behind
    if low > high:
        raise ValueError(f"the window [{move.low}, {move.high}) of {move.tag_webid} ends before it starts")
    last_event, digest = _last(before, move)
    ahead_from = move.ahead_from
    if before is not None and before.ahead_from is not None:
        ahead_from = before.ahead_from if ahead_from is None else max(before.ahead_from, ahead_from)
    return Watermark(
        *(
            move.tag_webid,
            low,
            high,
            last_event,
            rows_total,
            move.status,
            move.last_error,
            digest,
            ahead_from,
            rows_behind,
        )
    )


def _last(before: Watermark | None, move: Move) -> tuple[int | None, int | None]:
    """Choose between the last event that is known and the one that a move reports."""
    digest = None if move.last_event_digest is None else signed(move.last_event_digest)
    if digest == NEVER:  # one in 2^64 has no place in a column; it counts as not known, and rows are summed up instead
        digest = None
    if before is None or before.last_event is None:
        return move.last_event, digest if move.last_event is not None else None
    known = before.last_event, before.last_event_digest
    if move.last_event is None or move.last_event < before.low < before.high:
        return known  # what was done already is younger than an event that lies below it
    decides = move.high >= before.high or move.last_event >= before.last_event
    return (move.last_event, digest) if decides else known
