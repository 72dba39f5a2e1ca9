"""The run: everything is put together here, once, and taken apart in the reverse order.

Secrets, source, tags, lease, watermarks; then a cycle of plan and pipeline; then the report. What was
prepared serves any number of cycles. Decides nothing about data; parses nothing itself.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from config import Config, check_followable, check_runnable
from config.errors import ExtractError, FencedError
from writers import (
    DATASETS,
    PI_TIMESERIES,
    Digest,
    Lakehouse,
    Landing,
    Marks,
    Repairing,
    Upkeep,
    check_columns,
    look_after,
    window_digests,
)

from .abandon import abandonable
from .accounts import Accounts
from .clock import ServerClock, monotonic, wall_micros
from .datasets.recorded import Mode, RecordedSource
from .datasets.states import StatesSource
from .datasets.tags import Inventory, ask_time, find_tags
from .datasets.updates import UpdatesWatch
from .flow.leased import under
from .flow.stop import Stop
from .follow import Cycle, Following, Means, ReadOnce
from .metadata import Metadata, TagsKept
from .model import Micros, Tag, Window
from .owning import Owning
from .plan.ahead import notes
from .plan.lanes import Limits
from .plan.parts import Part, shard_of
from .plan.shards import Shard
from .plan.timeline import HOUR
from .reporting import report_of
from .sweeping import rare_collections
from .telemetry.events import Emit, Event, Finished, Quarantined, Started, TagsFound
from .telemetry.freshness import Freshness, freshness
from .telemetry.report import OpenHole, RunReport, Tally
from .way import Way
from .wiring import (
    DATASET,
    Connection,
    at_end,
    beyond_now,
    connect,
    lakehouse_of,
    limits_of,
    parted,
    plan_of,
    repairs_of,
    sample_of,
    target_of,
    wanted_window,
    windows_to_sum,
)

__all__ = ["run"]

LOG = logging.getLogger("osipi.run")
R = TypeVar("R")
# So often what others correct while it is being repaired is read again.
_ROUNDS = 3
# Later than any hole is due.
_ANY_TIME = 1 << 62


async def run(
    config: Config,
    *,
    shard: Shard = Shard(),  # noqa: B008 - a frozen value
    emit: Emit = lambda _event: None,
    stop: Stop | None = None,
    on_step: Callable[[str], None] = lambda _step: None,
    run_id: str | None = None,
    follow: bool = False,
    suspects: Sequence[tuple[Tag, Window]] | None = None,
    take_over: str | None = None,
    retry_holes: bool = False,
) -> RunReport:
    """Read everything the configuration selects and is not done yet, and land it exactly once; with
    `follow` again and again, until asked to stop.

    With `suspects`, nothing new is read: these windows, as far as they are done, are read again and put in
    the place of what the table holds, where that differs. Other runs of the pipeline may be at work; what each
    of them compares itself is then left to them. Whoever asks for it leaves the row in the metrics table.

    With `take_over`, tags that the pipeline of this name has brought into the table become those of this one first.
    With `retry_holes`, every hole is asked for, not only those that are due.

    Returns the report, also of a run that was interrupted or stopped by the source. Raises
    `StopError` where there is nothing to report: configuration, login, lease, lost state, storage.
    """
    check_runnable(config)
    if follow:
        check_followable(config)
    check_columns(PI_TIMESERIES, config.performance.zorder_columns)
    run_id = run_id or uuid.uuid4().hex[:12]
    this = _Run(config, shard, emit=emit, stop=stop or Stop(), on_step=on_step, run_id=run_id, follow=follow)
    this.suspects, this.take_over, this.retry_holes = suspects, take_over, retry_holes
    try:
        with rare_collections():
            report = await this.go()
    except BaseException as error:
        if suspects is None:
            await this.account_for_failure(error)
        raise
    if suspects is None:
        await this.account_for(report)
    return report


class _Run:
    """One run. A class only because its steps share what was wired."""

    def __init__(
        self,
        config: Config,
        shard: Shard,
        *,
        emit: Emit,
        stop: Stop,
        on_step: Callable[[str], None],
        run_id: str,
        follow: bool,
    ) -> None:
        self._config = config
        self._shard = shard
        self._tally = Tally()
        self._subscriber = emit
        self._stop = stop
        self._on_step = on_step
        self._run_id = run_id
        self._follow = follow
        self._began = monotonic()
        self._accounts = Accounts(config, shard, run_id)
        self._source: Connection | None = None
        self._lakehouse: Lakehouse | None = None
        self._inventory: Inventory | None = None
        self._clock: ServerClock | None = None
        self._wanted: Window | None = None
        self._found_at = 0.0
        self._marks = Marks()
        self._undone: set[str] = set()
        self._watch: UpdatesWatch | None = None
        self._warnings: list[str] = []
        self._replaces: Mapping[str, str] = {}
        self.suspects: Sequence[tuple[Tag, Window]] | None = None
        self.take_over: str | None = None
        self.retry_holes = False
        self._limits: Limits | None = None
        self._owning: Owning | None = None
        # One thread, so that the tables of a run are touched by one call at a time, in order.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="osipi-writer")
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="osipi-decoder")

    async def go(self) -> RunReport:
        config, shard = self._config, self._shard
        try:
            # A destination that cannot be is said before PI is asked for anything.
            self._lakehouse = lakehouse = await abandonable(partial(lakehouse_of, config))
            async with connect(config, shard) as source:
                self._source = source
                self._emit(Started(self._run_id, config.pipeline, str(shard), source.url, target_of(config)))
                inventory = await self._find_tags(source, since=self._began)
                self._clock = ServerClock(inventory.server_now)
                self._wanted = wanted_window(config, None, inventory.server_now)
                last = await self._read_parts(lakehouse, source, inventory)
                report = self._report(last, source, lakehouse)
                self._emit(Finished(report.status))
                return report
        finally:
            self._writer.shutdown()
            self._decoder.shutdown()

    async def _read_parts(self, lakehouse: Lakehouse, source: Connection, inventory: Inventory) -> Cycle:
        """Read all there is in one part; in full mode what is new first, then the history behind it."""
        work = partial(self._work, lakehouse, source, inventory)
        if self.suspects is not None:
            return await self._repair(lakehouse, self.suspects, work)
        if self._follow or self._config.extraction.mode != "full":
            return await self._leased(lakehouse, Part.ALL, work)
        try:
            front = await self._leased(lakehouse, Part.FRONT, work)
        except FencedError as busy:
            if self._marks or self.take_over:
                raise  # another run came in between, or must not be at work
            LOG.warning("%s Only the history before what is done is read beside it.", busy.message)
            front = Cycle(wanted_window(self._config, None, inventory.server_now).end)
        if front.stopped or self._stop.asked:
            return front
        undone = self._undone
        back = await self._leased(lakehouse, Part.BACK, work)
        self._undone |= undone
        wanted = wanted_window(self._config, None, inventory.server_now)
        if wanted.start < wanted.end:
            # What was never read has nothing behind it: it waits for a front.
            self._undone |= {tag.web_id for tag in inventory.tags if tag.web_id not in self._marks}
        return replace(back, until=front.until, undone=len(self._undone))

    async def _repair(
        self,
        lakehouse: Lakehouse,
        suspects: Sequence[tuple[Tag, Window]],
        work: Callable[[Part], Coroutine[Any, Any, Cycle]],
    ) -> Cycle:
        """Read again beside whoever is at work; what every run compares itself only while nobody is."""
        settled = await self._leased(lakehouse, Part.REPAIR, work)
        _, newest = parted(self._config, suspects, self._marks)
        if settled.stopped or self._stop.asked or not newest:
            return settled
        undone = self._undone
        try:
            last = await self._leased(lakehouse, Part.ALL, work)
        except FencedError as busy:
            self._warnings.append(f"{busy.message} What every run compares with the source itself is left to it.")
            LOG.warning(self._warnings[-1])
            return settled
        self._undone |= undone
        return replace(last, failed={**settled.failed, **last.failed}, undone=len(self._undone))

    async def _leased(
        self, lakehouse: Lakehouse, part: Part, work: Callable[[Part], Coroutine[Any, Any, Cycle]]
    ) -> Cycle:
        """Work under a lease. Raises `FencedError` where another run holds it, or takes it."""
        lease = lakehouse.lease(self._config.pipeline, shard_of(part, str(self._shard)), self._run_id)
        await asyncio.to_thread(lease.acquire)
        try:
            return await under(lease, work(part))
        finally:
            await asyncio.to_thread(lease.release)

    async def _find_tags(self, source: Connection, *, since: float) -> Inventory:
        inventory = (await find_tags(source.client, self._config.extraction)).insist().share(self._shard)
        if self._owning is not None:
            inventory = await self._blocking(partial(self._owning.without_theirs, self._marks, inventory))
        self._inventory, self._found_at = inventory, monotonic()
        self._warn(inventory.warnings)
        for note in notes(self._config.extraction, inventory.tags):
            LOG.info("%s", note)
        self._emit(TagsFound(len(inventory.tags), len(inventory.unresolved), monotonic() - since))
        return inventory

    async def _work(self, lakehouse: Lakehouse, source: Connection, inventory: Inventory, part: Part) -> Cycle:
        config = self._config
        landing = (Repairing if part is Part.REPAIR else Landing)(
            lakehouse,
            PI_TIMESERIES,
            pipeline=config.pipeline,
            dataset=DATASET,
            shard=shard_of(part, str(self._shard)),
            run_id=self._run_id,
            on_step=self._on_step,
        )
        if self.suspects is not None:
            self._marks = await self._blocking(landing.open)
        elif isinstance(landing, Landing):
            self._marks = await self._blocking(partial(self._own, landing, lakehouse, inventory.tags, part))
        recorded = await RecordedSource.open(
            source.client,
            source.url,
            config.extraction.request_mode,
            self._decoder,
            now=wall_micros,
            sample=sample_of(config, inventory.tags, self._marks, inventory.server_now),
        )
        states = StatesSource(source.client, source.url, recorded.mode, batch_size=config.extraction.batch_size)
        metadata = Metadata(
            *(lakehouse, self._shard, states, self._writer),
            client=source.client,
            extraction=config.extraction,
            emit=self._emit,
            stop=self._stop,
        )
        way = Way(config, part, recorded, landing, self._writer, self._emit, self._stop)
        cycle: ReadOnce = partial(self._cycle, way)
        if isinstance(landing, Repairing):
            cycle = partial(self._mend, way, landing)
        async with asyncio.TaskGroup() as beside:
            if part not in {Part.BACK, Part.REPAIR}:
                await self._sync_tags(metadata, inventory)
                beside.create_task(metadata.sync_states(inventory, on_step=self._on_step), name="digital states")
            if self._follow:
                if config.extraction.stream_updates == "auto":
                    self._watch = await UpdatesWatch.open(source.client, inventory.tags)
                return await self._following(cycle, inventory, source, lakehouse, metadata).run()
            last = await cycle(inventory.tags, inventory.server_now, since=self._found_at)
        await self._optimize(lakehouse)
        return last

    async def _sync_tags(self, metadata: Metadata, inventory: Inventory) -> TagsKept:
        """Bring pi_tags up to date, and learn from it which points replace other ones."""
        kept = await metadata.sync_tags(inventory, on_step=self._on_step)
        self._replaces = kept.replaces
        self._warn(kept.warnings)
        return kept

    def _warn(self, warnings: Sequence[str]) -> None:
        """Say once what the report says, too."""
        for warning in warnings:
            if warning not in self._warnings:
                self._warnings.append(warning)
                LOG.warning("%s", warning)

    def _own(self, landing: Landing, lakehouse: Lakehouse, tags: Sequence[Tag], part: Part) -> Marks:
        """Open the landing, and make sure that no tag is another pipeline's. The back reads no tag that is new."""
        back = part is Part.BACK
        own = Owning(
            *(self._config, lakehouse),
            run_id=self._run_id,
            take_over=None if back else self.take_over,
            on_step=self._on_step,
        )
        own.taken(tags)
        self._warnings += own.warnings
        marks = landing.open()
        own.begin(landing, marks, tags, claim=not back)
        self._owning = own
        return marks

    def _following(
        self, cycle: ReadOnce, inventory: Inventory, source: Connection, lakehouse: Lakehouse, metadata: Metadata
    ) -> Following:
        if self._config.performance.optimize_after_write:
            LOG.warning("performance.optimize_after_write has no effect with --follow: schedule `maintain`")

        async def discover() -> None:
            known = self._inventory or inventory
            found = await self._find_tags(source, since=monotonic())
            self._inventory = known  # until it is known of those that are missing whether they are gone
            kept = await self._sync_tags(metadata, found)
            self._inventory = found = found.and_still(known, kept.left_out)
            if self._watch is not None:
                await self._watch.sync(found.tags)
            await metadata.sync_states(found, on_step=self._on_step)

        async def server_now() -> Micros:
            now = await ask_time(source.client, self._config.extraction)
            self._clock = ServerClock(now)
            return now

        async def account(last: Cycle) -> None:
            await self.account_for(self._report(last, source, lakehouse))

        means = Means(
            tags=lambda: (self._inventory or inventory).tags,
            server_now=server_now,
            cycle=cycle,
            discover=discover,
            account=account,
            fresh=self._freshness,
        )
        begun = Cycle(wanted_window(self._config, None, inventory.server_now).end)
        return Following(self._config.extraction, means, begun=begun, emit=self._emit, stop=self._stop)

    async def _cycle(self, way: Way, tags: Sequence[Tag], now: Micros, *, since: float) -> Cycle:
        """Read these tags up to the server's `now`, less the lag, and land what came."""
        mode = way.recorded.mode
        if self.suspects is None:
            sums = {} if way.part is Part.BACK else await self._sums(tags)
            suspects = await self._hinted()
            plan = plan_of(
                *(self._config, tags, self._marks, sums),
                now=now,
                mode=mode,
                part=way.part,
                suspects=suspects,
                replaces=self._replaces,
                wall=_ANY_TIME if self.retry_holes else wall_micros(),
                keeps_holes=isinstance(way.landing, Landing) and way.landing.keeps_holes,
                limits=self._limits_for(mode),
            )
        else:
            plan = repairs_of(self._config, parted(self._config, self.suspects, self._marks)[1], self._marks, mode=mode)
        last, _ = await way.carry_out(plan, tags=len(tags), now=now, since=since)
        self._undone = set(plan.unfinished)
        self._limits = plan.limits
        return last

    def _limits_for(self, mode: Mode) -> Limits:
        """How much a request may ask for: as configured, or less, as far as this server has taught the run."""
        configured = limits_of(self._config, mode)
        return replace(self._limits, one_window=configured.one_window) if self._limits else configured

    def _advice(self) -> tuple[str, ...]:
        """What the server has taught the run of the number of events that it gives at once."""
        if self._limits is None or self._limits.max_count_per_tag >= self._config.extraction.max_count_per_tag:
            return ()
        given, refused = self._limits.max_count_per_tag, self._limits.server_max_count + 1
        advice = f"set extraction.max_count_per_tag: {given}, and no run has to find that out"
        return (f"this server refused {refused} events of a tag at once, and gave {given}: {advice}",)

    async def _mend(self, way: Way, repairing: Repairing, tags: Sequence[Tag], now: Micros, *, since: float) -> Cycle:
        """Read again what no run looks at by itself, and once more what others correct meanwhile."""
        suspects, _ = parted(self._config, self.suspects or (), self._marks)
        for _ in range(_ROUNDS):
            plan = repairs_of(self._config, suspects, self._marks, mode=way.recorded.mode)
            windows = [(tag.web_id, window.start, window.end) for tag, window in suspects]
            await self._blocking(partial(repairing.watch, windows))
            last, stale = await way.carry_out(plan, tags=len(tags), now=now, since=since)
            suspects = [(tag, window) for tag, window in suspects if tag.web_id in stale]
            if not suspects or last.stopped or self._stop.asked:
                break
            self._marks = await self._blocking(repairing.open)
        self._undone = {*plan.unfinished, *(tag.web_id for tag, _ in suspects)}
        return replace(last, undone=len(self._undone))

    async def _hinted(self) -> Sequence[tuple[Tag, Window]]:
        """What the server says has changed behind the watermarks. What a hint has lost, the lookback finds."""
        if self._watch is None or self._inventory is None:
            return ()
        touched = (await self._watch.poll()).touched
        return [(tag, window) for tag in self._inventory.tags for window in touched.get(tag.web_id, ())]

    async def _sums(self, tags: Sequence[Tag]) -> Mapping[str, Digest]:
        """Digests of what the table holds where it is to be compared with the source."""
        windows = windows_to_sum(self._config, tags, self._marks)
        if not windows or self._lakehouse is None:
            return {}
        table = self._lakehouse.table(PI_TIMESERIES)
        return await self._blocking(lambda: window_digests(table.open(), windows))

    def _report(self, cycle: Cycle, source: Connection, lakehouse: Lakehouse) -> RunReport:
        return report_of(
            self._tally,
            cycle,
            source.client.statistics(),
            run=(self._run_id, self._config.pipeline, str(self._shard)),
            unresolved=(*(self._inventory.unresolved if self._inventory else ()), *self._beyond_now()),
            holes=self._holes(),
            interrupted=self._stop.asked,
            follows=self._follow,
            seconds=monotonic() - self._began,
            tables={spec.name: lakehouse.table(spec).uri for spec in DATASETS},
            warnings=(
                *notes(self._config.extraction, self._inventory.tags if self._inventory else ()),
                *self._warnings,
                *source.client.limits.advice(),
                *self._advice(),
            ),
        )

    def _beyond_now(self) -> Sequence[tuple[str, str]]:
        """Tags whose watermark lies in the future of the source, by name, with what to do. Less than an hour is read
        again as well, and not worth a word: time catches up.
        """
        if self._inventory is None or self._clock is None:
            return ()
        found = beyond_now(self._inventory.tags, self._marks, self._clock.now(), by=HOUR)
        return [(tag.name, why) for tag, _, why in found]

    async def _optimize(self, lakehouse: Lakehouse) -> None:
        """Compact what was written to, as configured. The data is in: trouble here is a warning."""
        performance, written = self._config.performance, frozenset(self._tally.partitions)
        if not performance.optimize_after_write or not written or self._stop.asked:
            return
        wish = Upkeep(cluster_by=performance.zorder_columns, partitions=written)
        try:
            done = await self._blocking(partial(look_after, lakehouse.table(PI_TIMESERIES), wish))
        except ExtractError as error:
            LOG.warning("the tables were not optimized: %s", error)
            return
        LOG.info("%s", done)

    async def account_for(self, report: RunReport) -> None:
        """Leave the row of a run that has a report."""
        await self._accounts.add(self._lakehouse, report, self._freshness())

    async def account_for_failure(self, error: BaseException) -> None:
        """Leave the row of a run that ended by an error."""
        stats = self._source.client.statistics() if self._source else None
        tags = self._inventory.tags if self._inventory else ()
        done, fresh = at_end(self._config, tags, self._marks, self._wanted), self._freshness()
        await self._accounts.add_failure(self._lakehouse, error, self._tally, stats, tags_extracted=done, fresh=fresh)

    def _freshness(self) -> Freshness | None:
        """How far the tags of this run lie behind the server's clock."""
        if self._inventory is None or self._clock is None:
            return None
        marks = self._marks.chosen([tag.web_id for tag in self._inventory.tags])
        return freshness(marks.present[marks.low < marks.high].tolist(), self._clock.now())

    async def _blocking(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    def _holes(self) -> list[OpenHole]:
        """The holes of the tags of this run."""
        tags, holes = self._inventory.tags if self._inventory else (), self._marks.holes
        return [OpenHole(tag.name, hole) for tag in tags if holes for hole in holes.get(tag.web_id, ())]

    def _emit(self, event: Event) -> None:
        if isinstance(event, Quarantined):
            self._accounts.note(event)
        self._tally(event)
        self._subscriber(event)
