"""Verifying: what is done and settled is counted at the source and in the table, and compared.

Settled is what no run looks at again by itself. What lies behind it (the lookback, and the newest event of a
tag, which is provisional) is compared by every run, and would only seem to disagree until the next one.
The work of `verify`, without its words. Cheap at both ends: the source sends a number for each tag and day,
of the table three columns are read, and memory is bounded by slices of time. Changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from config import Config, Instant
from config.errors import ConfigurationError
from writers import PI_TIMESERIES, Watermark
from writers.counts import DayCounts, count_at, count_days

from ..clock import monotonic
from ..datasets.counts import CountSource, asks_for
from ..datasets.recorded import SAMPLE_TAGS, SAMPLE_VALUES, choose_mode
from ..datasets.tags import find_tags
from ..model import Ask, Micros, Tag, Window
from ..piweb.counts import Times, days_of
from ..plan.agreement import (
    NO_DATA,
    NOT_ASKED,
    NOT_COUNTED,
    Agreement,
    Disagreement,
    Rule,
    Suspect,
    Unknown,
    by_rounding,
    runs,
    suspects,
)
from ..plan.overlap import begin
from ..plan.timeline import DAY, SECOND
from ..wiring import Connection, connect, lakehouse_of, limits_of, settled_ends, watermarks_of
from .patterns import matcher

__all__ = [
    "Cost",
    "Scope",
    "Uncounted",
    "Verification",
    "done_windows",
    "everything",
    "is_closed",
    "slices",
    "verify",
]

LOG = logging.getLogger("osipi.verify")
# Tags times days that are compared at once; each takes some 50 bytes meanwhile.
_CELLS = 2_000_000
_NO_COUNT = "the server gives no count of its events"
_HAS_EVENTS = "the server counts none where it has events"
_MINUTE: Micros = 60 * SECOND
# Where no count is to be had, or may be one of rounded times, so many events are read and counted here at most:
# altogether, and as the first of those on a stretch of days where the table holds none.
_READ_EVENTS, _FIRST_EVENTS = 2_000_000, 100
# So many tasks wait for their turn at once.
_IN_TURN = 1_000

Int32s = npt.NDArray[np.int32]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is verified: of the tags a configuration selects those of `patterns` (all, without any), in a window.

    What is forecast changes until its time has come, and every run compares it. So without an `end` what lies ahead
    of a tag's present is left out.
    """

    start: Instant | None = None
    end: Instant | None = None
    patterns: tuple[str, ...] = ()

    def window(self, now: Micros) -> Window | None:
        """Everything, the window from `start` to `end`, or None if that is empty."""
        start = -(1 << 62) if self.start is None else self.start.micros(now)
        end = 1 << 62 if self.end is None else self.end.micros(now)
        return Window(start, end) if start < end else None

    def takes(self, tag: Tag) -> bool:
        return not self.patterns or tag.web_id in self.patterns or matcher(self.patterns)(tag.name)


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took."""

    requests: int
    retries: int
    throttled: int
    bytes_received: int
    seconds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.requests + other.requests,
            self.retries + other.retries,
            self.throttled + other.throttled,
            self.bytes_received + other.bytes_received,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A tag of which `days` out of `of_days` could not be compared, and why."""

    tag: Tag
    reason: str
    days: int
    of_days: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it.

    `days` of tags, with `events` in the table, were compared; `by_day` holds each day since 1970 with the
    tags compared and those that disagree; `uncounted` the tags of which days could not be compared, and why;
    `holes` the days that disagree where something is known not to have been read; `unread` how many of the tags in
    scope have nothing there to compare, `left_to_runs` of how many every run compares all that is done itself;
    `ahead` of how many of those compared what is forecast was left out.
    """

    pipeline: str
    tags: tuple[Tag, ...]
    windows: tuple[Window, ...]
    unread: int
    days: int
    events: int
    disagreements: tuple[Disagreement, ...]
    by_day: tuple[tuple[int, int, int], ...]
    rules: Mapping[str, Rule]
    uncounted: tuple[Uncounted, ...]
    cost: Cost
    ahead: int = 0
    holes: tuple[Disagreement, ...] = ()
    left_to_runs: int = 0

    @property
    def days_uncounted(self) -> int:
        return sum(each.days for each in self.uncounted)

    def suspects(self) -> tuple[Suspect, ...]:
        """The windows that have to be read again."""
        return suspects(self.disagreements)

    @property
    def exit_code(self) -> int:
        """0 if all was compared and agrees, or there was nothing to compare."""
        return 1 if self.disagreements or self.holes or self.uncounted else 0


async def verify(config: Config, scope: Scope) -> Verification:
    """Count and compare. Raises what the source and the destination raise."""
    began = monotonic()
    # The watermarks first: what lands after they were read is beyond them, and not compared.
    marks = await asyncio.to_thread(watermarks_of, config)
    async with connect(config) as source:
        chosen, tags, windows = await _in_scope(config, scope, source, marks, partial(_counted_ends, config, marks))
        holes = {web_id: [Window(hole.start, hole.end) for hole in found] for web_id, found in marks.holes.items()}
        agreement = Agreement(tags, windows, holes)
        reasons: dict[str, str] = {}
        if tags:
            comparison = _Comparison(config, source, marks, agreement, tags=tags, windows=windows)
            reasons = await comparison.carry_out()
        stats = source.client.statistics()
    compared = {tag.web_id for tag in tags}
    left_to_runs = sum(tag.web_id not in compared and _is_done(marks.get(tag.web_id)) for tag in chosen)
    return Verification(
        pipeline=config.pipeline,
        tags=tags,
        windows=windows,
        unread=len(chosen) - len(tags) - left_to_runs,
        days=agreement.days,
        events=agreement.events,
        disagreements=tuple(agreement.disagreements()),
        by_day=tuple(agreement.by_day()),
        rules=agreement.rules(),
        uncounted=tuple(_named(each, reasons) for each in agreement.unknown()),
        cost=Cost(stats.requests, stats.retries, stats.throttled, stats.bytes_received, monotonic() - began),
        ahead=sum(mark.present < mark.high for mark in (marks[tag.web_id] for tag in tags)),
        holes=tuple(agreement.holes()),
        left_to_runs=left_to_runs,
    )


def _named(each: Unknown, reasons: Mapping[str, str]) -> Uncounted:
    return Uncounted(each.tag, reasons.get(each.tag.web_id, _NO_COUNT), each.days, each.of_days)


def _is_done(mark: Watermark | None) -> bool:
    return mark is not None and mark.low < mark.high


def is_closed(mark: Watermark, end_date: Micros | None, present: Micros) -> bool:
    """Whether no run looks at a tag again: it is done up to an end that does not move, and that is over."""
    return end_date is not None and end_date <= present and mark.high >= end_date and mark.present >= mark.high


def _counted_ends(config: Config, marks: Mapping[str, Watermark], now: Micros) -> Callable[[Tag], Micros]:
    """Where counting ends of a tag: where it is settled, or a bit earlier, so that many tags share a request, and so
    that a server which rounds times counts up to there. Of one that no run looks at again: where it is done.
    """
    settled = settled_ends(config, marks)
    extraction = config.extraction
    end_date = None if extraction.end_date is None else extraction.end_date.fixed
    present = now - extraction.lag // timedelta(microseconds=1)

    def end_of(tag: Tag) -> Micros:
        mark, end = marks[tag.web_id], settled(tag)
        if is_closed(mark, end_date, present):
            return mark.high
        if mark.high - end < DAY:
            end = begin(mark.low, mark.high, end, rate=0.0)
        whole = end - end % _MINUTE
        return whole if whole > mark.low else end

    return end_of


async def everything(config: Config, scope: Scope) -> tuple[Suspect, ...]:
    """All that is done in scope, as if it were suspect. Raises what the source and the destination raise."""
    marks = await asyncio.to_thread(watermarks_of, config)

    def end_of(tag: Tag) -> Micros:
        mark = marks[tag.web_id]
        return mark.present if scope.end is None else mark.high

    async with connect(config) as source:
        _, tags, windows = await _in_scope(config, scope, source, marks, lambda _: end_of)
    return tuple(zip(tags, windows, strict=True))


async def _in_scope(
    config: Config,
    scope: Scope,
    source: Connection,
    marks: Mapping[str, Watermark],
    ends_at: Callable[[Micros], Callable[[Tag], Micros]],
) -> tuple[list[Tag], tuple[Tag, ...], tuple[Window, ...]]:
    """The tags in scope, and of those of which something is done there, that up to an end, which may follow from the
    server's clock.
    """
    inventory = (await find_tags(source.client, config.extraction)).insist()
    chosen = [tag for tag in inventory.tags if scope.takes(tag)]
    if scope.patterns and not chosen:
        raise ConfigurationError(
            "--tags: none of the tags that the configuration selects is so called",
            hint="`tags` lists them; * and ? stand for other letters.",
        )
    now = inventory.server_now
    return chosen, *done_windows(chosen, marks, scope.window(now), ends_at(now))


def done_windows(
    chosen: Sequence[Tag], marks: Mapping[str, Watermark], within: Window | None, end_of: Callable[[Tag], Micros]
) -> tuple[tuple[Tag, ...], tuple[Window, ...]]:
    """The tags of which something is done within a window and before the end of each, and what that is."""
    found: list[tuple[Tag, Window]] = []
    for tag in chosen:
        mark = marks.get(tag.web_id)
        if mark is None or within is None:
            continue
        window = Window(max(mark.low, within.start), min(end_of(tag), within.end))
        if window.start < window.end:
            found.append((tag, window))
    return tuple(tag for tag, _ in found), tuple(window for _, window in found)


def slices(windows: Sequence[Window], *, cells: int = _CELLS) -> Iterator[tuple[int, int]]:
    """The days since 1970 that windows touch, in portions: the first day, and how many."""
    if not windows:
        return
    first, last = min(w.start for w in windows) // DAY, (max(w.end for w in windows) - 1) // DAY
    size = max(1, cells // len(windows))
    for day in range(first, last + 1, size):
        yield day, min(size, last + 1 - day)


class _Comparison:
    """One comparison at work: counts of both, slice by slice, and a closer look where they leave a question."""

    def __init__(
        self,
        config: Config,
        source: Connection,
        marks: Mapping[str, Watermark],
        agreement: Agreement,
        *,
        tags: Sequence[Tag],
        windows: Sequence[Window],
    ) -> None:
        self._config, self._source, self._marks, self._agreement = config, source, marks, agreement
        self._tags, self._windows = tags, windows
        self._workers = config.pi_web_api.max_in_flight
        self._events_left = _READ_EVENTS
        self._reasons: dict[str, str] = {}

    async def carry_out(self) -> dict[str, str]:
        """Compare. Gives why days of tags could not be compared, by WebID, where it is not for want of a count."""
        config, tags, windows = self._config, self._tags, self._windows
        sample = [Ask(tag, windows[0].start, windows[0].end, SAMPLE_VALUES) for tag in tags[:SAMPLE_TAGS]]
        mode = await choose_mode(self._source.client, self._source.url, config.extraction.request_mode, sample)
        self._limits = limits_of(config, mode)
        self._counter = CountSource(
            self._source.client, self._source.url, mode, self._limits, workers=config.pi_web_api.max_in_flight
        )
        lakehouse = await asyncio.to_thread(lakehouse_of, config)
        starts = np.array([window.start for window in windows], np.int64)
        ends = np.array([window.end for window in windows], np.int64)
        web_ids = [tag.web_id for tag in tags]
        for first_day, days in slices(windows):
            count_table = partial(count_days, starts=starts, ends=ends, first_day=first_day, days=days)
            counted, held = await asyncio.gather(
                self._count_source(first_day, days),
                asyncio.to_thread(count_table, lakehouse.table(PI_TIMESERIES), web_ids),
            )
            await self._ask_again(first_day, counted, held)
            self._agreement.add(first_day, counted, held.rows, held.good)
            LOG.debug("compared %d tags on %d days from day %d on", len(tags), days, first_day)
        doubtful = [each for each in self._agreement.disagreements() if each.counted > each.good or _is_odd(each)]
        at_ends = [(each.tag.web_id, each.end) for each in doubtful]
        held_there = await asyncio.to_thread(count_at, lakehouse.table(PI_TIMESERIES), at_ends)
        await self._read_doubtful(doubtful, held_there)
        told = {**self._counter.reasons, **self._counter.refused}
        return {**{web_id: str(error) for web_id, error in told.items()}, **self._reasons}

    async def _count_source(self, first_day: int, days: int) -> Int32s:
        """What the source counts of each tag on some days."""
        found = np.full((len(self._tags), days), NOT_ASKED, np.int32)
        places = {tag.web_id: place for place, tag in enumerate(self._tags)}
        begin, end = first_day * DAY, (first_day + days) * DAY
        asks = (
            ask
            for tag, window in zip(self._tags, self._windows, strict=True)
            for ask in asks_for(tag, Window(max(window.start, begin), min(window.end, end)), self._limits)
        )
        async for counted in self._counter.counts(asks):
            day = counted.ask.start // DAY - first_day
            found[places[counted.ask.tag.web_id], day : day + len(counted.days)] = counted.days
        return found

    async def _ask_again(self, first_day: int, counted: Int32s, held: DayCounts) -> None:
        """Where the server gave no count: ask for one again if the table holds something good there; else, for a
        server may leave out what has no events, see whether it has any. `counted` gets what was found.
        """
        withheld = counted == NOT_COUNTED
        if not withheld.any():
            return

        def put(place: int, start: Micros, days: Sequence[int]) -> None:
            first = start // DAY - first_day
            counted[place, first : first + len(days)] = days

        asks = self._asks(withheld & (held.good > 0), first_day)
        tasks = (partial(self._counter.once_more, ask) for _, ask in asks)
        for (place, ask), found in zip(asks, await self._in_turn(tasks), strict=True):
            put(place, ask.start, found.days)
        # Bad events alone: a server that counts good ones has nothing to calculate with.
        for place, day in np.argwhere(withheld & (held.rows > 0) & (held.good == 0)).tolist():
            window, start = self._windows[place], (first_day + day) * DAY
            rows = int(held.rows[place, day])
            start, end = max(window.start, start), min(window.end, start + DAY)
            found_there = await self._read(self._tags[place], start, end, rows)
            if found_there is not None:
                put(place, start, [NO_DATA if len(found_there.at) == rows else len(found_there.at)])
        await self._look(self._asks(withheld & (held.rows == 0), first_day), put)

    def _asks(self, which: npt.NDArray[np.bool_], first_day: int) -> list[tuple[int, Ask]]:
        """The days that are marked, those that follow each other as one ask; with the places of their tags."""
        return [
            (place, Ask(self._tags[place], part.start, part.end, _FIRST_EVENTS))
            for place, window in runs(which, self._windows, first_day)
            for part in asks_for(self._tags[place], window, self._limits)
        ]

    async def _look(self, asks: list[tuple[int, Ask]], put: Callable[[int, Micros, Sequence[int]], None]) -> None:
        """See whether there is anything at the source where the table holds nothing; of many events, the first."""
        while asks:
            found = await self._counter.times([Ask(ask.tag, ask.start, ask.end, _FIRST_EVENTS) for _, ask in asks])
            rest: list[tuple[int, Ask]] = []
            for (place, ask), times in zip(asks, found, strict=True):
                if times.error is not None:
                    self._reasons.setdefault(ask.tag.web_id, f"{_NO_COUNT}, and to read them fails: {times.error}")
                    continue
                days = np.bincount([(at - _midnight(ask.start)) // DAY for at in times.at], minlength=days_of(ask))
                # Up to the day of the last event of a full page all is known that matters.
                known = (times.at[-1] - _midnight(ask.start)) // DAY + 1 if times.full and times.at else len(days)
                put(place, ask.start, [int(n) or NO_DATA for n in days[:known]])
                start = _midnight(ask.start) + known * DAY
                if start < ask.end:
                    rest.append((place, Ask(ask.tag, start, ask.end, _FIRST_EVENTS)))
            asks = rest

    async def _read_doubtful(self, doubtful: Sequence[Disagreement], held_there: Sequence[tuple[int, int]]) -> None:
        """Read what a rounded time may explain, the shortest first, and hold the events themselves against the table."""
        chosen = [
            each
            for each, (rows, good) in zip(doubtful, held_there, strict=True)
            if each.counted == 0
            or by_rounding(each, rows if each.end < self._marks[each.tag.web_id].high else None, good)
        ]
        chosen.sort(key=lambda each: max(each.counted, each.rows))
        agreeing: list[Disagreement] = []
        withheld: list[Disagreement] = []
        reads = (partial(self._read, each.tag, each.start, each.end, max(each.counted, each.rows)) for each in chosen)
        for each, found in zip(chosen, await self._in_turn(reads), strict=True):
            if found is None or (len(found.at), sum(found.good)) != (each.rows, each.good):
                continue
            (withheld if each.counted == 0 else agreeing).append(each)
        self._agreement.clear(agreeing, compared=True)
        self._agreement.clear(withheld, compared=False)
        self._reasons.update({each.tag.web_id: _HAS_EVENTS for each in withheld})

    async def _read(self, tag: Tag, start: Micros, end: Micros, expected: int) -> Times | None:
        """The events in a window; None where they are too many, or not to be had."""
        if expected > self._events_left:
            return None
        self._events_left -= expected
        most = min(self._limits.max_count_per_tag, self._limits.values_per_answer)
        times = await self._counter.all_times(Ask(tag, start, end, most))
        return times if times.error is None else None

    async def _in_turn(self, tasks: Iterable[Callable[[], Awaitable[_T]]]) -> list[_T]:
        """What tasks give, of which some are at work at a time."""
        gate = asyncio.Semaphore(self._workers)

        async def one(task: Callable[[], Awaitable[_T]]) -> _T:
            async with gate:
                return await task()

        found: list[_T] = []
        waiting = iter(tasks)
        while pile := list(islice(waiting, _IN_TURN)):
            found += await asyncio.gather(*map(one, pile))
        return found


def _midnight(at: Micros) -> Micros:
    return at // DAY * DAY


def _is_odd(each: Disagreement) -> bool:
    """Whether a count may be one of rounded times, or none at all, though it is too small."""
    return each.counted == 0 or bool(each.start % _MINUTE or each.end % _MINUTE)
