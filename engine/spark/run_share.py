"""One share of a run, in a task of Spark: the engine with an event loop and a lease of its own.

Spark may run a task twice at once (speculation), again after it was lost, or go on with one whose driver is dead. While
one task of a share reads, the others wait for it, and ask the source for nothing. A lease keeps them apart, and the
commit where two pass it. Invariant: a task that begins after another one did says so in its result. A task ends when
its run is over.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from config import Config, from_mapping
from config.errors import ConfigurationError, ExtractError, FencedError
from writers import Lakehouse, Lease
from writers.tables import PI_WATERMARKS

from ..datasets.tags import Inventory
from ..flow.run_with_lease import run_with_lease
from ..flow.stop import Stop
from ..import_check import installed_version
from ..plan.shards import Shard
from ..run import run
from ..run.connect import lakehouse_of
from ..run.job import unless_stopped
from ..telemetry.console import PrintableConsole
from ..telemetry.events import RunEvent
from ..telemetry.log import EventLog, set_up_logging
from ..telemetry.progress import LogProgress
from .run_results import ShareResult, decode_result, encode_result

RESULT_TYPE = "result string"  # the columns that `run_shares` gives, as Spark writes them
_LOOK_SECS = 2.0
# So often a task begins again that another task of its share, or a run that is none, has fenced.
_MOST_FENCED = 3
LOG = logging.getLogger("osipi.spark")


@dataclass(frozen=True, slots=True)
class RunOnSpark:
    """What all tasks of a run get. It travels with each of them, and holds no credential.

    `document`: the configuration as it was written, with references. `driver`: who holds the driver's lease, as it says
    itself. `shares`: the tags of each share, packed.
    """

    document: Mapping[str, Any] = field(repr=False)
    run_id: str
    driver: str
    version: str
    log_level: str
    take_over: str | None
    retry_holes: bool
    shares: tuple[bytes, ...] = field(repr=False)


def packed(inventory: Inventory) -> bytes:
    return zlib.compress(pickle.dumps(inventory, protocol=5), 1)


def unpacked(content: bytes) -> Inventory:
    inventory = pickle.loads(zlib.decompress(content))  # noqa: S301 - packed by our driver, as all that Spark sends
    assert isinstance(inventory, Inventory)  # noqa: S101
    return inventory


def run_shares(work: RunOnSpark, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Run the shares with these numbers; give a result for each, as JSON. What Spark calls in a task."""
    for batch in batches:
        for index in batch.column(0).to_pylist():
            with _deaf_to_interrupts():
                result = asyncio.run(_share(work, Shard(index, len(work.shares))))
            yield pa.RecordBatch.from_pydict({"result": [encode_result(result).decode()]})


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Leave Ctrl-C to the driver, which asks the tasks to stop: on one machine it reaches their processes, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _share(work: RunOnSpark, shard: Shard) -> ShareResult:
    """Run a share as soon as no other task of it is at work. Errors that Spark's retries cannot mend are a result."""
    inventory = unpacked(work.shares[shard.index])
    try:
        config = await asyncio.to_thread(partial(_config_of, work))
        lakehouse = await asyncio.to_thread(partial(_lakehouse, config))
        result = await _Share(work, shard, config, lakehouse, inventory).result()
    except ExtractError as error:
        LOG.warning("share %s: %s", shard, error)
        return ShareResult(str(shard), len(inventory.tags), error=error)
    return result


def _config_of(work: RunOnSpark) -> Config:
    if work.version != installed_version():
        raise ConfigurationError(
            f"the driver has osipi-connector {work.version}, an executor has {installed_version()}",
            hint="Install the same wheel on driver and executors.",
        )
    config = from_mapping(work.document).config
    set_up_logging(PrintableConsole(stderr=True), level=work.log_level, as_json=config.monitoring.log_format == "json")
    return config


def _lakehouse(config: Config) -> Lakehouse:
    """Where the tables are. Raises `ConfigurationError` where they are not: a folder that only the driver has."""
    lakehouse = lakehouse_of(config, creates=False)
    if not lakehouse.table(PI_WATERMARKS).exists():
        raise ConfigurationError(
            f"$.storage.root: an executor does not find the tables that the driver has created: {config.storage.root}",
            hint="Use storage that all machines see, for example s3:// or abfss://, or a catalog.",
        )
    return lakehouse


@dataclass(frozen=True, slots=True)
class _Share:
    work: RunOnSpark
    shard: Shard
    config: Config
    lakehouse: Lakehouse
    inventory: Inventory

    async def result(self) -> ShareResult:
        """Raises `FencedError` when the run is not at work any more."""
        lease = task_lease(self.lakehouse, self.config, str(self.shard), self.work.run_id)
        fenced = 0
        while True:
            await self._acquire(lease)
            try:
                # A task of this share may have ended while this one waited, or its result got lost on its way.
                before = await asyncio.to_thread(self._begin)
                if before.result is not None:
                    return before.result
                found = replace(await run_with_lease(lease, self._run()), lost_before=before.begun)
                fence = found.fence
                if fence is not None and before.begun and fenced < _MOST_FENCED:
                    # By a task that was silent when this one began, and woke up: it has lost its lease, and ends.
                    fenced += 1
                    raise fence
                await asyncio.to_thread(partial(self._keep, found, lease))
            except FencedError as lost:
                LOG.warning("share %s: %s", self.shard, lost)
            else:
                return found
            finally:
                await asyncio.to_thread(lease.release)

    async def _acquire(self, lease: Lease) -> None:
        """Wait until no other task of the share is at work. Raises `FencedError` when the driver is not."""
        waits = False
        while True:
            if not await asyncio.to_thread(self._has_driver):
                raise FencedError(
                    f"Run {self.work.run_id} on Spark is over, or another one has begun: share {self.shard} was not read.",
                    hint="What is done is in the tables. The next run continues there.",
                )
            try:
                return await asyncio.to_thread(lease.acquire)
            except FencedError as busy:
                if not waits:
                    LOG.info("share %s waits for another task of it: %s", self.shard, busy.message)
                waits = True

    async def _run(self) -> ShareResult:
        stop, display, log = Stop(), LogProgress(), EventLog(follow=False)

        def emit(event: RunEvent) -> None:
            display(event)
            log(event)

        async with asyncio.TaskGroup() as beside:
            watch = beside.create_task(self._watch_driver(stop), name="driver")
            try:
                return await self._run_until(stop, emit)
            finally:
                watch.cancel()

    async def _run_until(self, stop: Stop, emit: Any) -> ShareResult:
        work, tags = self.work, len(self.inventory.tags)
        engine = run(
            self.config,
            shard=self.shard,
            emit=emit,
            stop=stop,
            run_id=work.run_id,
            take_over=work.take_over,
            retry_holes=work.retry_holes,
            found=self.inventory,
        )
        try:
            ended = await unless_stopped(engine, stop)
        except ExtractError as error:
            return ShareResult(str(self.shard), tags, error=error)
        if ended is None:
            raise FencedError(f"Share {self.shard} was stopped before it began.", hint="The next run reads it.")
        return ShareResult(str(self.shard), tags, ended[0])

    async def _watch_driver(self, stop: Stop) -> None:
        """Stop when the driver has given its lease back, or another driver has it."""
        while not stop.asked:
            await asyncio.sleep(_LOOK_SECS)
            try:
                if not await asyncio.to_thread(self._has_driver):
                    stop.ask("the driver has ended the run")
            except ExtractError as error:
                LOG.warning("share %s cannot see its driver: %s", self.shard, error)

    def _has_driver(self) -> bool:
        return driver_lease(self.lakehouse, self.config, self.work.run_id).holder() == self.work.driver

    def _begin(self) -> _Progress:
        """What the tasks of this share have done before. Notes that this one begins, unless there is a result.

        Raises `FencedError` if another one has begun at the same moment.
        """
        state = self.lakehouse.state_file(_name_of(self.config, self.shard))
        version, content = state.read()
        before = _Progress.decode(content, self.work.driver)
        if before.result is None and not state.write(version + 1, _Progress(before.begun + 1).encode(self.work.driver)):
            raise FencedError("Another task of it has begun at the same moment.", hint="It is waited for.")
        return before

    def _keep(self, result: ShareResult, lease: Lease) -> None:
        """Keep the result beside the tables, for the driver's progress and for another task of the share.

        Raises `FencedError` if another task has taken the lease: then it is that task which has fenced this one.
        """
        state = self.lakehouse.state_file(_name_of(self.config, self.shard))
        try:
            lease.renew()
            version, _ = state.read()
            state.write(version + 1, _Progress(result.lost_before + 1, result).encode(self.work.driver))
        except FencedError:
            raise
        except ExtractError as error:
            LOG.warning("the result of share %s was not kept: %s", self.shard, error)


@dataclass(frozen=True, slots=True)
class _Progress:
    """How many tasks of a share have begun in a run, and the result, if one has ended. Kept beside the tables."""

    begun: int = 0
    result: ShareResult | None = None

    def encode(self, driver: str) -> bytes:
        result = b"" if self.result is None else encode_result(self.result)
        return b"\n".join((driver.encode(), str(self.begun).encode(), result))

    @classmethod
    def decode(cls, content: bytes, driver: str) -> _Progress:
        """That of the run with this driver: what another run has left says nothing."""
        whose, _, rest = content.partition(b"\n")
        if whose != driver.encode():
            return cls()
        begun, _, result = rest.partition(b"\n")
        return cls(int(begun), decode_result(result) if result else None)


def driver_lease(lakehouse: Lakehouse, config: Config, run_id: str) -> Lease:
    """The right to run a pipeline on Spark. It has no shard, so that no run takes it for one."""
    return lakehouse.lease(config.pipeline, "spark-driver", run_id)


def task_lease(lakehouse: Lakehouse, config: Config, shard: str, run_id: str) -> Lease:
    """The right to read a share in a task; the run within takes that of the shard, which other runs know."""
    return lakehouse.lease(config.pipeline, f"{shard}.task", run_id)


def result_of(lakehouse: Lakehouse, config: Config, work: RunOnSpark, shard: Shard) -> ShareResult | None:
    """The result of a share of this run that has ended."""
    _, content = lakehouse.state_file(_name_of(config, shard)).read()
    return _Progress.decode(content, work.driver).result


def _name_of(config: Config, shard: Shard) -> str:
    return f"spark-{config.pipeline}-{shard}"
