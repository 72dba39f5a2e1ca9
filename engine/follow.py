"""Following: cycle after cycle on the grid of the schedule, until asked to stop or until something is final.

Says when which tags are read, and what an outage or a failing tag means for the next cycle; how they are
read is not its business. Invariant: one cycle at a time, and nothing that waiting can mend ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from config import Extraction
from config.errors import AuthenticationError, ConfigurationError, ExtractError, StopError

from .clock import monotonic
from .flow.stop import Stop
from .model import Micros, Tag
from .plan.classes import class_of, classes_of
from .plan.schedule import Patience, Round, Schedule, pause_after
from .plan.timeline import HOUR, SECOND
from .sweeping import swept_quickly
from .telemetry.events import Cleared, Cycled, DiscoveryFailed, Emit, Paused, Stopping, Summed
from .telemetry.freshness import Freshness

__all__ = ["Cycle", "Following", "Means", "ReadOnce"]

ACCOUNT_EVERY: Micros = HOUR
SUM_EVERY: Micros = 600 * SECOND
# A login that has worked, and is refused so many times in a row, is taken to be refused for good. More tries might
# have the account locked.
LOGINS_IN_VAIN = 4
_DISCOVERY = "discovery"


@dataclass(frozen=True, slots=True)
class Cycle:
    """What became of reading some tags once, up to `until`: `rows` landed; `failed` are names by WebID.

    `undone` tags have neither failed nor finished; `stopped`: what the source gave out with.
    """

    until: Micros
    rows: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    undone: int = 0
    stopped: ExtractError | None = None


class ReadOnce(Protocol):
    """Reads these tags up to the server's `now`, less the lag; planning is timed from `since` on.

    Raises what the destination raises.
    """

    async def __call__(self, tags: Sequence[Tag], now: Micros, *, since: float) -> Cycle: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What following needs of a run: `tags` are those known now (another sequence once they have changed),
    `discover` looks for others, `account` leaves word of how it goes.
    """

    tags: Callable[[], Sequence[Tag]]
    server_now: Callable[[], Coroutine[Any, Any, Micros]]
    cycle: ReadOnce
    discover: Callable[[], Awaitable[None]]
    account: Callable[[Cycle], Awaitable[None]]
    fresh: Callable[[], Freshness | None]


@dataclass(slots=True)
class _Sum:
    """Cycles since the last time they were told of."""

    since: Micros
    cycles: int = 0
    rows: int = 0
    skipped: int = 0


class Following:
    """One run that follows. `begun` is where it stands before the first cycle."""

    def __init__(self, extraction: Extraction, means: Means, *, begun: Cycle, emit: Emit, stop: Stop) -> None:
        self._means = means
        self._emit = emit
        self._stop = stop
        self._last = begun
        self._start = self._resume_at = self._accounted_at = _now()
        self._discovery_interval = extraction.discovery_interval // timedelta(microseconds=1)
        self._class_of = class_of(extraction)
        self._intervals = {one.name: one.interval_micros for one in classes_of(extraction)}
        self._schedule = Schedule.of(self._intervals, self._start)
        self._patience = Patience()
        self._known: Sequence[Tag] = ()
        self._members: Mapping[str, Sequence[Tag]] = {}
        self._cycles = 0
        self._outages = 0
        self._refusals = 0
        self._sum = _Sum(self._start)

    async def run(self) -> Cycle:
        """Give the last cycle, whose `stopped` says what ended it, or what it waited for when asked to stop."""
        with swept_quickly():
            async with asyncio.TaskGroup() as group:
                discoveries = group.create_task(self._discoveries(), name="discoveries")
                await self._go_on()
                discoveries.cancel()
        return self._last

    async def _go_on(self) -> None:
        while not self._is_over():
            await self._rest_until(max(self._schedule.next_due, self._resume_at))
            if self._stop.asked:
                self._emit(Stopping(self._stop.reason))
                return
            await self._serve(_now())
            # A cycle leaves little garbage, but in reference cycles, and what it holds on to is large.
            gc.collect()
            await self._tell()

    def _is_over(self) -> bool:
        return self._stop.asked or self._is_final(self._last.stopped)

    def _is_final(self, error: ExtractError | None) -> bool:
        """Whether waiting cannot mend it. A login that worked may be refused while a domain controller is away."""
        if isinstance(error, AuthenticationError):
            return self._refusals >= LOGINS_IN_VAIN
        return isinstance(error, StopError)

    async def _serve(self, began: Micros) -> None:
        """Read what is due. Where the source gives out, it stays due until after a pause."""
        after, due = self._schedule.take(began)
        self._group_tags()
        tags = [tag for name, tick in due.ticks.items() for tag in self._ready(name, tick)]
        if tags:
            cycle = await self._read(tags, began)
            if cycle is None:
                return
            self._last = cycle
            self._learn(tags, due)
            if cycle.stopped is not None:
                self._pause(cycle.stopped)
                return
            self._count(due, len(tags), after, began)
        self._schedule, self._outages, self._refusals = after, 0, 0

    async def _read(self, tags: Sequence[Tag], began: Micros) -> Cycle | None:
        """One cycle, unless asked to stop. Asking the server for the time first also tells a source that is down
        from tags that fail.
        """
        try:
            now = await self._stop.unless_asked(self._means.server_now())
        except ExtractError as error:
            return Cycle(self._last.until, undone=len(tags), stopped=error)
        return None if now is None else await self._means.cycle(tags, now, since=began / SECOND)

    def _group_tags(self) -> None:
        """Sort tags into classes, when discovery has brought others; what is gone fails no more."""
        tags = self._means.tags()
        if tags is self._known:
            return
        members = defaultdict(list)
        for tag in tags:
            members[self._class_of(tag.name).name].append(tag)
        self._known, self._members = tags, members
        self._clear(self._patience.beyond(tag.web_id for tag in tags))

    def _ready(self, of_class: str, tick: int) -> list[Tag]:
        members = self._members.get(of_class, ())
        return [tag for tag in members if not self._patience.held(tag.web_id, of_class, tick)]

    def _learn(self, tags: Sequence[Tag], due: Round) -> None:
        cycle = self._last
        for web_id, name in cycle.failed.items():
            one = self._class_of(name)
            self._patience.failed(web_id, name, one.name, due.ticks[one.name], one.interval_micros)
        if not cycle.undone:
            self._clear(tag.web_id for tag in tags if tag.web_id not in cycle.failed)

    def _clear(self, web_ids: Iterable[str]) -> None:
        for name in self._patience.cleared(web_ids):
            self._emit(Cleared(name))

    def _pause(self, error: ExtractError) -> None:
        self._refusals = self._refusals + 1 if isinstance(error, AuthenticationError) else 0
        if self._is_final(error):
            return
        self._outages += 1
        pause = pause_after(self._outages)
        self._resume_at = _now() + pause
        self._emit(Paused(str(error), pause / SECOND))

    def _count(self, due: Round, tags: int, after: Schedule, began: Micros) -> None:
        now, total = _now(), self._sum
        self._cycles += 1
        total.cycles += 1
        total.rows += self._last.rows
        total.skipped += due.skipped
        self._emit(
            Cycled(
                number=self._cycles,
                classes=tuple(due.ticks),
                tags=tags,
                failing=len(self._patience),
                rows=self._last.rows,
                until=self._last.until,
                seconds=(now - began) / SECOND,
                late_secs=due.late / SECOND,
                skipped=due.skipped,
                next_secs=max(0, after.next_due - now) / SECOND,
            )
        )

    async def _tell(self) -> None:
        """Sum up now and then, and leave word in the metrics table now and then."""
        now, total = _now(), self._sum
        if now - total.since >= SUM_EVERY:
            secs = (now - total.since) / SECOND
            fresh = self._means.fresh()
            self._emit(Summed(secs, total.cycles, total.rows, total.skipped, len(self._patience), fresh))
            self._sum = _Sum(now)
        if now - self._accounted_at >= ACCOUNT_EVERY:
            self._accounted_at = now
            await self._means.account(self._last)

    async def _discoveries(self) -> None:
        """Look for tags on a grid of its own, beside the cycles; the run has begun with the first look."""
        grid, _ = Schedule.of({_DISCOVERY: self._discovery_interval}, self._start).take(self._start)
        while True:
            await asyncio.sleep(max(0, grid.next_due - _now()) / SECOND)
            grid, _ = grid.take(_now())
            try:
                await self._means.discover()
            except ExtractError as error:
                # A login that is refused for good ends the cycles.
                if isinstance(error, StopError) and not isinstance(error, ConfigurationError | AuthenticationError):
                    raise
                self._emit(DiscoveryFailed(str(error)))

    async def _rest_until(self, at: Micros) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0, at - _now()) / SECOND):
                await self._stop.wait()


def _now() -> Micros:
    return int(monotonic() * SECOND)
