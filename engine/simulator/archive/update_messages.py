"""The update messages of a stream: what happened to it between two instants.

Nothing is buffered. Where history was changed, the events visible then are compared with those visible now. New events
come from the signal. Compression is not reported, so a client may know events that the archive no longer holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest

from .history import FOREVER, History
from .sampling import no_data
from .values import Event

_ARCHIVED, _COMPRESSED, _NONE = "PreviousEventArchived", "PreviousEventDiscarded", "None"


class Overflow(Exception):  # noqa: N818 - a state of the server, on which the client loses its marker
    """There are more messages than the server would have buffered."""


@dataclass(frozen=True, slots=True)
class UpdateMessage:
    """What happened (`Add`, `Insert`, `Update`, `Delete`, `Refresh`), what became of the snapshot, and the event."""

    action: str
    previous: str
    event: Event


def update_messages(
    history: History, index: int, *, since: int, known: int, now: int, most: int, refresh_over: int
) -> list[UpdateMessage]:
    """All messages after `since` and after the first `known` changes. Edits come before new events.

    Raises:
        Overflow: there are more than `most` messages.
    """
    messages = list(
        chain.from_iterable(
            _edited(history, index, start, end, since=since, known=known, now=now, refresh_over=refresh_over)
            for start, end in _touched(history, index, since=since, known=known, now=now)
        )
    )
    found = history.signal(index)
    if len(messages) + found.until(now) - found.until(since) > most:
        raise Overflow
    if not history.is_future(index):
        messages += _added(history, index, since, now)
    if len(messages) > most:
        raise Overflow
    return messages


def _touched(history: History, index: int, *, since: int, known: int, now: int) -> Iterator[tuple[int, int]]:
    """The ranges, without overlaps, in which something that the client knows has changed since.

    Of a tag that stores future data the client knows all that lies ahead, and all of it may have been forecast again.
    """
    known_until = since + 1
    changed = [
        (change.start, change.end)
        for number, change in enumerate(history.changes(index))
        if number >= known or since < change.visible_at <= now
    ]
    if history.is_future(index):
        changed.append((known_until, history.horizon(index, now) + 1))
        known_until = FOREVER
    changed = sorted((first, min(end, known_until)) for first, end in changed)
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
) -> Iterator[UpdateMessage]:
    start = max(start, history.lowest(index, now))
    if start >= end:
        return
    found = history.signal(index)
    if found.before(end) - found.before(start) > refresh_over:
        yield UpdateMessage("Refresh", _NONE, no_data(start))
        return
    before: dict[int, list[Event]] = defaultdict(list)
    after: dict[int, list[Event]] = defaultdict(list)
    for event in history.window(index, start, end - 1, since, known=known, compress=False):
        before[event.ticks].append(event)
    for event in history.window(index, start, end - 1, now, compress=False):
        after[event.ticks].append(event)
    for ticks in sorted(before.keys() | after.keys()):
        for old, new in zip_longest(before[ticks], after[ticks]):
            if old is None:
                yield UpdateMessage("Insert", _NONE, new)
            elif new is None:
                yield UpdateMessage("Delete", _NONE, old)
            elif old != new:
                yield UpdateMessage("Update", _NONE, new)


def _added(history: History, index: int, since: int, now: int) -> list[UpdateMessage]:
    """New events, in order, including those that compression has removed since."""
    came = history.window(index, since + 1, now, now, compress=False)
    if not came:
        return []
    first = history.last(index, since, since)
    if history.plain(index):
        start = [UpdateMessage("Add", _ARCHIVED if first else _NONE, came[0])]
        return start + [UpdateMessage("Add", _ARCHIVED, event) for event in came[1:]]
    kept = {event.ticks for event in history.window(index, first.ticks if first else since, now, now)}
    line = [*([first] if first else []), *came]
    messages = [] if first else [UpdateMessage("Add", _NONE, came[0])]
    for previous, event in pairwise(line):
        messages.append(UpdateMessage("Add", _ARCHIVED if previous.ticks in kept else _COMPRESSED, event))
    return messages
