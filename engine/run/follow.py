"""A run that follows the source: one cycle after the other, on the grid of the schedule, until it is asked to stop.

`Following` decides when which tags are read, and what an outage or a failing tag means for the next cycle.
Invariant: one cycle at a time, and no error that may pass by itself ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from config import ExtractionConfig
from config.errors import AuthenticationError, ConfigurationError, ExtractError, StopError

from ..clock import ServerClock, monotonic
from ..datasets.dataset import SyncedDataset, SyncResult
from ..datasets.recorded_values import RECORDED
from ..datasets.stream_updates import UpdatesWatch
from ..datasets.tag_mirror import left_out_of_list
from ..datasets.tags import ask_time
from ..flow.stop import Stop
from ..gc_tuning import live_objects_frozen
from ..model import Micros, Tag
from ..plan.run_scope import RunScope
from ..plan.schedule import DueTicks, FollowSchedule, TagBackoff, pause_after
from ..plan.tag_classes import class_of, classes_of
from ..plan.timeline import HOUR, SECOND
from ..telemetry.events import Cleared, Cycled, DiscoveryFailed, Emit, Paused, Stopping, Summed
from ..telemetry.freshness import Freshness
from .context import RunContext
from .patient_reader import PatientReader
from .report import CycleResult
from .tag_reader import SeriesReaders

LOG = logging.getLogger("osipi.run")
METRICS_ROW_EVERY: Micros = HOUR
SUM_EVERY: Micros = 600 * SECOND
# A login that worked before, and is refused this many times in a row, counts as refused for good. More tries might
# lock the account.
MAX_REFUSED_LOGINS = 4
_DISCOVERY = "discovery"


async def run_following(context: RunContext) -> CycleResult:
    if context.config.performance.optimize_after_write:
        LOG.warning("performance.optimize_after_write has no effect with --follow: schedule `maintain`")
    return await context.leased(RunScope.ALL, partial(_follow, context))


async def _follow(context: RunContext) -> CycleResult:
    extraction, inventory = context.config.extraction, context.inventory
    open_reader = partial(SeriesReaders.open, context, RunScope.ALL)
    reader = await open_reader()
    patient = PatientReader(reader, open_reader, context.config.retry, context.stop)
    async with asyncio.TaskGroup() as beside:
        results = await context.sync_before_values(reader.sync, inventory)
        beside.create_task(reader.sync.beside_values(inventory, results), name="datasets")
        periodic = [
            beside.create_task(_sync_periodically(context, patient, one, dict(results)), name=one.name)
            for one in reader.sync.periodic
        ]
        periodic.append(beside.create_task(context.alerts.keep_telling(), name="alerts"))
        watch = None
        if extraction.stream_updates == "auto":
            watch = await UpdatesWatch.open(context.source.client, inventory.tags)
        initial = CycleResult(context.wanted.end)
        callbacks = _callbacks(context, patient, watch)
        following = Following(extraction, callbacks, initial=initial, emit=context.emit, stop=context.stop)
        try:
            async with context.metrics.output.served():
                return await following.run()
        finally:
            for task in periodic:
                task.cancel()


async def _sync_periodically(
    context: RunContext, reader: PatientReader, one: SyncedDataset, results: dict[str, SyncResult]
) -> None:
    """Bring a dataset up to date, again and again, in an interval of its own. One that takes longer is not done twice
    at a time.
    """
    assert one.interval_of is not None  # noqa: S101 - that makes it periodic
    interval = one.interval_of(context.config) // timedelta(microseconds=1)
    start = _now()
    grid, _ = FollowSchedule.of({one.name: interval}, start).take(start)
    while True:
        await reader.sync.beside(one, replace(context.inventory, server_now=context.clock.now()), results)
        await asyncio.sleep(max(0, grid.next_due - _now()) / SECOND)
        grid, _ = grid.take(_now())


def _callbacks(context: RunContext, reader: PatientReader, watch: UpdatesWatch | None) -> FollowCallbacks:
    async def server_now() -> Micros:
        now = await ask_time(context.source.client, context.config.extraction)
        context.clock = ServerClock(now)
        return now

    async def cycle(tags: Sequence[Tag], now: Micros, *, since: float) -> CycleResult:
        # What the server says has changed behind the watermarks. What a hint has lost, the lookback finds.
        touched = (await watch.poll()).touched if watch else {}
        suspects = [(tag, window) for tag in context.inventory.tags for window in touched.get(tag.web_id, ())]
        return await reader.read(tags, now, since=since, suspects=suspects)

    async def discover() -> None:
        found = await context.find_tags(since=monotonic(), claims=reader.claims.get(RECORDED.name))
        results = await context.sync_before_values(reader.sync, found)
        found = found.with_unlisted(context.inventory, left_out_of_list(results))
        await context.discovered(found, reader.claims)
        if watch is not None:
            await watch.sync(found.tags)
        await reader.sync.beside_values(found, results)

    async def add_metrics_row(last: CycleResult) -> None:
        await context.add_metrics_row(context.report(last))

    return FollowCallbacks(
        tags=lambda: context.inventory.tags,
        server_now=server_now,
        cycle=cycle,
        discover=discover,
        add_metrics_row=add_metrics_row,
        freshness=context.freshness,
        tell=context.tell_cycle,
    )


class ReadOnce(Protocol):
    """Reads these tags up to the server's `now`, less the lag. Planning is timed from `since` on.

    Raises what the destination raises.
    """

    async def __call__(self, tags: Sequence[Tag], now: Micros, *, since: float) -> CycleResult: ...


@dataclass(frozen=True, slots=True)
class FollowCallbacks:
    """What `Following` calls. `tags` gives the tags that are known now: another sequence once they have changed.
    `discover` looks for new tags. `tell` is given each cycle, also one that the source ended: for alerts and metrics.
    """

    tags: Callable[[], Sequence[Tag]]
    server_now: Callable[[], Coroutine[Any, Any, Micros]]
    cycle: ReadOnce
    discover: Callable[[], Awaitable[None]]
    add_metrics_row: Callable[[CycleResult], Awaitable[None]]
    freshness: Callable[[], Freshness | None]
    tell: Callable[[CycleResult], Awaitable[None]]


@dataclass(slots=True)
class _CycleTotals:
    """Counts of the cycles since the last `Summed` event."""

    since: Micros
    cycles: int = 0
    rows: int = 0
    skipped: int = 0


class Following:
    """One run that follows. `initial` is where it stands before the first cycle."""

    def __init__(
        self, extraction: ExtractionConfig, callbacks: FollowCallbacks, *, initial: CycleResult, emit: Emit, stop: Stop
    ) -> None:
        self._callbacks = callbacks
        self._emit = emit
        self._stop = stop
        self._last = initial
        self._start = self._resume_at = self._metrics_row_at = _now()
        self._discovery_interval = extraction.discovery_interval // timedelta(microseconds=1)
        self._class_of = class_of(extraction)
        self._intervals = {one.name: one.interval_micros for one in classes_of(extraction)}
        self._schedule = FollowSchedule.of(self._intervals, self._start)
        self._backoff = TagBackoff()
        self._known_tags: Sequence[Tag] = ()
        self._tags_of_class: Mapping[str, Sequence[Tag]] = {}
        self._cycles = 0
        self._outages = 0
        self._refusals = 0
        self._totals = _CycleTotals(self._start)

    async def run(self) -> CycleResult:
        """Give the last cycle. Its `stopped` says what ended the run, or what the run waited for when asked to stop."""
        with live_objects_frozen():
            async with asyncio.TaskGroup() as group:
                discoveries = group.create_task(self._discoveries(), name="discoveries")
                await self._run_cycles()
                discoveries.cancel()
        return self._last

    async def _run_cycles(self) -> None:
        while not self._is_over():
            await self._sleep_until(max(self._schedule.next_due, self._resume_at))
            if self._stop.asked:
                self._emit(Stopping(self._stop.reason))
                return
            await self._run_due_cycle(_now())
            # A cycle leaves little garbage, but in reference cycles that hold large objects.
            gc.collect()
            await self._tell_progress()

    def _is_over(self) -> bool:
        return self._stop.asked or self._is_final(self._last.stopped)

    def _is_final(self, error: ExtractError | None) -> bool:
        """Whether the error does not pass by itself. A working login may be refused while a domain controller is down."""
        if isinstance(error, AuthenticationError):
            return self._refusals >= MAX_REFUSED_LOGINS
        return isinstance(error, StopError)

    async def _run_due_cycle(self, began: Micros) -> None:
        """Read the tags that are due. If the source fails, they stay due until after a pause."""
        after, due = self._schedule.take(began)
        self._group_tags()
        tags = [tag for name, tick in due.ticks.items() for tag in self._ready(name, tick)]
        if tags:
            cycle = await self._read(tags, began)
            if cycle is None:
                return
            self._last = cycle
            self._note_failures(tags, due)
            await self._callbacks.tell(cycle)
            if cycle.stopped is not None:
                self._pause(cycle.stopped)
                return
            self._count_cycle(due, len(tags), after, began)
        self._schedule, self._outages, self._refusals = after, 0, 0

    async def _read(self, tags: Sequence[Tag], began: Micros) -> CycleResult | None:
        """One cycle, or None if asked to stop. The server is asked for the time first: that tells a source that is down
        from tags that fail.
        """
        try:
            now = await self._stop.unless_asked(self._callbacks.server_now())
        except ExtractError as error:
            return CycleResult(self._last.until, unfinished={tag.web_id for tag in tags}, stopped=error)
        return None if now is None else await self._callbacks.cycle(tags, now, since=began / SECOND)

    def _group_tags(self) -> None:
        """Sort tags into classes, if discovery has found other ones. A tag that is gone does not fail any more."""
        tags = self._callbacks.tags()
        if tags is self._known_tags:
            return
        members = defaultdict(list)
        for tag in tags:
            members[self._class_of(tag.name).name].append(tag)
        self._known_tags, self._tags_of_class = tags, members
        self._clear(self._backoff.beyond(tag.web_id for tag in tags))

    def _ready(self, of_class: str, tick: int) -> list[Tag]:
        members = self._tags_of_class.get(of_class, ())
        return [tag for tag in members if not self._backoff.held(tag.web_id, of_class, tick)]

    def _note_failures(self, tags: Sequence[Tag], due: DueTicks) -> None:
        cycle = self._last
        for web_id, name in cycle.failed.items():
            one = self._class_of(name)
            self._backoff.failed(web_id, name, one.name, due.ticks[one.name], one.interval_micros)
        if not cycle.unfinished:
            self._clear(tag.web_id for tag in tags if tag.web_id not in cycle.failed)

    def _clear(self, web_ids: Iterable[str]) -> None:
        for name in self._backoff.cleared(web_ids):
            self._emit(Cleared(name))

    def _pause(self, error: ExtractError) -> None:
        self._refusals = self._refusals + 1 if isinstance(error, AuthenticationError) else 0
        if self._is_final(error):
            return
        self._outages += 1
        pause = pause_after(self._outages)
        self._resume_at = _now() + pause
        self._emit(Paused(str(error), pause / SECOND))

    def _count_cycle(self, due: DueTicks, tags: int, after: FollowSchedule, began: Micros) -> None:
        now, total = _now(), self._totals
        self._cycles += 1
        total.cycles += 1
        total.rows += self._last.rows
        total.skipped += due.skipped
        self._emit(
            Cycled(
                number=self._cycles,
                classes=tuple(due.ticks),
                tags=tags,
                failing=len(self._backoff),
                rows=self._last.rows,
                until=self._last.until,
                seconds=(now - began) / SECOND,
                late_secs=due.late / SECOND,
                skipped=due.skipped,
                next_secs=max(0, after.next_due - now) / SECOND,
            )
        )

    async def _tell_progress(self) -> None:
        """Emit totals, and add a row to the metrics table, when it is time."""
        now, total = _now(), self._totals
        if now - total.since >= SUM_EVERY:
            secs = (now - total.since) / SECOND
            fresh = self._callbacks.freshness()
            self._emit(Summed(secs, total.cycles, total.rows, total.skipped, len(self._backoff), fresh))
            self._totals = _CycleTotals(now)
        if now - self._metrics_row_at >= METRICS_ROW_EVERY:
            self._metrics_row_at = now
            await self._callbacks.add_metrics_row(self._last)

    async def _discoveries(self) -> None:
        """Look for tags, beside the cycles, in an interval of its own. The first look was before the first cycle."""
        grid, _ = FollowSchedule.of({_DISCOVERY: self._discovery_interval}, self._start).take(self._start)
        while True:
            await asyncio.sleep(max(0, grid.next_due - _now()) / SECOND)
            grid, _ = grid.take(_now())
            try:
                await self._callbacks.discover()
            except ExtractError as error:
                # The cycles find out themselves whether a login is refused for good.
                if isinstance(error, StopError) and not isinstance(error, ConfigurationError | AuthenticationError):
                    raise
                self._emit(DiscoveryFailed(str(error)))

    async def _sleep_until(self, at: Micros) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0, at - _now()) / SECOND):
                await self._stop.wait()


def _now() -> Micros:
    return int(monotonic() * SECOND)
