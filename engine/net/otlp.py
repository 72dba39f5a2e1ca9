"""Sends metrics and spans to a collector by OpenTelemetry's protocol (OTLP) over HTTP. Blocks.

Needs the extra `opentelemetry`, and imports it when it is first used. What no argument says is that of the variables
`OTEL_*`: headers, certificates, timeouts, attributes of the resource. Source: the OTLP specification 1.x.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from config.errors import UnavailableError

from ..telemetry.trace import Sample, TimedSpan

_SERVICE: Final = "osipi-connector"


class OtlpSender:
    """Sends for one run. `endpoint`: the address of the collector without `/v1/...`; None: that of the environment.

    Raises `ImportError` where the extra is not installed.
    """

    def __init__(self, endpoint: str | None) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        # Without a handler Python prints what the exporters log; a warning of ours says it.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())

        class NotingExporter(OTLPMetricExporter):  # type: ignore[misc] # an optional package
            """Keeps how the last export ended: the reader does not say."""

            arrived = True

            def export(self, *args: Any, **kwargs: Any) -> Any:
                result = super().export(*args, **kwargs)
                self.arrived = result.name == "SUCCESS"
                return result

        def at(path: str) -> str | None:
            return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/{path}"

        resource = Resource.create({})
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": _SERVICE}))
        self._spans = OTLPSpanExporter(endpoint=at("traces"))
        self._kept = InMemorySpanExporter()
        # Nothing is sent when the process ends: a slow collector must not hold it up.
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._kept))
        self._tracer = tracers.get_tracer(_SERVICE)
        self._metrics = NotingExporter(endpoint=at("metrics"))
        # An endless interval: only `send` reads.
        reader = PeriodicExportingMetricReader(self._metrics, export_interval_millis=math.inf)
        self._meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self._meter = self._meters.get_meter(_SERVICE)
        self._latest: dict[str, list[Sample]] = {}

    def send(self, samples: Iterable[Sample], spans: Sequence[TimedSpan]) -> None:
        """Send. Raises `UnavailableError` if the collector has not taken it."""
        for samples_of_name in self._latest.values():
            samples_of_name.clear()
        for sample in samples:
            if sample.name not in self._latest:
                self._latest[sample.name] = []
                self._observe(sample)
            self._latest[sample.name].append(sample)
        self._meters.force_flush()
        for span in spans:
            self._record(span, None)
        finished = self._kept.get_finished_spans()
        self._kept.clear()
        refused = [] if self._metrics.arrived else ["metrics"]
        if finished and self._spans.export(finished).name != "SUCCESS":
            refused.append("spans")
        if refused:
            raise UnavailableError(f"the collector did not take {' and '.join(refused)}")

    def _observe(self, sample: Sample) -> None:
        create: Callable[..., Any] = (
            self._meter.create_observable_counter if sample.kind == "counter" else self._meter.create_observable_gauge
        )
        create(sample.name, [lambda _options: self._observations(sample.name)], description=sample.meaning)

    def _observations(self, name: str) -> Iterable[Any]:
        from opentelemetry.metrics import Observation

        return [Observation(one.value, dict(one.labels)) for one in self._latest[name]]

    def _record(self, span: TimedSpan, parent: Any) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        context = None if parent is None else set_span_in_context(parent)
        made = self._tracer.start_span(span.name, context, attributes=dict(span.labels), start_time=span.start * 1000)
        if span.failure is not None:
            made.set_status(Status(StatusCode.ERROR, span.failure))
        for child in span.children:
            self._record(child, made)
        made.end(end_time=span.end * 1000)
