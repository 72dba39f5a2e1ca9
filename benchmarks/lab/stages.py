"""The processor time per event of each stage alone. The limit is computed from these.

Run as a child: `python -m benchmarks.lab.stages '{"url": .., "server_pid": .., ...}'`. The stages are
the server's work, reading bodies through aiohttp without looking at them, finding the parts of the
JSON (what any decoder has to pay), decoding with one of ours, and writing and committing Parquet. Nothing
that moves an event from PI into a Delta table on these cores can be faster than their sum.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import psutil  # type: ignore[import-untyped]
import pyarrow as pa
from yarl import URL

from benchmarks.lab.windows import TimeSpan, options_of
from engine.datasets.decoding import open_decoding
from engine.model import Ask, Tag
from engine.piweb import requests
from engine.piweb.wire import Shape
from engine.simulator import Simulator
from writers import Landing, LandingRun, Move, open_lakehouse
from writers.tables import PI_TIMESERIES

__all__ = ["Limit", "limit"]

_TURNS = 3


@dataclass(frozen=True, slots=True)
class Limit:
    """Events per second that the stages allow on so many cores."""

    ideal: float  # the JSON is only skimmed
    with_our_decoder: float


def limit(stages: dict[str, float], cores: int) -> Limit:
    """The rate from nanoseconds of processor time per event, with all cores busy and no waiting."""
    shared = stages["server"] + stages["raw_read"] + stages["stage_and_commit"]
    return Limit(cores * 1e9 / (shared + stages["skim"]), cores * 1e9 / (shared + stages["decode"]))


def asks_of(plant: dict[str, Any], span: TimeSpan, tags_per_answer: int, answers: int) -> list[list[Ask]]:
    """The asks of `answers` answers: groups of tags, each over the whole span."""
    site = Simulator(options_of(plant))
    tags = [Tag(site.web_id(n), f"tag{n}") for n in range(min(plant["tags"], tags_per_answer * answers))]
    packs = [tags[at : at + tags_per_answer] for at in range(0, len(tags), tags_per_answer)]
    return [[Ask(tag, span.start, span.end, 150_000) for tag in pack] for pack in packs]


def measure(settings: dict[str, Any]) -> dict[str, float]:
    """Nanoseconds of processor time per event, stage by stage; the best of a few turns each."""
    span = TimeSpan(settings["start"], settings["end"])
    packs = asks_of(settings["plant"], span, settings["tags_per_answer"], settings["answers"])
    server = psutil.Process(settings["server_pid"])
    decode = open_decoding(settings["decoder"]).decode
    bodies, best = _read_all(packs, settings, server)
    answers = [decode(body, asks, Shape.BATCH, ingested_at=0) for body, asks in zip(bodies, packs, strict=True)]
    rows = sum(answer.rows.num_rows for answer in answers)
    # No strict parser takes a bare NaN, which PI may write; where it stands makes no difference here.
    strict = [body.replace(b":NaN", b":0.0") for body in bodies]
    best["skim"] = _cheapest(lambda: [msgspec.json.decode(body, type=dict[str, msgspec.Raw]) for body in strict])
    best["decode"] = _cheapest(
        lambda: [decode(body, asks, Shape.BATCH, ingested_at=0) for body, asks in zip(bodies, packs, strict=True)]
    )
    best["stage_and_commit"] = _cheapest(lambda: _land([answer.rows for answer in answers]))
    stages = {name: secs / rows * 1e9 for name, secs in best.items()}
    return {**stages, "events": rows, "bytes_per_event": sum(map(len, bodies)) / rows}


def _read_all(
    packs: Sequence[Sequence[Ask]], settings: dict[str, Any], server: psutil.Process
) -> tuple[list[bytes], dict[str, float]]:
    """Bodies, and seconds of both sides; plain or compressed, whichever costs the two together less."""
    url = settings["url"]
    sent = [requests.batch(asks, url) for asks in packs]
    found: list[tuple[float, float]] = []
    bodies: list[bytes] = []
    for encoding in ("identity", "gzip") * _TURNS:
        with _cpu(server) as used:
            bodies = asyncio.run(_fetch(url, sent, encoding, settings["in_flight"]))
        found.append((used[0], used[1]))
    client, its_server = min(found, key=sum)
    return bodies, {"server": its_server, "raw_read": client}


async def _fetch(url: str, sent: Sequence[Any], encoding: str, in_flight: int) -> list[bytes]:
    bodies: list[bytes] = [b""] * len(sent)
    waiting = iter(enumerate(sent))
    headers = {"X-Requested-With": "stages", "Content-Type": "application/json", "Accept-Encoding": encoding}
    async with aiohttp.ClientSession(headers=headers, read_bufsize=1 << 20) as session:

        async def reader() -> None:
            for number, request in waiting:
                async with session.post(URL(url + request.path, encoded=True), data=request.body) as answer:
                    answer.raise_for_status()
                    bodies[number] = b"".join([block async for block in answer.content.iter_any()])

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(reader())
    return bodies


@contextmanager
def _cpu(server: psutil.Process) -> Iterator[list[float]]:
    """Processor seconds of this process and of the server while the context is open."""
    used: list[float] = []
    mine, its = time.process_time(), _busy(server)
    yield used
    used += [time.process_time() - mine, _busy(server) - its]


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cheapest(work: Callable[[], object]) -> float:
    """Processor seconds of the best of a few turns, all threads of this process together."""
    best = float("inf")
    for _ in range(_TURNS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def _land(batches: Sequence[pa.RecordBatch]) -> None:
    with tempfile.TemporaryDirectory(prefix="osipi-stages-") as folder:
        landing = Landing(
            open_lakehouse(folder), PI_TIMESERIES, LandingRun(pipeline="stages", dataset="recorded", run_id="stages")
        )
        landing.open()
        batch = landing.begin()
        for rows in batches:
            batch.write(rows)
        batch.commit([Move("all", 0, 1, rows=batch.rows)])


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
