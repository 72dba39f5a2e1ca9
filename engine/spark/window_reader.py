"""Reads windows of tags in one task of Spark: the engine's own client, plan and decoder, and no table.

The engine works in a thread with an event loop of its own, so that requests go on while Spark takes rows. What waits
in between is bounded: a slow Spark slows the source. Invariant: an iterator that ends without an error has given every
event of its windows, but for what it gave to `leave_out`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from queue import Empty, Full, Queue

import pyarrow as pa

from config import Config, put_local_references
from config.errors import ExtractError, TagError
from writers import PI_TIMESERIES

from ..clock import wall_micros
from ..datasets.decoding import open_decoding
from ..datasets.recorded_values import RECORDED
from ..datasets.request_mode import SAMPLE_TAGS, SAMPLE_VALUES
from ..flow.channel import Channel
from ..flow.committer import CommitTotals, Delivery
from ..flow.pipeline import Pipeline, PipelineResult
from ..flow.stop import Stop
from ..model import Ask, Micros
from ..piweb.times import iso_text
from ..plan.planner import Plan
from ..plan.shards import Shard
from ..plan.tag_cursor import GapKind, TagCursor
from ..run.connect import connect
from ..run.plans import limits_of
from .micro_batches import TagWindow
from .source_state import LeftOut

_MICRO = timedelta(microseconds=1)
_ROWS_WAITING = 2  # batches
_LOOK_EVERY_SECS = 0.2
_NAMED = 5
_log = logging.getLogger("osipi.spark")
_PLAIN = pa.schema([field.remove_metadata() for field in PI_TIMESERIES.schema])


def read_windows(
    config: Config,
    windows: Sequence[TagWindow],
    share: Shard,
    leave_out: Callable[[list[LeftOut]], None] | None,
) -> Iterator[pa.RecordBatch]:
    """Give the events of windows, as rows of pi_timeseries. Each tag is in one window at most.

    `share`: which share of the request rate this is. `leave_out` takes the windows that cannot be read, before the
    iterator ends; without it they raise `TagError`. Raises `ExtractError` for what keeps all from being read.
    """
    handover = _Handover()
    engine = threading.Thread(
        target=_work, args=(config, windows, share, leave_out, handover), name="osipi-source", daemon=True
    )
    engine.start()
    try:
        yield from handover.batches()
    finally:
        handover.close()
        engine.join()


class _Handover:
    """Takes batches from the engine's thread to that of Spark, a few at a time."""

    def __init__(self) -> None:
        self._queue: Queue[pa.RecordBatch | BaseException | None] = Queue(_ROWS_WAITING)
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def put(self, item: pa.RecordBatch | BaseException | None) -> None:
        """Blocks while there is no room. Once closed, what comes is dropped."""
        while not self.closed:
            with contextlib.suppress(Full):
                self._queue.put(item, timeout=_LOOK_EVERY_SECS)
                return

    def batches(self) -> Iterator[pa.RecordBatch]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, ExtractError):
                raise item.with_hint() from None
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(Empty):
            while True:
                self._queue.get_nowait()


def _work(
    config: Config,
    windows: Sequence[TagWindow],
    share: Shard,
    leave_out: Callable[[list[LeftOut]], None] | None,
    handover: _Handover,
) -> None:
    try:
        unread = asyncio.run(_read(config, windows, share, handover, skips=leave_out is not None))
        if unread and leave_out is not None and not handover.closed:
            _log.warning("%s cannot be read, and left out: %s", _counted(unread), _shown(unread))
            leave_out(unread)
    except BaseException as error:  # noqa: BLE001 - it is raised in the other thread
        handover.put(error)
    else:
        handover.put(None)


async def _read(
    config: Config, windows: Sequence[TagWindow], share: Shard, handover: _Handover, *, skips: bool
) -> list[LeftOut]:
    """Read the windows. Gives what could not be read; unless it `skips`, that raises `TagError`."""
    stop, rate = Stop(), 1 / (config.extraction.assumed_interval // _MICRO)
    decoding = open_decoding(config.performance.decoder)
    try:
        async with connect(put_local_references(config), share) as source:
            sample = [Ask(each.tag, windows[0].start, windows[0].end, SAMPLE_VALUES) for each in windows[:SAMPLE_TAGS]]
            series = await RECORDED.open(
                source.client, source.url, config.extraction.request_mode, decoding, now=wall_micros, sample=sample
            )
            cursors = [
                TagCursor(each.tag, each.start, each.end, GapKind.FORWARD, rate, each.start, each.start)
                for each in windows
            ]
            channel: Channel[Delivery] = Channel(config.performance.buffer_bytes)
            taker = _Taker(channel, handover, {each.tag.web_id: each for each in windows}, stop, skips=skips)
            pipeline = Pipeline(
                Plan(cursors, limits_of(config, series.mode)),
                series,
                channel,
                taker,
                dataset=RECORDED.name,
                fetchers=config.performance.fetchers or config.pi_web_api.max_in_flight,
                emit=lambda _event: None,
                stop=stop,
                waited_secs=series.waited_secs,
            )
            result = await pipeline.run()
    finally:
        decoding.executor.shutdown()
    if handover.closed:
        return []
    _raise_unfinished(result, taker.unread, skips=skips)
    return taker.unread


def _raise_unfinished(result: PipelineResult, unread: Sequence[LeftOut], *, skips: bool) -> None:
    """Raise what kept windows from being read."""
    if unread and not skips:
        raise TagError(
            f"{_counted(unread)} cannot be read: {_shown(unread)}",
            hint="Mend the tag, or take it out of the selection; with failOnTagError false the windows are written down "
            "under stateLocation, and left out.",
        )
    if result.stopped is not None:
        raise result.stopped
    if left := result.unfinished:
        raise TagError(f"{len(left)} tags were not read to their end", hint="Run again.")


def _counted(unread: Sequence[LeftOut]) -> str:
    return "1 window" if len(unread) == 1 else f"{len(unread)} windows"


def _shown(unread: Sequence[LeftOut]) -> str:
    """The first of them, for people."""
    some = "; ".join(f"{each.tag_name} from {each.start} to {each.end}: {each.error}" for each in unread[:_NAMED])
    return some if len(unread) <= _NAMED else f"{some}; ..."


@dataclass(slots=True)
class _Taker:
    """Takes rows from the channel and hands them over, in place of a committer."""

    channel: Channel[Delivery]
    handover: _Handover
    windows: dict[str, TagWindow]
    stop: Stop
    skips: bool
    unread: list[LeftOut] = field(default_factory=list)
    rows: int = 0

    async def run(self) -> CommitTotals:
        loop = asyncio.get_running_loop()
        while (taken := await self.channel.get()) is not None:
            delivery, room = taken
            try:
                self._note(delivery)
                if delivery.rows.num_rows:
                    self.rows += delivery.rows.num_rows
                    await loop.run_in_executor(None, partial(self.handover.put, delivery.rows.cast(_PLAIN)))
            finally:
                room.free()
            if self.handover.closed or (self.unread and not self.skips):
                self.stop.ask("the rows are not wanted any more")
        return CommitTotals(self.rows)

    def _note(self, delivery: Delivery) -> None:
        """Note what cannot be read."""
        result = delivery.result
        for failure in result.failures:
            tag = failure.tag
            self._add(tag.name, tag.web_id, failure.high, self.windows[tag.web_id].end, failure.error)
        for hole in result.holes:
            if hole.error is not None:
                self._add(hole.tag.name, hole.tag.web_id, hole.start, hole.end, hole.error)

    def _add(self, name: str, web_id: str, start: Micros, end: Micros, error: ExtractError) -> None:
        self.unread.append(LeftOut(name, error.message, web_id, iso_text(start), iso_text(end)))
