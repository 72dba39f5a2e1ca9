"""One trial of one setting, in a process of its own: reads and writes for some seconds, and prints the figures.

`python -m benchmarks.lab.trial JOB`. The parts are those of a run, put together as a run does, except
that tags and mode are given (finding them costs requests), tables lie in a temporary folder, requests
are counted, and the clock or the allowance ends it.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from benchmarks.lab.knobs import percentile
from benchmarks.lab.meter import Meter
from config import Config, load
from engine.clock import monotonic, wall_micros
from engine.datasets.recorded_values import RecordedSource
from engine.datasets.request_mode import Mode
from engine.flow.channel import Channel
from engine.flow.committer import Committer, Delivery
from engine.flow.pipeline import Pipeline
from engine.flow.stop import Stop
from engine.model import Tag, Window
from engine.net.client import PIClient
from engine.plan.planner import Plan
from engine.plan.tag_cursor import TagCursor, cursors_for
from engine.run.connect import connect, lakehouse_of
from engine.run.plans import limits_of
from engine.telemetry.events import Committed, RunEvent
from writers import Landing, LandingRun
from writers.tables import PI_TIMESERIES

__all__ = ["FORCED", "read_for_a_while"]

# These win over the file: a trial never writes to real tables, and does not repeat requests.
FORCED = (
    "pipeline=tune",
    "retry.max_attempts=1",
    "storage.options=null",
    "unity_catalog.table_type=null",
    "unity_catalog.location=null",
)


async def read_for_a_while(config: Config, job: dict[str, Any]) -> dict[str, Any]:
    """Read until the time is over, the allowance is spent, or everything is read."""
    stop = Stop()
    landed: list[int] = []

    def emit(event: RunEvent) -> None:
        if isinstance(event, Committed):
            landed.append(event.rows)

    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as decoder:
        async with connect(config) as source:
            meter = Meter(source.client, job["allowance"], lambda: None if stop.asked else stop.ask("allowance"))
            # It has all of the client that reading uses.
            client = cast("PIClient", meter)
            recorded = RecordedSource(client, source.url, Mode(job["mode"]), decoder, now=wall_micros)
            landing = Landing(
                lakehouse_of(config), PI_TIMESERIES, LandingRun(pipeline="tune", dataset="recorded", run_id="tune")
            )
            landing.open()
            plan = Plan(_readings(config, job), limits_of(config, recorded.mode))
            performance = config.performance
            channel: Channel[Delivery] = Channel(performance.buffer_bytes)
            committer = Committer(
                landing,
                channel,
                dataset="recorded",
                commit_rows=performance.commit_rows,
                commit_secs=performance.commit_seconds.total_seconds(),
                writer=writer,
                emit=emit,
            )
            fetchers = config.pi_web_api.max_in_flight
            pipeline = Pipeline(
                plan, recorded, channel, committer, dataset="recorded", fetchers=fetchers, emit=emit, stop=stop
            )
            clock = asyncio.get_running_loop().call_later(job["seconds"], _time_over, stop)
            began = monotonic()
            await pipeline.run()
            seconds = monotonic() - began
            clock.cancel()
            stats = meter.statistics()
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "values": sum(landed),
        "seconds": seconds,
        "requests": meter.used,
        "throttled": stats.throttled,
        "bytes": stats.bytes_received,
        "p50_ms": percentile(meter.latencies, 0.5) * 1e3,
        "p95_ms": percentile(meter.latencies, 0.95) * 1e3,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20,
        "ended_by": stop.reason or (str(plan.stopped) if plan.stopped else "nothing left to read"),
    }


def _time_over(stop: Stop) -> None:
    if not stop.asked:
        stop.ask("time")


def _readings(config: Config, job: dict[str, Any]) -> Iterator[TagCursor]:
    """Every trial begins with other tags: the server has those of the last trial in its cache."""
    tags = [Tag(*fields) for fields in json.loads(Path(job["tags_file"]).read_text(encoding="utf-8"))]
    random.Random(job["seed"]).shuffle(tags)
    rate = 1 / (config.extraction.assumed_interval.total_seconds() * 1e6)
    window = Window(job["start"], job["end"])
    for tag in tags:
        yield from cursors_for(tag, window, None, rows_done=0, assumed_rate=rate)


def main(job: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="osipi-tune-") as folder:
        config = load(job["config"], [*job["overrides"], *FORCED, f"storage.root={folder}"]).config
        print(json.dumps(asyncio.run(read_for_a_while(config, job))))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
