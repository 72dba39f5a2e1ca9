"""Gives the metrics of a run to Prometheus, as a file and at a port of a run that follows, and to a collector by OTLP.

Invariant: nothing here fails a run, or holds it up for more than `LIMIT_SECS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from config import Config
from config.errors import UnavailableError

from ..clock import wall_micros
from ..daemon_call import in_daemon_thread
from ..model import Micros
from ..net.otlp import OtlpSender
from ..telemetry.events import RunEvent
from ..telemetry.openmetrics import file_of_shard, labels_of, metrics_text, totals_in, totals_of
from ..telemetry.trace import RunTrace, samples_of

LOG = logging.getLogger("osipi.metrics")
LIMIT_SECS = 5.0


# One of these variables is enough to send: it is how collectors make themselves known.
_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


class OtlpOutput:
    """Metrics and spans of one run, sent to a collector. `endpoint`: that of the configuration."""

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = endpoint
        self.trace = RunTrace(wall_micros())
        self.enabled = (endpoint is not None or any(map(os.environ.get, _ENDPOINTS))) and os.environ.get(
            "OTEL_SDK_DISABLED", ""
        ).casefold() != "true"
        self._sender: OtlpSender | None = None
        self._sending: asyncio.Task[None] | None = None

    async def put(self, row: Mapping[str, Any], holes: int | None, *, failed: bool) -> None:
        """Send. What a collector that is slow has not taken when the next is due is not waited for."""
        if not self.enabled or (self._sending is not None and not self._sending.done()):
            return
        spans = self.trace.take(row, wall_micros(), over=failed or self.trace.over)

        def send() -> None:
            self._sender = self._sender or OtlpSender(self._endpoint)
            self._sender.send(samples_of(row, holes), spans)

        self._sending = asyncio.create_task(in_daemon_thread(send))
        try:
            async with asyncio.timeout(LIMIT_SECS):
                await asyncio.shield(self._sending)
        except TimeoutError:
            LOG.warning("the collector of OpenTelemetry has taken nothing within %.0f s", LIMIT_SECS)
            self._sending.add_done_callback(lambda task: task.cancelled() or task.exception())
        except UnavailableError as error:
            LOG.warning("no metrics by OpenTelemetry: %s", error)
        except ImportError:
            self.enabled = False
            LOG.warning(
                "no metrics by OpenTelemetry: its packages are missing. pip install 'osipi-connector[opentelemetry]'"
            )
        except Exception as error:  # noqa: BLE001 - a run does not fail because of what tells of it
            LOG.warning("no metrics by OpenTelemetry: %s", type(error).__name__)


class MetricsOutput:
    """The metrics of one run. `shard` as "0-of-1"."""

    def __init__(self, config: Config, shard: str) -> None:
        monitoring = config.monitoring
        self._file = None if monitoring.metrics_file is None else file_of_shard(monitoring.metrics_file, shard)
        self._port, self._host = monitoring.metrics_port, monitoring.metrics_host
        self._labels = labels_of(config.pipeline, shard)
        self._before: Mapping[str, int] | None = None
        self._otlp = OtlpOutput(monitoring.otlp_endpoint)
        self._latest: tuple[Mapping[str, Any], int | None, Micros] | None = None

    @property
    def enabled(self) -> bool:
        return self._file is not None or self._port is not None or self._otlp.enabled

    def note(self, event: RunEvent) -> None:
        """Learn from an event of the run."""
        self._otlp.trace.note(event, wall_micros())

    async def put(self, row: Mapping[str, Any], holes: int | None, *, failed: bool = False) -> None:
        """Give what the run has counted so far: a row of the metrics table that counts from its start. `failed`: the run
        ended by an error.
        """
        self._latest = row, holes, wall_micros()
        await asyncio.gather(self._put_file(), self._otlp.put(row, holes, failed=failed))

    async def _put_file(self) -> None:
        if self._file is None:
            return
        try:
            async with asyncio.timeout(LIMIT_SECS):
                await in_daemon_thread(self._write)
        except TimeoutError:
            LOG.warning("the metrics were not written to %s within %.0f s", self._file, LIMIT_SECS)
        except OSError as error:
            LOG.warning("the metrics were not written to %s: %s", self._file, error.strerror or type(error).__name__)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Answer at the port meanwhile. A port that cannot be had is a warning."""
        async with contextlib.AsyncExitStack() as stack:
            if self._port is not None:
                from ..net.metrics_server import serve_metrics  # a web server: few runs have a port

                try:
                    await stack.enter_async_context(serve_metrics(self._host, self._port, self.text))
                except OSError as error:
                    why = error.strerror or type(error).__name__
                    LOG.warning("no metrics at %s, port %d: %s", self._host, self._port, why)
            yield

    def text(self, openmetrics: bool) -> str:
        """The metrics of the latest cycle; none before the first."""
        if self._latest is None:
            return "# EOF\n" if openmetrics else ""
        row, holes, at = self._latest
        return metrics_text(row, totals_of(row, self._before or {}), holes=holes, at=at, openmetrics=openmetrics)

    def _write(self) -> None:
        """Replace the file in one step: the collector never reads half of it. Blocks."""
        assert self._file is not None  # noqa: S101 - who calls this looks
        file = self._file.expanduser()
        if self._before is None:
            self._before = _totals_of_file(file, self._labels)
        # The collector reads every name that ends with .prom, and leaves out this one.
        draft = file.with_name(f".{file.name}.{uuid4().hex}.tmp")
        try:
            draft.write_text(self.text(openmetrics=False), encoding="utf-8")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


def _totals_of_file(file: Path, labels: str) -> dict[str, int]:
    try:
        return totals_in(file.read_text(encoding="utf-8"), labels)
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
