"""What of a tag is compared again with the source, and what it is expected to show. Pure.

The newest event of a tag is provisional. The archive may drop it when a newer one arrives (compression), however old it
is, or may show an event late. So a cursor begins at the last known event, and what the source shows there is compared
with a digest of what the table holds. With a lookback, more of the past is compared. Invariant: what is compared ends
where what is done ends.
"""

from __future__ import annotations

import msgspec

from ..model import Micros, Window

DIGEST_MASK = (1 << 64) - 1
# The shortest stretch to be read again, as a power of two in microseconds: 4.2 s.
_SHORTEST = 22
# So many events may be read again in vain, so that tags share a request.
_IN_VAIN = 32


class WatermarkState(msgspec.Struct, frozen=True, gc=False):
    """What a watermark says of a tag: `[low, high)` is done; `last_digest` sums up the rows at `last_event`."""

    low: Micros
    high: Micros
    last_event: Micros | None = None
    last_digest: int | None = None


class Overlap(msgspec.Struct, frozen=True, gc=False):
    """The table holds rows of this digest from `start` to the end of what is done.

    `demanded`: to be compared even where there is nothing new to be read. `quiet`: they are all at `start`.
    """

    start: Micros
    digest: int
    demanded: bool = False
    quiet: bool = False


def window_to_sum(known: WatermarkState, lookback: Micros) -> Window | None:
    """The window whose rows in the table have to be summed up before `overlap_of` can tell; None: nothing."""
    if known.low >= known.high:
        return None
    if lookback > 0:
        return Window(max(known.low, known.high - lookback), known.high)
    if known.last_event is not None and known.last_digest is None and known.last_event < known.high:
        return Window(max(known.low, known.last_event), known.high)
    return None


def overlap_of(known: WatermarkState, lookback: Micros, summed: int) -> Overlap | None:
    """What to compare of a tag; `summed` is the digest of `window_to_sum`'s rows (0 for no window, or no rows).

    None: nothing is done yet, so there is nothing to compare.
    """
    if known.low >= known.high:
        return None
    window = window_to_sum(known, lookback)
    since = known.high if window is None else window.start
    if known.last_event is None:
        # All that is done is compared: it costs next to nothing to hear that it is still empty, and an only event
        # that was kept back until there was a newer one may be of any age.
        return Overlap(known.low, summed & DIGEST_MASK, lookback > 0, quiet=True)
    if known.last_event >= since or known.last_digest is None:
        return Overlap(since, summed & DIGEST_MASK, lookback > 0)
    start = max(known.low, known.last_event)
    return Overlap(start, (summed + known.last_digest) & DIGEST_MASK, lookback > 0, quiet=True)


def final_until(known: WatermarkState, lookback: Micros) -> Micros:
    """Up to where no run looks again by itself: overlaps begin here, or later. It never falls as runs go on.

    (The last event may go back, but no further than to where an overlap began, or a hint of the server led.)
    """
    if known.last_event is None:
        return known.low
    return max(known.low, min(known.last_event, known.high - max(0, lookback)))


def reading_start(known_low: Micros, high: Micros, start: Micros, rate: float) -> Micros:
    """Where to begin, to see everything from `start` on. `rate`: events per microsecond, so far.

    A bit earlier, so that many tags begin together and share a request: as far before `high` as the next power of two.
    But not where that means much: a tag that fell silent months ago may have been a busy one before.
    """
    together = max(known_low, high - (1 << max(_SHORTEST, (high - start - 1).bit_length())))
    return together if rate * (start - together) <= _IN_VAIN else start
