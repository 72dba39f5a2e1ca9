"""What all kinds of run share: it is prepared once, and holds what is known of the run so far.

The report and the metrics row are made of it, however the run ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from config import Config
from config.errors import ExtractError
from writers import PI_QUARANTINE, Lakehouse, LandingRun, MaintenanceOptions, TableSpec, WatermarkStore, optimize_table

from ..clock import ServerClock, monotonic, wall_micros
from ..datasets.dataset import SeriesDataset, SyncContext, SyncResult
from ..datasets.decoding import Decoding
from ..datasets.recorded_values import RECORDED
from ..datasets.registry import Registry
from ..datasets.request_mode import Mode
from ..datasets.sync import DatasetSync
from ..datasets.tag_mirror import replaced_points
from ..datasets.tags import Inventory, ask_time, selected_tags
from ..flow.run_with_lease import run_with_lease
from ..flow.stop import Stop
from ..model import Micros, Window
from ..net.settings import ClientStats
from ..plan.future_data import notes
from ..plan.run_scope import RunScope, shard_of
from ..plan.shards import Shard
from ..plan.tag_cursor import RequestLimits
from ..plan.timeline import HOUR
from ..telemetry.alerts import facts_of_error, facts_of_report
from ..telemetry.events import Emit, Quarantined, RunEvent, Started, TagsFound
from ..telemetry.freshness import Freshness, freshness
from ..telemetry.report import OpenHole, RunReport, Tally
from .alerts import Alerts
from .connect import Connection, connect, tables_of, target_of
from .metrics_rows import RunMetricsWriter
from .plans import count_complete, wanted_window, watermarks_ahead
from .report import CycleResult, report_of
from .tag_claims import TagClaims

LOG = logging.getLogger("osipi.run")
R = TypeVar("R")
_NO_TAGS = Inventory((), pa.table({}), (), complete=False, server_now=0)


@dataclass(kw_only=True, eq=False)
class RunContext:
    """The context of one run. `watermarks` are live: each commit updates them.

    What belongs to one windowed series is that of `series`; `each_series` gives a context for each that the run reads.
    """

    config: Config
    shard: Shard
    lakehouse: Lakehouse
    datasets: Registry
    metrics: RunMetricsWriter
    alerts: Alerts
    subscriber: Emit
    stop: Stop
    on_step: Callable[[str], None]
    follows: bool
    take_over: str | None
    retry_holes: bool
    decoding: Decoding
    found: Inventory | None = None
    series: SeriesDataset = RECORDED
    inventory: Inventory = _NO_TAGS
    clock: ServerClock = field(default_factory=lambda: ServerClock(0))
    wanted: Window = Window(0, 0)  # noqa: RUF009 - a frozen value: of a tag that was never read, when the run began
    watermarks: WatermarkStore = field(default_factory=WatermarkStore)
    replaces: Mapping[str, str] = field(default_factory=dict)  # points created anew in the place of others, by WebID
    limits: RequestLimits | None = None  # what the server has taught the run so far
    # One thread: the tables of a run are used by one call at a time, in order.
    writer: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="osipi-writer"))
    _tally: Tally = field(default_factory=Tally)
    _warnings: list[str] = field(default_factory=list)
    _source: Connection | None = None
    _discovery: asyncio.Task[None] | None = None
    _answered: asyncio.Event = field(default_factory=asyncio.Event)  # the source is there and lets us in; or it failed
    _others: dict[str, RunContext] = field(default_factory=dict)  # contexts of other series than this one, by name

    @property
    def run_id(self) -> str:
        return self.metrics.run_id

    @property
    def source(self) -> Connection:
        assert self._source is not None  # noqa: S101 - what asks the source runs within `prepared`
        return self._source

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[None]:
        """Log in, and find the tags beside what goes on within. `leased` and `with_tags` wait for them.

        Raises what the login raises.
        """
        try:
            async with connect(self.config, self.shard) as self._source:
                config, target = self.config, target_of(self.config)
                shard, names = str(self.shard), self.datasets.names
                self.emit(
                    Started(self.run_id, config.pipeline, shard, self._source.url, target, names, self.decoding.name)
                )
                # Not in a group: where it fails, the lease is given back before the run ends.
                self._discovery = asyncio.create_task(self._discover(), name="discovery")
                self._discovery.add_done_callback(lambda _: self._answered.set())
                try:
                    yield
                finally:
                    self._discovery.cancel()
                    await asyncio.gather(self._discovery, return_exceptions=True)
        finally:
            self.writer.shutdown()
            self.decoding.executor.shutdown()

    async def _discover(self) -> None:
        self.inventory = await self.find_tags(since=self.metrics.began, on_answer=self._answered.set)
        self.clock = ServerClock(await self._server_now())
        self.wanted = wanted_window(self.config, None, self.inventory.server_now)

    async def _tags_found(self) -> None:
        """Wait until the tags are found. Raises what finding them raises."""
        assert self._discovery is not None  # noqa: S101 - what works on tags runs within `prepared`
        await self._discovery

    async def find_tags(
        self, *, since: float, claims: TagClaims | None = None, on_answer: Callable[[], None] = lambda: None
    ) -> Inventory:
        """Find the tags that the configuration selects. With `claims`, claim them, and leave out those of other pipelines.

        `on_answer` is called as by `datasets.tags.find_tags`.
        """
        inventory = self.found
        if inventory is None:
            found = await selected_tags(self.source.client, self.source.url, self.config, on_answer=on_answer)
            inventory = found.require_tags()
        inventory = inventory.of_shard(self.shard)
        if claims is not None:
            inventory = await self.blocking(partial(claims.leave_out_claimed, self.watermarks, inventory))
        self.warn(inventory.warnings)
        for note in notes(self.config.extraction, inventory.tags):
            LOG.info("%s", note)
        self.emit(TagsFound(len(inventory.tags), len(inventory.unresolved), monotonic() - since))
        return inventory

    async def _server_now(self) -> Micros:
        """Tags that were found before the run say what time it was then."""
        if self.found is None:
            return self.inventory.server_now
        return await ask_time(self.source.client, self.config.extraction)

    def each_series(self) -> Sequence[RunContext]:
        """A context for each windowed series: the same run, with the inventory and the watermarks of the series."""
        return [self._of(one) for one in self.datasets.series]

    def _of(self, series: SeriesDataset) -> RunContext:
        if series is self.series:
            return self
        if series.name not in self._others:
            self._others[series.name] = replace(
                self, series=series, watermarks=WatermarkStore(), replaces={}, limits=None, _others={}
            )
            self._refresh_series()
        return self._others[series.name]

    def _refresh_series(self) -> None:
        """The inventories of other series follow that of the tags."""
        for one in self._others.values():
            one.inventory, one.clock = one.series.series_of(self.config, self.inventory), self.clock
            self.warn(one.inventory.warnings)

    async def discovered(self, found: Inventory, claims: Mapping[str, TagClaims]) -> None:
        """Go on with these tags, and claim what is new of other series than this one; by name of the series."""
        self.inventory = found
        self._refresh_series()
        for name, one in self._others.items():
            one.inventory = await self.blocking(partial(claims[name].leave_out_claimed, one.watermarks, one.inventory))

    async def leased(self, scope: RunScope, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Work on the tags under the lease of a scope. The lease is taken while they are looked for, and not before the
        source has let us in: a login that is refused leaves no trace.

        Raises what finding the tags raises; `FencedError` where another run holds the lease, or takes it.
        """
        lease = self.lakehouse.lease(self.config.pipeline, shard_of(scope, str(self.shard)), self.run_id)
        await self._answered.wait()
        if self._discovery is not None and self._discovery.done():
            await self._tags_found()
        try:
            await asyncio.to_thread(lease.acquire)
        except ExtractError:
            await self._tags_found()  # what is wrong with the tags is said first
            raise
        try:
            return await run_with_lease(lease, self.with_tags(work))
        finally:
            await asyncio.to_thread(lease.release)

    async def with_tags(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Work once the tags are found. Raises what finding them raises."""
        await self._tags_found()
        return await work()

    def landing_run(self, scope: RunScope) -> LandingRun:
        """Under whose name a scope of this series lands."""
        return LandingRun(
            pipeline=self.config.pipeline,
            dataset=self.series.name,
            shard=shard_of(scope, str(self.shard)),
            run_id=self.run_id,
            on_step=self.on_step,
        )

    def dataset_sync(self, mode: Mode, scope: RunScope = RunScope.ALL) -> DatasetSync:
        """What keeps the mirrors and keyed records of the run up to date. `mode`: how many things are asked for at once."""
        context = SyncContext(
            client=self.source.client,
            base_url=self.source.url,
            mode=mode,
            config=self.config,
            run_id=self.run_id,
            lakehouse=self.lakehouse,
            shard=self.shard,
            inventory=self.inventory,
            writer=self.writer,
            stop=self.stop,
            full=self.config.extraction.mode == "full" and not self.follows,
            scope=scope,
            on_step=self.on_step,
        )
        return DatasetSync(self.datasets, context, self.emit, follows=self.follows)

    async def sync_before_values(self, sync: DatasetSync, inventory: Inventory) -> Mapping[str, SyncResult]:
        """Bring up to date what values wait for, and learn which points replace other ones."""
        results = await sync.before_values(inventory)
        for result in results.values():
            self.warn(result.warnings)
        self.replaces = replaced_points(results)
        for one in self._others.values():
            one.replaces = one.series.replaced(self.replaces, one.inventory.tags)
        return results

    async def optimize(self, partitions: frozenset[str]) -> None:
        """Compact the partitions that were written to, as configured. The data is committed: an error is a warning."""
        performance = self.config.performance
        if not performance.optimize_after_write or not partitions or self.stop.asked:
            return
        table = self.series.table
        cluster_by = tuple(name for name in performance.zorder_columns if name in table.schema.names)
        options = MaintenanceOptions(cluster_by=cluster_by, partitions=partitions)
        try:
            done = await self.blocking(partial(optimize_table, self.lakehouse.table(table), options))
        except ExtractError as error:
            LOG.warning("the tables were not optimized: %s", error)
            return
        LOG.info("%s", done)

    async def blocking(self, call: Callable[[], R]) -> R:
        """Run a call that uses the tables, in the one thread for it."""
        return await asyncio.get_running_loop().run_in_executor(self.writer, copy_context().run, call)

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, Quarantined):
            self.metrics.note(event)
        self.metrics.output.note(event)
        self._tally(event)
        self.subscriber(event)

    def warn(self, warnings: Sequence[str]) -> None:
        """Log once what the report says, too."""
        for warning in warnings:
            if warning not in self._warnings:
                self._warnings.append(warning)
                LOG.warning("%s", warning)

    def report(self, result: CycleResult) -> RunReport:
        """What the run has done so far; `result` is that of its last cycle."""
        report = report_of(
            self._tally,
            result,
            self.source.client.statistics(),
            run=(self.run_id, self.config.pipeline, str(self.shard)),
            unresolved=(*self.inventory.unresolved, *self._ahead_of_clock()),
            holes=self._holes(),
            interrupted=self.stop.asked,
            follows=self.follows,
            seconds=monotonic() - self.metrics.began,
            tables={spec.name: self.lakehouse.table(spec).uri for spec in self._tables()},
            warnings=(
                *notes(self.config.extraction, self.inventory.tags),
                *self._warnings,
                *self.source.client.limits.advice(),
                *self._advice(),
            ),
        )
        return report if self.datasets.series else replace(report, tags_extracted=0)

    async def tell_cycle(self, result: CycleResult) -> None:
        """Give a cycle to the receivers of alerts and of metrics, as far as there are any."""
        if not (self.alerts.enabled or self.metrics.output.enabled):
            return
        report, fresh = self.report(result), self.freshness()
        self.alerts.note(facts_of_report(report, fresh.worst if fresh else None, wall_micros(), final=False))
        await self.metrics.show(report, fresh)

    async def end(self, report: RunReport) -> None:
        """Leave the last metrics row, and tell the receivers of alerts how the run ended, side by side."""
        fresh = self.freshness()
        facts = facts_of_report(report, fresh.worst if fresh else None, wall_micros(), final=True)
        async with asyncio.TaskGroup() as beside:
            # A run that follows and is asked to stop has no end to report: the next one follows on.
            if not (self.follows and self.stop.asked):
                beside.create_task(self.alerts.tell(facts), name="alerts")
            await self.add_metrics_row(report)

    async def end_by(self, error: BaseException) -> None:
        """The same for a run that ended by an error. No receiver gets an alert of an interruption."""
        if not isinstance(error, Exception):
            await self.add_failure_row(error)
            return
        fresh = self.freshness()
        facts = facts_of_error(error, str(self.shard), fresh.worst if fresh else None, wall_micros())
        async with asyncio.TaskGroup() as beside:
            beside.create_task(self.alerts.tell(facts), name="alerts")
            await self.add_failure_row(error)

    def _tables(self) -> Iterator[TableSpec]:
        """The tables of this run. In a folder, that of the quarantine is made for its first piece."""
        for spec in tables_of(self.config, self.datasets):
            if spec.name != PI_QUARANTINE.name or self.metrics.has_kept_pieces or self.config.storage.root is None:
                yield spec

    async def add_metrics_row(self, report: RunReport) -> None:
        await self.metrics.add(self.lakehouse, report, self.freshness())

    async def add_failure_row(self, error: BaseException) -> None:
        """Add the metrics row of a run that ended by an error."""
        await self.metrics.add_failure(
            self.lakehouse,
            error,
            self._tally,
            self._source.client.statistics() if self._source else ClientStats(),
            tags_extracted=count_complete(self.config, self.inventory.tags, self.watermarks, self.wanted),
            fresh=self.freshness(),
        )

    def freshness(self) -> Freshness | None:
        """How far the tags of this run lie behind the server's clock."""
        # That of recorded values, where they are read: what is sampled waits for its grid.
        for one in self.each_series()[:1]:
            done = one.watermarks.chosen([tag.web_id for tag in one.inventory.tags])
            return freshness(done.present[done.low < done.high].tolist(), self.clock.now())
        return None

    def _holes(self) -> list[OpenHole]:
        """The holes of the tags of this run."""
        return [
            OpenHole(tag.name, hole)
            for one in self.each_series()
            if one.watermarks.holes
            for tag in one.inventory.tags
            for hole in one.watermarks.holes.get(tag.web_id, ())
        ]

    def _ahead_of_clock(self) -> Sequence[tuple[str, str]]:
        """Tags whose watermark lies ahead of the server's clock, by name, with what to do. Less than an hour is not
        reported: time catches up with it.
        """
        found = watermarks_ahead(self.inventory.tags, self.watermarks, self.clock.now(), by=HOUR)
        return [(tag.name, why) for tag, _, why in found]

    def _advice(self) -> tuple[str, ...]:
        """What to configure, if the server gave fewer events at once than were asked for."""
        if self.limits is None or self.limits.max_count_per_tag >= self.config.extraction.max_count_per_tag:
            return ()
        given, refused = self.limits.max_count_per_tag, self.limits.server_max_count + 1
        advice = f"set extraction.max_count_per_tag: {given}, and no run has to find that out"
        return (f"this server refused {refused} events of a tag at once, and gave {given}: {advice}",)
