"""The client of the product against a server that refuses what is above its capacity, which the client is not told.

The client runs as a child (`python -m benchmarks.lab.throttled URL SETTINGS`), the simulator in another process. What a
run does with the answers is left out: it would measure decoding and committing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.lab.processes import json_of, plant, run_child
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request

__all__ = ["measure"]

_REQUEST = Request("GET", "/system?selectedFields=ProductTitle")


def measure(settings: Mapping[str, Any], _scale: str, _say: Callable[[str], None]) -> dict[str, Any]:
    """Ask for a while; returns how much of the capacity was used, and how much was refused."""
    faults = {"switches": {"rate_limit": settings["capacity"], "rate_limit_burst": settings["burst"]}}
    with plant(settings["plant"], faults=faults) as site:
        run = json_of(run_child(["-m", "benchmarks.lab.throttled", site.url, json.dumps(dict(settings))]))
    return {"figures": run, "runs": {"client": [run]}}


async def _ask(url: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    capacity = settings["capacity"]
    allowed = capacity * settings["times"]
    client = ClientSettings(url, max_requests_per_second=allowed, max_in_flight=8, retry_attempts=8)
    answers = 0

    async def ask() -> None:
        nonlocal answers
        while time.monotonic() < until:
            response = await piweb.send(_REQUEST)
            answers += response.status == 200

    async with PIClient(client) as piweb:
        began = time.monotonic()
        until = began + settings["seconds"]
        await asyncio.gather(*(ask() for _ in range(settings["askers"])))
        secs = time.monotonic() - began
        statistics = piweb.statistics()
    return {
        "capacity": capacity,
        "burst": settings["burst"],
        "allowed": allowed,
        "requests": statistics.requests,
        "refused": statistics.throttled,
        "answers": answers,
        "seconds": secs,
        "share_refused": statistics.throttled / statistics.requests,
        # The bucket is full at first: that much more can be had.
        "share_of_capacity": answers / (settings["burst"] + capacity * secs),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_ask(sys.argv[1], json.loads(sys.argv[2])))))
