"""Compares the table with the source by counts per tag and day. Changes nothing.

Only what is settled is counted: what no run reads again by itself. The newest part of a tag (the lookback, and its last
event, which is provisional) is compared by every run; here it would seem to disagree until the next run. The source
sends one number for each tag and day, three columns of the table are read, and slices of time bound the memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from config import Config, Instant
from config.errors import ConfigurationError
from writers import PI_TIMESERIES, Watermark
from writers.corrections.day_counts import DayCounts, count_at, count_days

from ...clock import monotonic
from ...datasets.counts import CountSource, asks_for
from ...datasets.request_mode import SAMPLE_TAGS, SAMPLE_VALUES, choose_mode
from ...datasets.tags import selected_tags
from ...model import Ask, Micros, Tag, Window
from ...piweb.counts import EventTimes, days_of
from ...piweb.webid import name_matcher
from ...plan.count_comparison import (
    NO_DATA,
    NOT_ASKED,
    NOT_COUNTED,
    CountComparison,
    CountRule,
    Disagreement,
    SuspectWindow,
    UncomparedTag,
    consecutive_days,
    explained_by_rounding,
    suspect_windows,
)
from ...plan.overlap import reading_start
from ...plan.timeline import DAY, SECOND
from ...run.connect import Connection, connect, lakehouse_of, watermarks_of
from ...run.plans import final_ends, limits_of

LOG = logging.getLogger("osipi.verify")
# Tags times days that are compared at once; each takes some 50 bytes.
_CELLS = 2_000_000
_NO_COUNT = "the server gives no count of its events"
_HAS_EVENTS = "the server counts none where it has events"
_MINUTE: Micros = 60 * SECOND
# Where the server gives no count, or one of rounded times, the events are read and counted here: at most so many in
# all, and at most so many at once on days where the table holds none.
_READ_EVENTS, _FIRST_EVENTS = 2_000_000, 100
# Tasks that exist at once; the workers take them one by one.
_IN_TURN = 1_000

Int32s = npt.NDArray[np.int32]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is verified: the selected tags whose names match `patterns` (without patterns: all), in a window.

    A forecast changes until its time has come, and every run compares it. So without an `end`, what is ahead of a
    tag's present is left out.
    """

    start: Instant | None = None
    end: Instant | None = None
    patterns: tuple[str, ...] = ()

    def window(self, now: Micros) -> Window | None:
        """The window from `start` to `end`, each open if it is None; None if the window is empty."""
        start = -(1 << 62) if self.start is None else self.start.micros(now)
        end = 1 << 62 if self.end is None else self.end.micros(now)
        return Window(start, end) if start < end else None

    def takes(self, tag: Tag) -> bool:
        return not self.patterns or tag.web_id in self.patterns or name_matcher(self.patterns)(tag.name)


@dataclass(frozen=True, slots=True)
class Cost:
    """Requests, bytes and time."""

    requests: int
    retries: int
    throttled: int
    bytes_received: int
    seconds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A tag with days that could not be compared: `days` out of `of_days`, and why."""

    tag: Tag
    reason: str
    days: int
    of_days: int


@dataclass(frozen=True, slots=True)
class CountedDays:
    """The counts behind a comparison: tags on the first axis, days from `first_day` since 1970 on the second.

    `counted`: of the source, or why there is none (`NOT_COUNTED`, `NOT_ASKED`, `NO_DATA`). `held`: of the table.
    """

    first_day: int
    counted: Int32s
    held: DayCounts


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a comparison.

    days: tag-days that were compared, with `events` in the table. by_day: each day since 1970, with the number of tags
    compared and of those that disagree. uncounted: tags with days that could not be compared. holes: days that disagree
    and touch a hole. unread: tags in scope with nothing to compare. left_to_runs: tags that every run compares
    completely. ahead: compared tags whose forecasts were left out. counts: all of them, if they were wanted.
    """

    pipeline: str
    tags: tuple[Tag, ...]
    windows: tuple[Window, ...]
    unread: int
    days: int
    events: int
    disagreements: tuple[Disagreement, ...]
    by_day: tuple[tuple[int, int, int], ...]
    rules: Mapping[str, CountRule]
    uncounted: tuple[Uncounted, ...]
    cost: Cost
    ahead: int = 0
    holes: tuple[Disagreement, ...] = ()
    left_to_runs: int = 0
    counts: tuple[CountedDays, ...] = ()

    @property
    def days_uncounted(self) -> int:
        return sum(each.days for each in self.uncounted)

    def suspects(self) -> tuple[SuspectWindow, ...]:
        """The windows that have to be read again."""
        return suspect_windows(self.disagreements)

    @property
    def exit_code(self) -> int:
        """0 if all was compared and agrees, or there was nothing to compare."""
        return 1 if self.disagreements or self.holes or self.uncounted else 0


async def verify(config: Config, scope: Scope, *, keep_counts: bool = False) -> Verification:
    """Count and compare. `keep_counts`: of a few tags, since each tag and day takes 12 bytes.

    Raises what the source and the destination raise.
    """
    began = monotonic()
    # Watermarks first: rows that land later are beyond them, and not compared.
    watermarks = await asyncio.to_thread(watermarks_of, config)
    async with connect(config) as source:
        chosen, tags, windows = await _in_scope(
            config, scope, source, watermarks, partial(_counted_ends, config, watermarks)
        )
        holes = {web_id: [Window(hole.start, hole.end) for hole in found] for web_id, found in watermarks.holes.items()}
        count_comparison = CountComparison(tags, windows, holes)
        reasons: dict[str, str] = {}
        counts: list[CountedDays] | None = [] if keep_counts else None
        if tags:
            comparison = _Comparison(
                config=config,
                source=source,
                watermarks=watermarks,
                count_comparison=count_comparison,
                tags=tags,
                windows=windows,
                counts=counts,
            )
            reasons = await comparison.carry_out()
        stats = source.client.statistics()
    compared = {tag.web_id for tag in tags}
    left_to_runs = sum(tag.web_id not in compared and _is_done(watermarks.get(tag.web_id)) for tag in chosen)
    return Verification(
        pipeline=config.pipeline,
        tags=tags,
        windows=windows,
        unread=len(chosen) - len(tags) - left_to_runs,
        days=count_comparison.days,
        events=count_comparison.events,
        disagreements=tuple(count_comparison.disagreements()),
        by_day=tuple(count_comparison.by_day()),
        rules=count_comparison.rules(),
        uncounted=tuple(_named(each, reasons) for each in count_comparison.uncompared()),
        cost=Cost(stats.requests, stats.retries, stats.throttled, stats.bytes_received, monotonic() - began),
        ahead=sum(watermark.present < watermark.high for watermark in (watermarks[tag.web_id] for tag in tags)),
        holes=tuple(count_comparison.holes()),
        left_to_runs=left_to_runs,
        counts=tuple(counts or ()),
    )


def _named(each: UncomparedTag, reasons: Mapping[str, str]) -> Uncounted:
    return Uncounted(each.tag, reasons.get(each.tag.web_id, _NO_COUNT), each.days, each.of_days)


def _is_done(watermark: Watermark | None) -> bool:
    return watermark is not None and watermark.low < watermark.high


def is_closed(watermark: Watermark, end_date: Micros | None, present: Micros) -> bool:
    """Whether no run reads a tag again: it is done up to a fixed end that is past."""
    return (
        end_date is not None
        and end_date <= present
        and watermark.high >= end_date
        and watermark.present >= watermark.high
    )


def _counted_ends(config: Config, watermarks: Mapping[str, Watermark], now: Micros) -> Callable[[Tag], Micros]:
    """Up to where each tag is counted: to its settled end, or a bit earlier, so that many tags share a request, and
    so that a server that rounds times counts to the same end. A tag that no run reads again is counted to its end.
    """
    settled = final_ends(config, watermarks)
    extraction = config.extraction
    end_date = None if extraction.end_date is None else extraction.end_date.fixed
    present = now - extraction.lag // timedelta(microseconds=1)

    def end_of(tag: Tag) -> Micros:
        watermark, end = watermarks[tag.web_id], settled(tag)
        if is_closed(watermark, end_date, present):
            return watermark.high
        if watermark.high - end < DAY:
            end = reading_start(watermark.low, watermark.high, end, rate=0.0)
        whole = end - end % _MINUTE
        return whole if whole > watermark.low else end

    return end_of


async def all_suspects(config: Config, scope: Scope) -> tuple[SuspectWindow, ...]:
    """Everything that is done in scope, as suspects. Raises what the source and the destination raise."""
    watermarks = await asyncio.to_thread(watermarks_of, config)

    def end_of(tag: Tag) -> Micros:
        watermark = watermarks[tag.web_id]
        return watermark.present if scope.end is None else watermark.high

    async with connect(config) as source:
        _, tags, windows = await _in_scope(config, scope, source, watermarks, lambda _: end_of)
    return tuple(zip(tags, windows, strict=True))


async def _in_scope(
    config: Config,
    scope: Scope,
    source: Connection,
    watermarks: Mapping[str, Watermark],
    ends_at: Callable[[Micros], Callable[[Tag], Micros]],
) -> tuple[list[Tag], tuple[Tag, ...], tuple[Window, ...]]:
    """The tags in scope; then those with something done there, and their windows. `ends_at` gives, by the server's
    clock, up to where a tag counts.
    """
    inventory = (await selected_tags(source.client, source.url, config)).require_tags()
    chosen = [tag for tag in inventory.tags if scope.takes(tag)]
    if scope.patterns and not chosen:
        raise ConfigurationError(
            "--tags: no tag that the configuration selects has such a name",
            hint="`tags` lists the names; * stands for any text, ? for one character.",
        )
    now = inventory.server_now
    return chosen, *done_windows(chosen, watermarks, scope.window(now), ends_at(now))


def done_windows(
    chosen: Sequence[Tag], watermarks: Mapping[str, Watermark], within: Window | None, end_of: Callable[[Tag], Micros]
) -> tuple[tuple[Tag, ...], tuple[Window, ...]]:
    """The tags with something done inside of a window and before their ends, and the windows that are done."""
    found: list[tuple[Tag, Window]] = []
    for tag in chosen:
        watermark = watermarks.get(tag.web_id)
        if watermark is None or within is None:
            continue
        window = Window(max(watermark.low, within.start), min(end_of(tag), within.end))
        if window.start < window.end:
            found.append((tag, window))
    return tuple(tag for tag, _ in found), tuple(window for _, window in found)


def slices(windows: Sequence[Window], *, cells: int = _CELLS) -> Iterator[tuple[int, int]]:
    """The days since 1970 that windows touch, in slices: the first day, and the number of days."""
    if not windows:
        return
    first, last = min(w.start for w in windows) // DAY, (max(w.end for w in windows) - 1) // DAY
    size = max(1, cells // len(windows))
    for day in range(first, last + 1, size):
        yield day, min(size, last + 1 - day)


@dataclass(kw_only=True)
class _Comparison:
    """One comparison: counts on both sides, slice by slice; then a closer look at what the counts leave open."""

    config: Config
    source: Connection
    watermarks: Mapping[str, Watermark]
    count_comparison: CountComparison
    tags: Sequence[Tag]
    windows: Sequence[Window]
    counts: list[CountedDays] | None = None
    _events_left: int = _READ_EVENTS
    _reasons: dict[str, str] = field(default_factory=dict)

    async def carry_out(self) -> dict[str, str]:
        """Compare. Returns by WebID why days could not be compared, where the reason is not a missing count."""
        config, tags, windows = self.config, self.tags, self.windows
        sample = [Ask(tag, windows[0].start, windows[0].end, SAMPLE_VALUES) for tag in tags[:SAMPLE_TAGS]]
        mode = await choose_mode(self.source.client, self.source.url, config.extraction.request_mode, sample)
        self._limits = limits_of(config, mode)
        self._counter = CountSource(
            self.source.client, self.source.url, mode, self._limits, workers=config.pi_web_api.max_in_flight
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
            self.count_comparison.add(first_day, counted, held.rows, held.good)
            if self.counts is not None:
                self.counts.append(CountedDays(first_day, counted, held))
            LOG.debug("compared %d tags on %d days from day %d on", len(tags), days, first_day)
        doubtful = [each for each in self.count_comparison.disagreements() if each.counted > each.good or _is_odd(each)]
        at_ends = [(each.tag.web_id, each.end) for each in doubtful]
        held_there = await asyncio.to_thread(count_at, lakehouse.table(PI_TIMESERIES), at_ends)
        await self._read_doubtful(doubtful, held_there)
        errors = {**self._counter.reasons, **self._counter.refused}
        return {**{web_id: str(error) for web_id, error in errors.items()}, **self._reasons}

    async def _count_source(self, first_day: int, days: int) -> Int32s:
        """The counts of the source, for each tag and day."""
        found = np.full((len(self.tags), days), NOT_ASKED, np.int32)
        rows = {tag.web_id: row for row, tag in enumerate(self.tags)}
        begin, end = first_day * DAY, (first_day + days) * DAY
        asks = (
            ask
            for tag, window in zip(self.tags, self.windows, strict=True)
            for ask in asks_for(tag, Window(max(window.start, begin), min(window.end, end)), self._limits)
        )
        async for counted in self._counter.counts(asks):
            day = counted.ask.start // DAY - first_day
            found[rows[counted.ask.tag.web_id], day : day + len(counted.days)] = counted.days
        return found

    async def _ask_again(self, first_day: int, counted: Int32s, held: DayCounts) -> None:
        """Handle days without a count: ask again if the table holds good events there; otherwise read, because a
        server may leave out days without events. Puts what it finds into `counted`.
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
        # Only bad events: a server that counts good events gives no count.
        for place, day in np.argwhere(withheld & (held.rows > 0) & (held.good == 0)).tolist():
            window, start = self.windows[place], (first_day + day) * DAY
            rows = int(held.rows[place, day])
            start, end = max(window.start, start), min(window.end, start + DAY)
            found_there = await self._read(self.tags[place], start, end, rows)
            if found_there is not None:
                put(place, start, [NO_DATA if len(found_there.at) == rows else len(found_there.at)])
        await self._look(self._asks(withheld & (held.rows == 0), first_day), put)

    def _asks(self, which: npt.NDArray[np.bool_], first_day: int) -> list[tuple[int, Ask]]:
        """The marked days with the indices of their tags; consecutive days are one ask."""
        return [
            (place, Ask(self.tags[place], part.start, part.end, _FIRST_EVENTS))
            for place, window in consecutive_days(which, self.windows, first_day)
            for part in asks_for(self.tags[place], window, self._limits)
        ]

    async def _look(self, asks: list[tuple[int, Ask]], put: Callable[[int, Micros, Sequence[int]], None]) -> None:
        """Read days where the table holds nothing; of many events, only the first are read."""
        while asks:
            found = await self._counter.times([Ask(ask.tag, ask.start, ask.end, _FIRST_EVENTS) for _, ask in asks])
            rest: list[tuple[int, Ask]] = []
            for (place, ask), times in zip(asks, found, strict=True):
                if times.error is not None:
                    self._reasons.setdefault(ask.tag.web_id, f"{_NO_COUNT}, and to read them fails: {times.error}")
                    continue
                days = np.bincount([(at - _midnight(ask.start)) // DAY for at in times.at], minlength=days_of(ask))
                # A full page tells enough up to the day of its last event.
                known = (times.at[-1] - _midnight(ask.start)) // DAY + 1 if times.full and times.at else len(days)
                put(place, ask.start, [int(n) or NO_DATA for n in days[:known]])
                start = _midnight(ask.start) + known * DAY
                if start < ask.end:
                    rest.append((place, Ask(ask.tag, start, ask.end, _FIRST_EVENTS)))
            asks = rest

    async def _read_doubtful(self, doubtful: Sequence[Disagreement], held_there: Sequence[tuple[int, int]]) -> None:
        """Read days that rounded times may explain, the smallest first, and compare the events with the table."""
        chosen = [
            each
            for each, (rows, good) in zip(doubtful, held_there, strict=True)
            if each.counted == 0
            or explained_by_rounding(each, rows if each.end < self.watermarks[each.tag.web_id].high else None, good)
        ]
        chosen.sort(key=lambda each: max(each.counted, each.rows))
        agreeing: list[Disagreement] = []
        withheld: list[Disagreement] = []
        reads = (partial(self._read, each.tag, each.start, each.end, max(each.counted, each.rows)) for each in chosen)
        for each, found in zip(chosen, await self._in_turn(reads), strict=True):
            if found is None or (len(found.at), sum(found.good)) != (each.rows, each.good):
                continue
            (withheld if each.counted == 0 else agreeing).append(each)
        self.count_comparison.clear(agreeing, compared=True)
        self.count_comparison.clear(withheld, compared=False)
        self._reasons.update({each.tag.web_id: _HAS_EVENTS for each in withheld})

    async def _read(self, tag: Tag, start: Micros, end: Micros, expected: int) -> EventTimes | None:
        """The events in a window; None if they are too many, or cannot be read."""
        if expected > self._events_left:
            return None
        self._events_left -= expected
        most = min(self._limits.max_count_per_tag, self._limits.values_per_answer)
        times = await self._counter.all_times(Ask(tag, start, end, most))
        return times if times.error is None else None

    async def _in_turn(self, tasks: Iterable[Callable[[], Awaitable[_T]]]) -> list[_T]:
        """The results of tasks; as many run at a time as there are workers."""
        gate = asyncio.Semaphore(self.config.pi_web_api.max_in_flight)

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
    """Whether a count that is too small may be one of rounded times, or no count at all."""
    return each.counted == 0 or bool(each.start % _MINUTE or each.end % _MINUTE)
