"""Verifying: what is done and settled is counted at the source and in the table, and compared.

Settled is what no run looks at again by itself. What lies behind it (the lookback, and the newest event of a
tag, which is provisional) is compared by every run, and would only seem to disagree until the next one.
The work of `verify`, without its words. Cheap at both ends: the source sends a number for each tag and day,
of the table three columns are read, and memory is bounded by slices of time. Changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from config import Config, Instant
from config.errors import ConfigurationError
from writers import PI_TIMESERIES, Watermark
from writers.counts import count_days

from ..clock import monotonic
from ..datasets.counts import CountSource, asks_for
from ..datasets.recorded import SAMPLE_TAGS, SAMPLE_VALUES, choose_mode
from ..datasets.tags import find_tags
from ..model import Ask, Micros, Tag, Window
from ..plan.agreement import NOT_ASKED, Agreement, Disagreement, Rule, Suspect, suspects
from ..plan.lanes import Limits
from ..plan.overlap import begin
from ..plan.timeline import DAY
from ..wiring import Connection, connect, lakehouse_of, limits_of, settled_ends, watermarks_of
from .patterns import matcher

__all__ = ["Cost", "Scope", "Verification", "done_windows", "everything", "slices", "verify"]

LOG = logging.getLogger("osipi.verify")
# Tags times days that are compared at once; each takes some 50 bytes meanwhile.
_CELLS = 2_000_000
_NO_COUNT = "the server gives something else than counts of its events"

Int32s = npt.NDArray[np.int32]


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
class Verification:
    """What came of it.

    `days` of tags, with `events` in the table, were compared; `by_day` holds each day since 1970 with the
    tags compared and those that disagree; `uncounted` the tags that the server does not count, and why;
    `unread` how many of the tags in scope have nothing there to compare; `ahead` of how many of those compared
    what is forecast was left out.
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
    uncounted: tuple[tuple[Tag, str], ...]
    cost: Cost
    ahead: int = 0

    def suspects(self) -> tuple[Suspect, ...]:
        """The windows that have to be read again."""
        return suspects(self.disagreements)

    @property
    def exit_code(self) -> int:
        """0 if all that could be compared agrees, and something could, or there was nothing to compare."""
        return 1 if self.disagreements or (self.uncounted and not self.days) else 0


async def verify(config: Config, scope: Scope) -> Verification:
    """Count and compare. Raises what the source and the destination raise."""
    began = monotonic()
    # The watermarks first: what lands after they were read is beyond them, and not compared.
    marks = await asyncio.to_thread(watermarks_of, config)
    async with connect(config) as source:
        chosen, tags, windows = await _in_scope(config, scope, source, marks, _counted_ends(config, marks))
        agreement = Agreement(tags, windows)
        refused = await _compare(config, source, agreement, tags, windows)
        stats = source.client.statistics()
    uncounted = {tags[place].web_id: _NO_COUNT for place in agreement.uncounted} | refused
    return Verification(
        pipeline=config.pipeline,
        tags=tags,
        windows=windows,
        unread=chosen - len(tags),
        days=agreement.days,
        events=agreement.events,
        disagreements=tuple(agreement.disagreements()),
        by_day=tuple(agreement.by_day()),
        rules=agreement.rules(),
        uncounted=tuple((tag, uncounted[tag.web_id]) for tag in tags if tag.web_id in uncounted),
        cost=Cost(stats.requests, stats.retries, stats.throttled, stats.bytes_received, monotonic() - began),
        ahead=sum(mark.present < mark.high for mark in (marks[tag.web_id] for tag in tags)),
    )


def _counted_ends(config: Config, marks: Mapping[str, Watermark]) -> Callable[[Tag], Micros]:
    """Where counting ends of a tag: where it is settled, or a bit earlier, so that many tags share a request."""
    settled = settled_ends(config, marks)

    def end_of(tag: Tag) -> Micros:
        mark, end = marks[tag.web_id], settled(tag)
        return begin(mark.low, mark.high, end, rate=0.0) if mark.high - end < DAY else end

    return end_of


async def everything(config: Config, scope: Scope) -> tuple[Suspect, ...]:
    """All that is done in scope, as if it were suspect. Raises what the source and the destination raise."""
    marks = await asyncio.to_thread(watermarks_of, config)

    def end_of(tag: Tag) -> Micros:
        mark = marks[tag.web_id]
        return mark.present if scope.end is None else mark.high

    async with connect(config) as source:
        _, tags, windows = await _in_scope(config, scope, source, marks, end_of)
    return tuple(zip(tags, windows, strict=True))


async def _in_scope(
    config: Config,
    scope: Scope,
    source: Connection,
    marks: Mapping[str, Watermark],
    end_of: Callable[[Tag], Micros],
) -> tuple[int, tuple[Tag, ...], tuple[Window, ...]]:
    """How many tags there are in scope, and of those of which something is done there, that up to an end."""
    inventory = (await find_tags(source.client, config.extraction)).insist()
    chosen = [tag for tag in inventory.tags if scope.takes(tag)]
    if scope.patterns and not chosen:
        raise ConfigurationError(
            "--tags: none of the tags that the configuration selects is so called",
            hint="`tags` lists them; * and ? stand for other letters.",
        )
    return len(chosen), *done_windows(chosen, marks, scope.window(inventory.server_now), end_of)


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


async def _compare(
    config: Config, source: Connection, agreement: Agreement, tags: Sequence[Tag], windows: Sequence[Window]
) -> dict[str, str]:
    """Compare slice by slice. Gives the tags that are refused, with the reason."""
    if not tags:
        return {}
    sample = [Ask(tag, windows[0].start, windows[0].end, SAMPLE_VALUES) for tag in tags[:SAMPLE_TAGS]]
    mode = await choose_mode(source.client, source.url, config.extraction.request_mode, sample)
    limits = limits_of(config, mode)
    counter = CountSource(source.client, source.url, mode, limits, workers=config.pi_web_api.max_in_flight)
    lakehouse = await asyncio.to_thread(lakehouse_of, config)
    starts = np.array([window.start for window in windows], np.int64)
    ends = np.array([window.end for window in windows], np.int64)
    web_ids = [tag.web_id for tag in tags]
    for first_day, days in slices(windows):
        count_table = partial(count_days, starts=starts, ends=ends, first_day=first_day, days=days)
        counted, held = await asyncio.gather(
            _count_source(counter, limits, list(zip(tags, windows, strict=True)), first_day, days),
            asyncio.to_thread(count_table, lakehouse.table(PI_TIMESERIES), web_ids),
        )
        agreement.add(first_day, counted, held.rows, held.good)
        LOG.debug("compared %d tags on %d days from day %d on", len(tags), days, first_day)
    return {web_id: str(error) for web_id, error in counter.refused.items()}


async def _count_source(
    counter: CountSource, limits: Limits, done: Sequence[tuple[Tag, Window]], first_day: int, days: int
) -> Int32s:
    """What the source counts of each tag on some days."""
    found = np.full((len(done), days), NOT_ASKED, np.int32)
    places = {tag.web_id: place for place, (tag, _) in enumerate(done)}
    begin, end = first_day * DAY, (first_day + days) * DAY
    asks = (
        ask
        for tag, window in done
        for ask in asks_for(tag, Window(max(window.start, begin), min(window.end, end)), limits)
    )
    async for counted in counter.counts(asks):
        day = counted.ask.start // DAY - first_day
        found[places[counted.ask.tag.web_id], day : day + len(counted.days)] = counted.days
    return found
