"""Metrics and spans reach a collector by OTLP, and no collector fails a run or holds it up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from config.errors import UnavailableError
from engine.net.otlp import OtlpSender
from engine.run import metrics_output, run
from engine.telemetry.events import Cycled, Finished, Planned, TagsFound
from engine.telemetry.metrics import empty_row
from engine.telemetry.trace import RunTrace, samples_of
from tests.monitoring.plants import plant
from tests.monitoring.webhook_server import answering

metrics_service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

ROW: dict[str, Any] = {
    **empty_row(("run-1", "plant", "0-of-1"), started_at=0, command="run", datasets=["recorded"]),
    "status": "succeeded",
    "error": None,
    "records_written": 7,
}


class Collector:
    """`status`: what it answers. `slow`: it answers only once it is stopped."""

    def __init__(self) -> None:
        self.status, self.slow, self.url = 200, False, ""
        self.released = threading.Event()
        self.asked: list[tuple[str, bytes, dict[str, str]]] = []

    def metrics(self) -> dict[str, list[Any]]:
        """The points of the last message, by name."""
        body = [body for path, body, _ in self.asked if path == "/v1/metrics"][-1]
        [of] = metrics_service.ExportMetricsServiceRequest.FromString(body).resource_metrics
        [scope] = of.scope_metrics
        return {one.name: list((one.sum if one.HasField("sum") else one.gauge).data_points) for one in scope.metrics}

    def spans(self) -> list[Any]:
        found = []
        for path, body, _ in self.asked:
            if path == "/v1/traces":
                for of in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += [span for scope in of.scope_spans for span in scope.spans]
        return found


@contextmanager
def collector() -> Iterator[Collector]:
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.asked.append((self.path, body, dict(self.headers)))
            if kept.slow:
                kept.released.wait()
            self.send_response(kept.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with answering(Handler, kept.released) as kept.url:
        yield kept


def labels_of(point: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in point.attributes}


def test_what_is_sent_is_what_the_row_counts_and_the_phases_fill_the_run() -> None:
    trace = RunTrace(1_000_000)
    trace.note(TagsFound(5, 0, 1.0), 2_000_000)
    trace.note(Planned("recorded", 5, 0, 10, None, 0, 1.0), 4_000_000)
    trace.note(Finished("succeeded"), 9_000_000)
    with collector() as kept:
        sender = OtlpSender(kept.url)
        sender.send(samples_of(ROW, 3), trace.take(ROW, 9_500_000, over=trace.over))
        sent = kept.metrics()
        assert sent["osipi.rows"][0].as_int == 7
        assert labels_of(sent["osipi.rows"][0]) == {"pipeline": "plant", "shard": "0-of-1"}
        assert sent["osipi.holes"][0].as_int == 3
        assert {labels_of(one)["status"]: one.as_int for one in sent["osipi.run_status"]} == {
            "succeeded": 1, "incomplete": 0, "interrupted": 0, "failed": 0,
        }  # fmt: skip
        spans = {one.name: one for one in kept.spans()}
        seconds = {name: (one.start_time_unix_nano / 1e9, one.end_time_unix_nano / 1e9) for name, one in spans.items()}
        assert seconds == {"run": (1, 9.5), "find tags": (1, 2), "plan": (2, 4), "read and write": (4, 9.5)}
        assert {one.parent_span_id for name, one in spans.items() if name != "run"} == {spans["run"].span_id}
        assert len({one.trace_id for one in spans.values()}) == 1
        sender.send(samples_of({**ROW, "records_written": 11}, None), ())
        assert kept.metrics()["osipi.rows"][0].as_int == 11
        assert "osipi.holes" not in kept.metrics(), "how many there are is not known"


def test_each_cycle_is_a_span_and_one_that_failed_says_why() -> None:
    trace = RunTrace(0)
    for number in range(150):
        cycle = Cycled(number, (), 5, 0, 1, 0, 2.0, 0.0, 0, 1.0)
        trace.note(cycle, (number + 2) * 1_000_000)
    cycles = trace.take(ROW, 200_000_000, over=False)
    assert [one.labels["cycle"] for one in cycles] == list(range(50, 150)), "the oldest are dropped"
    assert {one.end - one.start for one in cycles} == {2_000_000}
    assert trace.take(ROW, 200_000_000, over=False) == ()
    [run_span] = trace.take({**ROW, "status": "failed", "error": "PI is away"}, 300_000_000, over=True)
    assert run_span.failure == "PI is away"


def test_headers_and_names_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as kept:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", kept.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=geheim")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=plant-7")
        OtlpSender(None).send(samples_of(ROW, None), ())
        [(path, body, headers)] = kept.asked
        assert (path, headers["api-key"]) == ("/v1/metrics", "geheim")
        [of] = metrics_service.ExportMetricsServiceRequest.FromString(body).resource_metrics
        resource = {one.key: one.value.string_value for one in of.resource.attributes}
        assert (resource["service.name"], resource["deployment.environment"]) == ("osipi-connector", "plant-7")


def test_a_collector_that_refuses_is_an_error_of_ours() -> None:
    with collector() as kept:
        kept.status = 400
        with pytest.raises(UnavailableError, match="the collector did not take metrics"):
            OtlpSender(kept.url).send(samples_of(ROW, None), ())


@pytest.mark.parametrize("behaves", ["well", "refuses", "slow", "away"])
async def test_a_run_ends_the_same_whatever_the_collector_does(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, behaves: str
) -> None:
    monkeypatch.setattr(metrics_output, "LIMIT_SECS", 0.5)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    with collector() as kept:
        kept.status, kept.slow = (403, False) if behaves == "refuses" else (200, behaves == "slow")
        endpoint = "http://127.0.0.1:9" if behaves == "away" else kept.url
        report = await run(plant(tmp_path, monitoring={"otlp_endpoint": endpoint}))
        assert report.status == "succeeded"
        warned = [one for one in caplog.messages if "OpenTelemetry" in one]
        assert len(warned) == (0 if behaves == "well" else 1), warned
        if behaves == "well":
            assert kept.metrics()["osipi.rows"][0].as_int == report.records_written
            assert "run" in {one.name for one in kept.spans()}
