"""How fast the simulator answers, measured over a real loopback socket.

    python -m benchmarks.lab.simulator_speed

The client is a process of its own, which posts batches and discards the answers. Two rates are printed: values per
second of processor time of the serving process, which other load on the machine does not change, and values per second
of wall time, which includes the work of the client.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from urllib.parse import urlsplit

from engine.simulator.options import SimulatorOptions
from engine.simulator.server import Simulator
from engine.simulator.times import DAY, SECOND, iso, ticks_of

__all__ = ["Speed", "main", "run"]

_SLIM = "&selectedFields=Items.Timestamp;Items.Value;Items.Good;Items.Questionable;Items.Substituted;Items.Annotated"
_NOW = "2024-03-05T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Speed:
    """Values, bytes and seconds of one measurement."""

    name: str
    values: int
    sent_bytes: int
    cpu_secs: float
    wall_secs: float

    def __str__(self) -> str:
        each = self.sent_bytes / max(1, self.values)
        per_cpu, per_wall = self.values / self.cpu_secs / 1e6, self.values / self.wall_secs / 1e6
        return f"{self.name:34} {per_cpu:6.2f} M values/s of one core {per_wall:6.2f} M values/s of wall time {each:6.1f} B each"


def _bodies(simulator: Simulator, per_tag: int, fields: str, count: int) -> list[bytes]:
    """Batches of 100 tags each, with different windows and tags."""
    start = ticks_of(_NOW) - 300 * DAY
    span = per_tag * 60 * SECOND
    bodies = []
    for turn in range(count):
        first, last = start + turn * span, start + (turn + 1) * span - 1
        tags = [(turn * 100 + number) % simulator.options.tags for number in range(100)]
        query = f"startTime={iso(first)}&endTime={iso(last)}&maxCount=10000{fields}"
        parts = {
            str(tag): {"Method": "GET", "Resource": f"streams/{simulator.web_id(tag)}/recorded?{query}"} for tag in tags
        }
        bodies.append(json.dumps(parts).encode())
    return bodies


def _drain(url: str, bodies: list[bytes], headers: dict[str, str]) -> int:
    """Post the batches and discard the answers. Returns the number of bytes received."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    received = 0
    buffer = bytearray(1 << 20)
    for body in bodies:
        connection.request("POST", f"{address.path}/batch", body, {"X-Requested-With": "measure", **headers})
        answer = connection.getresponse()
        while size := answer.readinto(buffer):
            received += size
    connection.close()
    return received


async def run(name: str, per_tag: int, fields: str, count: int, headers: dict[str, str]) -> Speed:
    """Measure one kind of answer. The tables of values are made before the clock starts."""
    simulator = Simulator(SimulatorOptions(tags=30_000, now=ticks_of(_NOW) / SECOND))
    bodies = _bodies(simulator, per_tag, fields, count)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, get_context("spawn")) as client:
        async with simulator.serve() as url:
            await loop.run_in_executor(client, _drain, url, bodies[:20], headers)
            before = simulator.stats["values"]
            cpu, wall = time.process_time(), time.perf_counter()
            received = await loop.run_in_executor(client, _drain, url, bodies, headers)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Speed(name, simulator.stats["values"] - before, received, cpu, wall)


def main() -> None:
    for name, per_tag, count in (("dense, 100 tags x 1000 events", 1000, 60), ("small, 100 tags x 5 events", 5, 400)):
        for detail, fields, headers in (
            ("full", "", {}),
            ("slim", _SLIM, {}),
            ("slim gzip", _SLIM, {"Accept-Encoding": "gzip"}),
        ):
            print(asyncio.run(run(f"{name}, {detail}", per_tag, fields, count, headers)))


if __name__ == "__main__":
    main()
