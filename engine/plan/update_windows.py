"""What messages of stream updates mean: windows in which the source may differ from what was read. Pure.

A message says that something happened at an instant. It does not say whether we have read it already, so an event that
is added, inserted, changed or deleted is treated alike: its instant is made a window, and `clip` keeps the part that is
done. The newest event of a tag usually lies beyond that, and the next run reads it anyway.

Invariant: every message lies in a window of the tag. Joining and capping widen windows, and leave none out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..model import Micros, Window

# An action and the microsecond it concerns.
UpdateMessage = tuple[str, Micros]

# After every instant PI can write: 10000-01-01.
FOREVER: Micros = 253_402_300_800 * 1_000_000
# Windows closer than this are read in one piece: a request costs more than the events between them.
JOIN_WITHIN: Micros = 60 * 1_000_000
MOST_WINDOWS = 16

# One event came, went or changed. After anything else (`Refresh`, or a word of a later release)
# what follows cannot be relied on.
_OF_ONE_EVENT = frozenset(("Add", "Insert", "Update", "Delete"))


def windows_of(messages: Iterable[UpdateMessage]) -> tuple[Window, ...]:
    """The windows that hold all messages of a tag: in order, apart, and at most `MOST_WINDOWS`."""
    return _capped(_joined((at, at + 1 if action in _OF_ONE_EVENT else FOREVER) for action, at in messages))


def clip(found: Iterable[Window], done: Window) -> tuple[Window, ...]:
    """What of these windows was read already, with `done` being what is done of the tag."""
    inside = (Window(max(one.start, done.start), min(one.end, done.end)) for one in found)
    return tuple(one for one in inside if one.start < one.end)


def _joined(touched: Iterable[tuple[Micros, Micros]]) -> list[Window]:
    """Windows in order; those close to each other are one."""
    joined: list[Window] = []
    first = last = None
    for start, end in sorted(touched):
        if first is None or last is None:
            first, last = start, end
        elif start - last < JOIN_WITHIN:
            last = max(last, end)
        else:
            joined.append(Window(first, last))
            first, last = start, end
    return joined if first is None or last is None else [*joined, Window(first, last)]


def _capped(apart: Sequence[Window]) -> tuple[Window, ...]:
    """No more windows than are worth a request each: the shortest breaks between them are filled in."""
    if len(apart) <= MOST_WINDOWS:
        return tuple(apart)
    breaks = sorted(range(1, len(apart)), key=lambda n: apart[n].start - apart[n - 1].end)
    kept = sorted(breaks[-(MOST_WINDOWS - 1) :])
    edges = zip([0, *kept], [*kept, len(apart)], strict=True)
    return tuple(Window(apart[first].start, apart[last - 1].end) for first, last in edges)
