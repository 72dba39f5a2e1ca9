"""A simulated server in a process of its own, whose clock runs, and runs that follow it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config import Config, from_mapping
from engine.flow.stop import Stop
from engine.run import run
from engine.simulator import SimulatorOptions, point
from engine.telemetry.events import Cycled, Planned, RunEvent
from engine.telemetry.report import RunReport
from tests.exactness.expected import assert_same_rows, expected_rows, web_id_of
from tests.exactness.reading import marks_in, rows_in
from tests.patience import HANGS_AFTER_SECS, patiently
from tests.servers import free_port

__all__ = ["CRITICAL", "Followed", "LivePlant", "Server", "name_of"]

BEGIN = "2024-03-05T00:00:00Z"
# So many of the tags, the first ones, are of the class "critical".
CRITICAL = 4


def name_of(index: int) -> str:
    return point(SimulatorOptions(begin=BEGIN), index).name


class Server:
    """`python -m engine simulate` on one port, as often as it is started."""

    def __init__(
        self,
        folder: Path,
        *,
        tags: int,
        interval: str,
        faults: Mapping[str, Any] | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self._command = [
            sys.executable, "-m", "engine", "simulate", "--tags", str(tags), "--interval", interval,
            "--begin", BEGIN, "--port", str(self.port), *more,
        ]  # fmt: skip
        if faults is not None:
            file = folder / "faults.yaml"
            file.write_text(json.dumps(faults))
            self._command += ["--faults", str(file)]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/piwebapi"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("listening on ")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass
class LivePlant:
    """The plant behind the server, and the lake it is followed into."""

    root: Path
    tags: int = 12
    interval_secs: float = 0.2
    faults: Mapping[str, Any] | None = None
    more: Sequence[str] = ()
    extraction: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = Server(
            self.root, tags=self.tags, interval=f"{self.interval_secs}s", faults=self.faults, more=self.more
        )
        self.options = SimulatorOptions(tags=self.tags, begin=BEGIN, interval_secs=self.interval_secs)

    def document(self, **sections: Mapping[str, Any]) -> dict[str, Any]:
        """The critical tags every second, the others every three."""
        shared: dict[str, Any] = {
            "pi_web_api": {
                "url": self.server.url,
                "auth_type": "anonymous",
                "timeout": "60s",
                "max_requests_per_second": 1000,
            },
            "storage": {"root": str(self.root / "lake")},
            "extraction": {
                "tag_name_filter": "*",
                "start_date": "now-5s",
                "lag": "200ms",
                "interval": "3s",
                "classes": [{"name": "critical", "tags": [name_of(n) for n in range(CRITICAL)], "interval": "1s"}],
                **self.extraction,
            },
            "retry": {"max_attempts": 2, "initial_wait": "1ms", "max_wait": "1ms"},
        }
        return {**shared, **{key: {**shared.get(key, {}), **values} for key, values in sections.items()}}

    def config(self, **sections: Mapping[str, Any]) -> Config:
        return from_mapping(self.document(**sections)).config

    def table(self, name: str) -> Path:
        return self.root / "lake" / "main" / ("checkpoints" if name == "pi_watermarks" else "bronze") / name

    def assert_exact(self) -> dict[int, tuple[int, int]]:
        """Every tag has exactly the events of its window; gives the windows."""
        marks = marks_in(self.table("pi_watermarks"))
        windows = {n: marks[web_id_of(n)] for n in range(self.tags)}
        expected = [row for n, mark in windows.items() for row in expected_rows(self.options, [n], mark.low, mark.high)]
        assert_same_rows(rows_in(self.table("pi_timeseries")), expected)
        return {n: (mark.low, mark.high) for n, mark in windows.items()}


@dataclass
class Followed:
    """A run that follows, in this process."""

    plant: LivePlant
    config: Config
    events: list[tuple[float, RunEvent]] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)
    started: float = 0.0

    def __post_init__(self) -> None:
        self._task = asyncio.ensure_future(run(self.config, emit=self._take, stop=self.stop, follow=True))

    def _take(self, event: RunEvent) -> None:
        if isinstance(event, Planned) and not self.started:
            self.started = time.monotonic()
        self.events.append((time.monotonic(), event))

    def told(self, kind: type[RunEvent]) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, kind)]

    @property
    def cycles(self) -> list[Cycled]:
        return self.told(Cycled)

    async def until(self, reached: Callable[[], bool], secs: float = HANGS_AFTER_SECS) -> None:
        async with asyncio.timeout(secs):
            while not reached():
                if self._task.done():
                    self._task.result()
                    raise AssertionError("the run is over")
                await asyncio.sleep(0.02)

    async def ended(self, within_secs: float = 10.0) -> RunReport:
        """Ask it to stop, and see to it that it does in time."""
        self.stop.ask("enough")
        return await asyncio.wait_for(self._task, patiently(within_secs))
