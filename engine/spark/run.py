"""A run whose shares are read by the tasks of Spark: `run --on spark`.

The driver finds the tags and creates the tables, and asks the source for nothing more. Invariant: two drivers of one
pipeline are never at work at once. The tasks of one that was killed stop when the next one begins.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from config import Config, Loaded, check_runnable, credentials_in_full, from_mapping
from config.errors import ConfigurationError, ExtractError, FencedError
from writers import PI_CONNECTOR_METRICS, Lakehouse

from ..clock import monotonic, wall_micros
from ..daemon_call import in_daemon_thread
from ..datasets.registry import DATASETS
from ..datasets.tags import Inventory, selected_tags
from ..flow.run_with_lease import run_with_lease
from ..flow.stop import Stop
from ..import_check import installed_version
from ..net.settings import ClientStats
from ..plan.shards import Shard
from ..run.alerts import Alerts
from ..run.connect import connect, lakehouse_of, tables_of
from ..run.job import wait_until_stopped
from ..telemetry.alert_text import Sender
from ..telemetry.alerts import facts_of_error
from ..telemetry.formats import count
from ..telemetry.log_fields import RUN_FIELDS
from ..telemetry.report import RunFailedError, RunReport
from .run_dealing import dealt, share_count
from .run_results import ShareResult, decode_result, merged
from .run_share import RESULT_TYPE, RunOnSpark, driver_lease, packed, result_of, run_shares, task_lease
from .session import answer_of, spark_session

LOG = logging.getLogger("osipi.spark")
_LOOK_SECS = 3.0
# So long a run that was asked to stop waits for its tasks to commit what is complete.
_GRACE_SECS = 60.0
# Of so many rows each task that Spark runs at once gets some.
_ROWS_TO_SPREAD = 10_000


def run_on_spark(
    loaded: Loaded,
    *,
    shares: int | None = None,
    run_id: str | None = None,
    take_over: str | None = None,
    retry_holes: bool = False,
    session: Any = None,
) -> RunReport:
    """Run a configuration in shares, one in each task of Spark, and report on all of them.

    `shares`: how many; without it as many as Spark runs tasks at once. `session`: without it, the active one, or a new
    one. The other arguments are those of `engine.run.run`.

    Raises `StopError` where there is nothing to report, `RunFailedError` where Spark gave the run up, and
    `KeyboardInterrupt` when interrupted before there was.
    """
    check_runnable(loaded.config)
    document = portable(loaded)
    run = SparkRun(
        loaded=loaded,
        document=document,
        session=session if session is not None else spark_session(),
        run_id=run_id or uuid.uuid4().hex[:12],
        shares=shares,
        take_over=take_over,
        retry_holes=retry_holes,
    )
    return wait_until_stopped(run.report)


def portable(loaded: Loaded) -> Mapping[str, Any]:
    """The configuration as it was written, fit for other machines: references in place of credentials, and no folder
    that depends on where a process was started.

    Raises `ConfigurationError` if a credential is written in full, since it would travel with every task.
    """
    document = dict(loaded.written)
    found = credentials_in_full(from_mapping(document, source=loaded.source, secrets=False).config)
    if found:
        raise ConfigurationError(
            f"{', '.join(found)}: written in full, it would travel with every task of Spark",
            hint="Write ${secret:scope/key}, or ${env:NAME} for a variable that all executors have: each task looks it up.",
        )
    root = loaded.config.storage.root
    if root is not None and "://" not in root:
        document["storage"] = {**(document.get("storage") or {}), "root": str(Path(root).expanduser().absolute())}
    return document


@dataclass(frozen=True, slots=True)
class SparkRun:
    """One run and its driver."""

    loaded: Loaded
    document: Mapping[str, Any] = field(repr=False)
    session: Any
    run_id: str
    shares: int | None = None
    take_over: str | None = None
    retry_holes: bool = False

    @property
    def config(self) -> Config:
        return self.loaded.config

    async def report(self, stop: Stop) -> RunReport:
        began = monotonic()
        RUN_FIELDS.set({"run_id": self.run_id, "pipeline": self.config.pipeline, "shard": str(Shard())})
        lakehouse: Lakehouse | None = None
        try:
            lakehouse = await in_daemon_thread(partial(lakehouse_of, self.config))
            begun = await self._begun(lakehouse, stop)
            results = await self._ended(begun, stop)
        except Exception as error:  # an alert is sent, and the error goes on
            await self._tell(error, lakehouse)
            raise
        report = merged(
            results,
            run_id=self.run_id,
            pipeline=self.config.pipeline,
            stats=begun.stats,
            seconds=monotonic() - began,
            warnings=self.loaded.warnings,
        )
        return replace(report, status="interrupted") if stop.asked else report

    async def _begun(self, lakehouse: Lakehouse, stop: Stop) -> _Begun:
        """Begin, under the lease of the driver. Returns when all tasks have ended, or when asked to stop: tasks that
        still read then see that the lease is free, commit what is complete, and end.
        """
        await asyncio.to_thread(partial(_create_tables, lakehouse, self.config))
        lease = driver_lease(lakehouse, self.config, self.run_id)
        await asyncio.to_thread(lease.acquire)
        try:
            holder = await asyncio.to_thread(lease.holder)
            return await run_with_lease(lease, self._deal_out(lakehouse, holder or "", stop))
        finally:
            await asyncio.to_thread(lease.release)

    async def _deal_out(self, lakehouse: Lakehouse, holder: str, stop: Stop) -> _Begun:
        await asyncio.to_thread(partial(_wait_for_old_tasks, lakehouse, self.config, self.run_id))
        inventory, stats = await self._find_tags()
        shares = dealt(inventory, await self._share_count(len(inventory.tags)))
        work = RunOnSpark(
            document=self.document,
            run_id=self.run_id,
            driver=holder,
            version=installed_version(),
            log_level=logging.getLevelName(logging.getLogger("osipi").getEffectiveLevel()).lower(),
            take_over=self.take_over,
            retry_holes=self.retry_holes,
            shares=tuple(map(packed, shares)),
        )
        LOG.info("%s in %s on Spark", count(len(inventory.tags), "tag"), count(len(shares), "share"))
        stop.heed()
        results = asyncio.ensure_future(in_daemon_thread(partial(answer_of, partial(_collect, self.session, work))))
        asked = asyncio.ensure_future(stop.wait())
        watch = asyncio.ensure_future(_tell_progress(lakehouse, self.config, work))
        try:
            await asyncio.wait((results, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            watch.cancel()
        return _Begun(stats, results)

    async def _share_count(self, tags: int) -> int:
        at_once = 0
        if self.shares is None:
            at_once = await in_daemon_thread(partial(answer_of, partial(_tasks_at_once, self.session)))
        most = self.config.pi_web_api.max_in_flight
        return share_count(self.shares, tasks_at_once=at_once, tags=tags, max_in_flight=most)

    async def _find_tags(self) -> tuple[Inventory, ClientStats]:
        async with connect(self.config) as source:
            found = await selected_tags(source.client, source.url, self.config)
            return found.require_tags(), source.client.statistics()

    async def _ended(self, begun: _Begun, stop: Stop) -> list[ShareResult]:
        """The results, also of tasks that were asked to stop. Those that do not end in time, or when asked again, are
        taken away. Raises `KeyboardInterrupt` where there is nothing to report.
        """
        if stop.asked and not begun.results.done():
            LOG.warning("%s: the tasks commit what is complete", stop.reason)
            insisted = asyncio.ensure_future(stop.wait_insisted(_GRACE_SECS))
            await asyncio.wait((begun.results, insisted), return_when=asyncio.FIRST_COMPLETED)
            insisted.cancel()
        if not begun.results.done():
            await in_daemon_thread(partial(self.session.interruptTag, _tag(self.run_id)))
            raise KeyboardInterrupt
        try:
            results = begun.results.result()
        except RunFailedError:
            if stop.asked:  # Spark has taken the tasks away before they could end
                raise KeyboardInterrupt from None
            raise
        if stop.asked:  # a task that had nothing to do yet says that its run is over: that is no error now
            results = [replace(one, error=None) if isinstance(one.error, FencedError) else one for one in results]
            if all(one.report is None and one.error is None for one in results):
                raise KeyboardInterrupt
        return results

    async def _tell(self, error: Exception, lakehouse: Lakehouse | None) -> None:
        """Tell the receivers of alerts of an error that kept all shares from beginning."""
        shard = str(Shard(0, self.shares or 1))
        alerts = Alerts(self.config, Sender(self.config.pipeline, self.run_id, shard), follows=False)
        alerts.lakehouse = lakehouse
        await alerts.tell(facts_of_error(error, shard, None, wall_micros()))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run whose tasks are at work or done. `stats`: what was asked to find the tags."""

    stats: ClientStats
    results: asyncio.Future[list[ShareResult]]


def _create_tables(lakehouse: Lakehouse, config: Config) -> None:
    """Create what is missing, before tasks could do so at the same time."""
    datasets = DATASETS.chosen_by(config)
    lakehouse.prepare(tables_of(config, datasets))
    for spec in (*datasets.tables, *((PI_CONNECTOR_METRICS,) if config.monitoring.metrics else ())):
        lakehouse.table(spec).open()


def _wait_for_old_tasks(lakehouse: Lakehouse, config: Config, run_id: str) -> None:
    """Wait until no task of an earlier run is at work. Its driver is dead, so that each ends as soon as it sees that."""
    for shard in lakehouse.shards_seen(config.pipeline):
        lease = task_lease(lakehouse, config, shard, run_id)
        while (holder := lease.holder()) is not None:
            LOG.info("waiting for a task of an earlier run to end: %s", holder)
            with suppress(FencedError):  # it is alive
                lease.acquire()
                lease.release()


async def _tell_progress(lakehouse: Lakehouse, config: Config, work: RunOnSpark) -> None:
    """Say how many shares are done, whenever it is more, until cancelled."""
    waiting = [Shard(index, len(work.shares)) for index in range(len(work.shares))]
    while waiting:
        await asyncio.sleep(_LOOK_SECS)
        try:
            ended = [
                one for one in waiting if await asyncio.to_thread(partial(result_of, lakehouse, config, work, one))
            ]
        except ExtractError as error:
            LOG.warning("it cannot be seen how many shares are done: %s", error)
            continue
        waiting = [one for one in waiting if one not in ended]
        if ended:
            LOG.info("%d of %s done", len(work.shares) - len(waiting), count(len(work.shares), "share"))


def _tasks_at_once(session: Any) -> int:
    """How many tasks Spark runs at the same time, as it spreads rows. In classic sessions and Spark Connect alike."""
    from pyspark.sql import functions

    return int(session.range(_ROWS_TO_SPREAD).select(functions.spark_partition_id()).distinct().count())


def _collect(session: Any, work: RunOnSpark) -> list[ShareResult]:
    """Run all shares, a task each."""
    shares = len(work.shares)
    session.addTag(_tag(work.run_id))
    rows = session.range(0, shares, 1, shares).mapInArrow(partial(run_shares, work), RESULT_TYPE).collect()
    return [decode_result(row[0]) for row in rows]


def _tag(run_id: str) -> str:
    """The tag of the jobs of a run, in which Spark allows no comma."""
    return f"osipi-{run_id.replace(',', '_')}"
