"""What the Spark source reads: offsets of a stream, the tags it knows, windows of tags, and shares of them. Pure.

Invariants: the windows of a micro-batch follow from its two offsets, the tags kept under their marks, and the
configuration. Over any series of offsets, the new windows of a tag cover its time from its beginning to the last offset
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import msgspec

from config import ExtractionConfig
from config.errors import LostStateError

from ..model import Micros, Tag
from ..piweb.times import iso_text, parse_micros
from ..plan.tag_classes import class_of
from ..plan.timeline import HOUR, SECOND

_VERSION = 1
_MICRO = timedelta(microseconds=1)
# So long the server is left alone at least, where nothing more is to come.
_PAUSE: Micros = 10 * SECOND
# What is shorter is not cut: it would cost a request more.
_SHORTEST: Micros = HOUR


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a stream has come: everything before `end` is read, of the tags kept under `mark`.

    `now` is what the clock of the server showed then. A stream begins without all three.
    """

    now: Micros | None = None
    end: Micros | None = None
    mark: str = ""

    def as_json(self) -> dict[str, Any]:
        """As Spark keeps it in the checkpoint. Times are ISO 8601, UTC."""
        now, end = (None if at is None else iso_text(at) for at in (self.now, self.end))
        return {"version": _VERSION, "end": end, "now": now, "tags": self.mark}

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises `LostStateError` for what `as_json` has not made."""
        try:
            version, texts, mark = document["version"], (document["now"], document["end"]), document["tags"]
            now, end = (None if text is None else parse_micros(text) for text in texts)
        except (KeyError, TypeError, ValueError):
            version, now, end, mark = None, None, None, ""
        if version != _VERSION or not isinstance(mark, str) or (now is None) != (end is None):
            raise LostStateError(
                "the checkpoint of the stream holds an offset that this version does not know",
                hint="Was it written by another source, or by a newer version? Begin a new checkpoint, with start_date where "
                "the old one ended.",
            )
        return cls(now, end, mark)


class StreamTag(msgspec.Struct, frozen=True):
    """A tag that a stream knows. `left_at`: it is read up to there, and no further, since it is not there any more."""

    tag: Tag
    left_at: Micros | None = None


class TagWindow(msgspec.Struct, frozen=True):
    """Half-open `[start, end)` of a tag. What lies before `new_from` was read before."""

    tag: Tag
    start: Micros
    end: Micros
    new_from: Micros


def next_end(extraction: ExtractionConfig, known: Offset, now: Micros) -> Micros | None:
    """Where the next micro-batch ends: never beyond the server's `now` less the lag; None: it is too early for one.

    Micro-batches are `extraction.interval` apart, but for the last one before `end_date`.
    """
    wanted_end = None if extraction.end_date is None else extraction.end_date.micros(now)
    end = now - extraction.lag // _MICRO
    if wanted_end is not None and end >= wanted_end:
        end = wanted_end
        interval = 1
    else:
        interval = extraction.interval // _MICRO
    if known.end is not None and end - known.end < interval:
        return None
    return end


def secs_to_next(extraction: ExtractionConfig, end: Micros, now: Micros) -> float:
    """In how many seconds it is worth asking the server again, whose clock shows `now`, if the last micro-batch ends at `end`.

    Spark looks for data many times a second.
    """
    interval = extraction.interval // _MICRO
    due = end + interval + extraction.lag // _MICRO
    return max(due - now, min(interval, _PAUSE)) / SECOND


def tags_after(
    known: Iterable[StreamTag], listed: Iterable[Tag], read_to: Micros | None, *, complete: bool
) -> tuple[StreamTag, ...]:
    """The tags that a stream knows, in order of WebID, once these are `listed`; it has read up to `read_to`.

    None is ever forgotten, so that one that comes back goes on where it was left. Without `complete` the list may lack
    tags that are there.
    """
    found = {each.tag.web_id: each for each in known}
    here = {tag.web_id: StreamTag(tag) for tag in listed}
    for web_id, one in found.items():
        if web_id in here:
            # It goes on where it was left, by the mark of the offset before.
            continue
        gone = complete and one.left_at is None
        here[web_id] = StreamTag(one.tag, read_to) if gone else one
    return tuple(here[web_id] for web_id in sorted(here))


def windows_between(
    extraction: ExtractionConfig,
    start: Offset,
    end: Offset,
    before: Iterable[StreamTag],
    after: Iterable[StreamTag],
    *,
    compares: bool,
) -> list[TagWindow]:
    """The windows of the micro-batch between two offsets, which know the tags `before` and `after`.

    A tag that is new begins at `start_date`. With `compares` the lookback of each tag is read again.
    """
    assert end.end is not None  # noqa: S101 - only a stream that has read nothing is without
    assert end.now is not None  # noqa: S101 - the same
    first = extraction.start_date.micros(end.now)
    floor = extraction.start_date.fixed
    read_to = {each.tag.web_id: start.end if each.left_at is None else each.left_at for each in before}
    lookback = _lookback(extraction) if compares else _nothing
    windows = []
    for each in after:
        if each.left_at is not None:
            continue
        known_to = read_to.get(each.tag.web_id)
        new_from = first if known_to is None else known_to
        from_ = new_from if known_to is None else new_from - lookback(each.tag.name)
        if floor is not None:
            new_from, from_ = max(new_from, floor), max(from_, floor)
        if new_from < end.end:
            windows.append(TagWindow(each.tag, from_, end.end, new_from))
    return windows


def windows_of(extraction: ExtractionConfig, tags: Iterable[Tag], now: Micros) -> list[TagWindow]:
    """The windows of a batch: from `start_date` to `end_date`, or to the server's `now` less the lag."""
    start, end = extraction.start_date.micros(now), next_end(extraction, Offset(), now)
    assert end is not None  # noqa: S101 - nothing was read before
    return [TagWindow(tag, start, end, start) for tag in tags] if start < end else []


def shares(windows: Iterable[TagWindow], count: int) -> list[tuple[TagWindow, ...]]:
    """Deal windows out to at most `count` partitions, each with about as much time of tags to read.

    A long window may be cut. Windows that are alike stay together, so that they go into the same requests. The same
    windows in any order give the same shares.
    """
    ordered = sorted(windows, key=lambda each: (each.start, each.end, each.tag.web_id))
    total = sum(each.end - each.start for each in ordered)
    dealt: list[list[TagWindow]] = [[] for _ in range(count)]
    at = 0
    for window in ordered:
        start = window.start
        while start < window.end:
            number = min(count - 1, at * count // total)
            room = -(-total * (number + 1) // count) - at
            fits = number == count - 1 or window.end - start <= room + _SHORTEST
            stop = window.end if fits else start + max(room, _SHORTEST)
            dealt[number].append(msgspec.structs.replace(window, start=start, end=stop))
            at += stop - start
            start = stop
    return [tuple(share) for share in dealt if share]


def _lookback(extraction: ExtractionConfig) -> Callable[[str], Micros]:
    class_named = class_of(extraction)
    return lambda name: class_named(name).lookback_micros


def _nothing(_name: str) -> Micros:
    return 0
