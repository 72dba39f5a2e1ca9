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
    Upkeep,
    Watermark,
    check_columns,
    look_after,
    window_digests,
)

from .accounts import Accounts
from .clock import ServerClock, monotonic, wall_micros
from .datasets.recorded import RecordedSource
from .datasets.states import StatesSource
from .datasets.tags import Inventory, ask_time, find_tags
from .datasets.updates import UpdatesWatch
from .flow.channel import Channel
from .flow.committer import Committer, Delivery
from .flow.leased import under
from .flow.pipeline import Pipeline
from .flow.stop import Stop
from .follow import Cycle, Following, Means, ReadOnce
from .metadata import Metadata
from .model import Micros, Tag, Window
from .piweb.times import iso_text
from .plan.ahead import notes
from .plan.parts import Part, shard_of
from .plan.planner import Plan
from .plan.shards import Shard
from .sweeping import rare_collections
from .telemetry.events import Emit, Event, Finished, Planned, Started, TagFailed, TagsFound
from .telemetry.freshness import Freshness, freshness
from .telemetry.report import RunReport, Tally, peak_rss_bytes
from .wiring import (
    DATASET,
    Connection,
    connect,
    lakehouse_of,
    plan_of,
    repairs_of,
    target_of,
    wanted_window,
    windows_to_sum,
)

__all__ = ["run"]

LOG = logging.getLogger("osipi.run")
R = TypeVar("R")


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
) -> RunReport:
    """Read everything the configuration selects and is not done yet, and land it exactly once; with
    `follow` again and again, until asked to stop.

    With `suspects`, nothing new is read: these windows, as far as they are done, are read again and put in
    the place of what the table holds, where that differs.

    Returns the report, also of a run that was interrupted or stopped by the source. Raises
    `StopError` where there is nothing to report: configuration, login, lease, lost state, storage.
    """
    check_runnable(config)
    if follow:
        check_followable(config)
    check_columns(PI_TIMESERIES, config.performance.zorder_columns)
    run_id = run_id or uuid.uuid4().hex[:12]
    this = _Run(config, shard, emit=emit, stop=stop or Stop(), on_step=on_step, run_id=run_id, follow=follow)
    this.suspects = suspects
    try:
        with rare_collections():
            report = await this.go()
    except BaseException as error:
        await this.account_for_failure(error)
        raise
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
        self._found_at = 0.0
        self._marks: Mapping[str, Watermark] = {}
        self._undone: set[str] = set()
        self._watch: UpdatesWatch | None = None
        self.suspects: Sequence[tuple[Tag, Window]] | None = None
        # One thread, so that the tables of a run are touched by one call at a time, in order.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="osipi-writer")
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="osipi-decoder")

    async def go(self) -> RunReport:
        config, shard = self._config, self._shard
        try:
            # A destination that cannot be is said before PI is asked for anything.
            self._lakehouse = lakehouse = await asyncio.to_thread(lakehouse_of, config)
            async with connect(config, shard) as source:
                self._source = source
                self._emit(Started(self._run_id, config.pipeline, str(shard), source.url, target_of(config)))
                inventory = await self._find_tags(source, since=self._began)
                self._clock = ServerClock(inventory.server_now)
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
        if self._follow or self.suspects is not None or self._config.extraction.mode != "full":
            return await self._leased(lakehouse, Part.ALL, work)
        try:
            front = await self._leased(lakehouse, Part.FRONT, work)
        except FencedError as busy:
            if self._marks:
                raise  # another run came in between
            LOG.warning("%s Only the history before what is done is read beside it.", busy.message)
            front = Cycle(wanted_window(self._config, None, inventory.server_now).end)
        if front.stopped or self._stop.asked:
            return front
        undone = self._undone
        back = await self._leased(lakehouse, Part.BACK, work)
        # What was never read has nothing behind it: it waits for a front.
        self._undone |= undone | {tag.web_id for tag in inventory.tags if tag.web_id not in self._marks}
        return replace(back, until=front.until, undone=len(self._undone))

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
        inventory = (await find_tags(source.client, self._config.extraction)).share(self._shard)
        self._inventory, self._found_at = inventory, monotonic()
        for note in notes(self._config.extraction, inventory.tags):
            LOG.info("%s", note)
        self._emit(TagsFound(len(inventory.tags), len(inventory.unresolved), monotonic() - since))
        return inventory

    async def _work(self, lakehouse: Lakehouse, source: Connection, inventory: Inventory, part: Part) -> Cycle:
        config = self._config
        landing = Landing(
            lakehouse,
            PI_TIMESERIES,
            pipeline=config.pipeline,
            dataset=DATASET,
            shard=shard_of(part, str(self._shard)),
            run_id=self._run_id,
            on_step=self._on_step,
        )
        self._marks = await self._blocking(landing.open)
        recorded = await RecordedSource.open(
            source.client, source.url, config.extraction.request_mode, self._decoder, now=wall_micros
        )
        states = StatesSource(source.client, source.url, recorded.mode, batch_size=config.extraction.batch_size)
        metadata = Metadata(lakehouse, self._shard, states, self._writer, emit=self._emit, stop=self._stop)
        cycle = partial(self._cycle, recorded, landing, part)
        async with asyncio.TaskGroup() as beside:
            if part is not Part.BACK:
                await metadata.sync_tags(inventory, on_step=self._on_step)
                beside.create_task(metadata.sync_states(inventory, on_step=self._on_step), name="digital states")
            if self._follow:
                if config.extraction.stream_updates == "auto":
                    self._watch = await UpdatesWatch.open(source.client, inventory.tags)
                return await self._following(cycle, inventory, source, lakehouse, metadata).run()
            last = await cycle(inventory.tags, inventory.server_now, since=self._found_at)
        await self._optimize(lakehouse)
        return last

    def _following(
        self, cycle: ReadOnce, inventory: Inventory, source: Connection, lakehouse: Lakehouse, metadata: Metadata
    ) -> Following:
        if self._config.performance.optimize_after_write:
            LOG.warning("performance.optimize_after_write has no effect with --follow: schedule `maintain`")

        async def discover() -> None:
            found = await self._find_tags(source, since=monotonic())
            await metadata.sync_tags(found, on_step=self._on_step)
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

    async def _cycle(
        self, recorded: RecordedSource, landing: Landing, part: Part, tags: Sequence[Tag], now: Micros, *, since: float
    ) -> Cycle:
        """Read these tags up to the server's `now`, less the lag, and land what came."""
        if self.suspects is None:
            sums = {} if part is Part.BACK else await self._sums(tags)
            suspects = await self._hinted()
            plan = plan_of(self._config, tags, self._marks, sums, now=now, part=part, suspects=suspects)
        else:
            plan = repairs_of(self._config, self.suspects, self._marks)
        until = wanted_window(self._config, None, now).end
        self._emit(
            Planned(
                tags=plan.tags_unfinished,
                tags_done=len(tags) - plan.tags_unfinished,
                expected_values=round(plan.expected_values),
                start=plan.earliest,
                until=until,
                seconds=monotonic() - since,
            )
        )
        failed: dict[str, str] = {}
        rows = self._tally.records_written

        def emit(event: Event) -> None:
            if isinstance(event, TagFailed):
                failed[event.web_id] = event.tag
            self._emit(event)

        await self._pump(plan, recorded, landing, part, emit)
        self._undone = set(plan.unfinished)
        return Cycle(until, self._tally.records_written - rows, failed, plan.tags_unfinished, plan.stopped)

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

    async def _pump(self, plan: Plan, recorded: RecordedSource, landing: Landing, part: Part, emit: Emit) -> None:
        performance = self._config.performance
        back = part is Part.BACK
        age = performance.backfill_commit_seconds if back else performance.commit_seconds
        channel: Channel[Delivery] = Channel(performance.buffer_bytes)
        committer = Committer(
            landing,
            channel,
            commit_rows=performance.backfill_commit_rows if back else performance.commit_rows,
            commit_secs=age.total_seconds(),
            writer=self._writer,
            emit=emit,
        )
        fetchers = performance.fetchers or self._config.pi_web_api.max_in_flight
        await Pipeline(plan, recorded, channel, committer, fetchers=fetchers, emit=emit, stop=self._stop).run()

    def _report(self, cycle: Cycle, source: Connection, lakehouse: Lakehouse) -> RunReport:
        tally, stats = self._tally, source.client.statistics()
        unresolved = self._inventory.unresolved if self._inventory else ()
        failed = {**dict(unresolved), **tally.failed}
        undone = cycle.undone
        # Who follows is never done, and was to stop when asked to.
        left = undone and not self._follow
        if self._stop.asked and not self._follow:
            status = "interrupted"
        else:
            status = "incomplete" if failed or left or cycle.stopped else "succeeded"
        return RunReport(
            run_id=self._run_id,
            pipeline=self._config.pipeline,
            shard=str(self._shard),
            status=status,
            tags_requested=tally.tags_requested,
            tags_extracted=tally.tags_requested - len(failed) - undone,
            tags_failed=tuple(failed.items()),
            tags_undone=undone,
            records_written=tally.records_written,
            watermarks_moved=tally.watermarks_moved,
            commits=tally.commits,
            files_written=tally.files,
            bytes_written=tally.bytes_written,
            requests=stats.requests,
            retries=stats.retries,
            throttled=stats.throttled,
            bytes_fetched=stats.bytes_received,
            duration_seconds=monotonic() - self._began,
            seconds=dict(tally.seconds),
            peak_rss_bytes=peak_rss_bytes(),
            until=iso_text(cycle.until),
            tables={spec.name: lakehouse.table(spec).uri for spec in DATASETS},
            error=cycle.stopped,
            corrections=tally.corrections,
            digital_states=tally.states,
            warnings=(
                *notes(self._config.extraction, self._inventory.tags if self._inventory else ()),
                *tally.warnings,
            ),
        )

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
        await self._accounts.add_failure(self._lakehouse, error, self._tally, stats, self._freshness())

    def _freshness(self) -> Freshness | None:
        """How far the tags of this run lie behind the server's clock."""
        if self._inventory is None or self._clock is None:
            return None
        marks = (self._marks.get(tag.web_id) for tag in self._inventory.tags)
        ends = (mark.present for mark in marks if mark is not None and mark.high > mark.low)
        return freshness(ends, self._clock.now())

    async def _blocking(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    def _emit(self, event: Event) -> None:
        self._tally(event)
        self._subscriber(event)
