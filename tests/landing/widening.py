"""What a move makes of one watermark, written down one by one: what moving many at once is compared with."""

from __future__ import annotations

from writers.row_hash import signed
from writers.watermarks.model import NEVER, UNKNOWN_DIGEST, WELL, Move, Moves, Watermark

__all__ = ["moves_in", "widen"]


def widen(before: Watermark | None, move: Move, *, behind: bool = False) -> Watermark:
    """Apply a move; `behind`: of a backfill. Raises ValueError for a window that leaves a gap: the gap would count as
    done, although nobody has read it.
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


def moves_in(moves: Moves) -> list[Move]:
    """Read moves back one by one."""
    ahead_from = [NEVER] * len(moves) if moves.ahead_from is None else moves.ahead_from.tolist()
    columns = (moves.low, moves.high, moves.last_event, moves.rows, moves.last_digest)
    each = zip(moves.web_ids, *(column.tolist() for column in columns), ahead_from, strict=True)
    return [
        Move(
            *(web_id, low, high, None if last == NEVER else last, rows),
            *moves.troubles.get(n, WELL),
            last_event_digest=None if last == NEVER or digest == UNKNOWN_DIGEST else digest,
            ahead_from=None if ahead == NEVER else ahead,
        )
        for n, (web_id, low, high, last, rows, digest, ahead) in enumerate(each)
    ]
