"""What happened to a stream between two instants, as the data pipe of the archive words it.

Imports only the pure parts. Nothing was buffered: what was visible then is held against what is
visible now, wherever a change was made, and events that came since are read off the signal.
Compression goes unreported, so a client may have been told of events that no archive holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest

from .history import FOREVER, History
from .sampling import no_data
from .values import Event

__all__ = ["News", "Overflow", "news"]

_ARCHIVED, _COMPRESSED, _NONE = "PreviousEventArchived", "PreviousEventDiscarded", "None"


class Overflow(Exception):  # noqa: N818 - it happened on the server, and costs the client its marker
    """More happened than the server would have kept."""


@dataclass(frozen=True, slots=True)
class News:
    """One message: what happened (`Add`, `Insert`, `Update`, `Delete`, `Refresh`), to the snapshot, and to which event."""

    action: str
    previous: str
    event: Event


def news(history: History, index: int, *, since: int, known: int, now: int, most: int, refresh_over: int) -> list[News]:
    """All that happened after `since` and after the first `known` changes, edits before new events.

    Raises:
        Overflow: that is more than `most` messages.
    """
    told = list(
        chain.from_iterable(
            _edited(history, index, start, end, since=since, known=known, now=now, refresh_over=refresh_over)
            for start, end in _touched(history, index, since=since, known=known, now=now)
        )
    )
    found = history.signal(index)
    if len(told) + found.until(now) - found.until(since) > most:
        raise Overflow
    if not history.is_future(index):
        told += _added(history, index, since, now)
    if len(told) > most:
        raise Overflow
    return told


def _touched(history: History, index: int, *, since: int, known: int, now: int) -> Iterator[tuple[int, int]]:
    """Where in the part already told a change was made or came to light, without overlaps.

    Of a tag that stores future data everything ahead was told, and all of it may have been forecast anew.
    """
    told_until = since + 1
    changed = [
        (change.start, change.end)
        for number, change in enumerate(history.changes(index))
        if number >= known or since < change.visible_at <= now
    ]
    if history.is_future(index):
        changed.append((told_until, history.horizon(index, now) + 1))
        told_until = FOREVER
    changed = sorted((first, min(end, told_until)) for first, end in changed)
    start = end = None
    for first, last in changed:
        if start is None or end is None:
            start, end = first, last
        elif first <= end:
            end = max(end, last)
        else:
            yield start, end
            start, end = first, last
    if start is not None and end is not None:
        yield start, end


def _edited(
    history: History, index: int, start: int, end: int, *, since: int, known: int, now: int, refresh_over: int
) -> Iterator[News]:
    start = max(start, history.lowest(index, now))
    if start >= end:
        return
    found = history.signal(index)
    if found.before(end) - found.before(start) > refresh_over:
        yield News("Refresh", _NONE, no_data(start))
        return
    before: dict[int, list[Event]] = defaultdict(list)
    after: dict[int, list[Event]] = defaultdict(list)
    for event in history.window(index, start, end - 1, since, known=known, compress=False):
        before[event.ticks].append(event)
    for event in history.window(index, start, end - 1, now, compress=False):
        after[event.ticks].append(event)
    for ticks in sorted(before.keys() | after.keys()):
        for was, becomes in zip_longest(before[ticks], after[ticks]):
            if was is None:
                yield News("Insert", _NONE, becomes)
            elif becomes is None:
                yield News("Delete", _NONE, was)
            elif was != becomes:
                yield News("Update", _NONE, becomes)


def _added(history: History, index: int, since: int, now: int) -> list[News]:
    """Events that came since, each the latest in its turn, be it compressed away by now or not."""
    came = history.window(index, since + 1, now, now, compress=False)
    if not came:
        return []
    first = history.last(index, since, since)
    if history.plain(index):
        start = [News("Add", _ARCHIVED if first else _NONE, came[0])]
        return start + [News("Add", _ARCHIVED, event) for event in came[1:]]
    kept = {event.ticks for event in history.window(index, first.ticks if first else since, now, now)}
    line = [*([first] if first else []), *came]
    told = [] if first else [News("Add", _NONE, came[0])]
    for previous, event in pairwise(line):
        told.append(News("Add", _ARCHIVED if previous.ticks in kept else _COMPRESSED, event))
    return told
