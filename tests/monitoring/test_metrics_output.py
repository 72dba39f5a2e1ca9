"""Prometheus reads what a run counts: from a file that is never half written, and from a port of a run that follows."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from engine.flow.stop import Stop
from engine.plan.shards import Shard
from engine.run import run
from engine.run.metrics_output import MetricsOutput
from engine.telemetry.metrics import empty_row
from engine.telemetry.openmetrics import file_of_shard, metrics_text, totals_in, totals_of
from tests.examples import examples
from tests.monitoring.plants import plant
from tests.monitoring.webhook_server import until
from tests.patience import HANGS_AFTER_SECS
from tests.servers import free_port

LABELS = {"pipeline": "p", "shard": "0-of-1"}


def row(**columns):
    return {
        **empty_row(("r", "p", "0-of-1"), started_at=0, command="run", datasets=()),
        "status": "succeeded",
        **columns,
    }


def samples(families):
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def value(found, name, **labels):
    return found[(name, *sorted({**LABELS, **labels}.items()))]


async def test_a_run_leaves_a_file_whose_counters_go_on_with_the_next(tmp_path):
    file = tmp_path / "osipi.prom"
    settings = plant(tmp_path / "lake", monitoring={"metrics_file": str(file)})
    first = await run(settings)
    found = samples(text_families(file.read_text()))
    assert value(found, "osipi_rows_total") == first.records_written > 0
    assert value(found, "osipi_tags") == value(found, "osipi_tags_complete") == 5
    assert value(found, "osipi_holes") == 0
    assert value(found, "osipi_run_status", status="succeeded") == 1
    assert 0 < value(found, "osipi_freshness_seconds", quantile="1") < 600
    second = await run(settings)
    found = samples(text_families(file.read_text()))
    assert value(found, "osipi_rows_total") == first.records_written + second.records_written
    assert value(found, "osipi_requests_total") == first.requests + second.requests
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["osipi.prom"]


async def test_a_run_that_fails_says_so_in_the_file(tmp_path):
    file = tmp_path / "osipi.prom"
    away = {"auth_type": "anonymous", "url": "http://127.0.0.1:1/piwebapi"}
    settings = plant(tmp_path, pi_web_api=away, retry={"max_attempts": 1}, monitoring={"metrics_file": str(file)})
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        await run(settings)
    found = samples(text_families(file.read_text()))
    assert value(found, "osipi_run_status", status="failed") == 1
    assert ("osipi_holes",) not in {name[:1] for name in found}


async def test_each_shard_has_a_file_of_its_own(tmp_path):
    file = tmp_path / "osipi.prom"
    settings = plant(tmp_path / "lake", monitoring={"metrics_file": str(file)})
    for index in range(2):
        await run(settings, shard=Shard(index, 2))
    assert sorted(path.name for path in tmp_path.glob("*.prom")) == ["osipi.0-of-2.prom", "osipi.1-of-2.prom"]
    assert file_of_shard(file, "0-of-1") == file


async def test_a_place_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "in_the_way").write_text("")
    missing = tmp_path / "in_the_way" / "osipi.prom"
    report = await run(plant(tmp_path / "lake", monitoring={"metrics_file": str(missing)}))
    assert report.status == "succeeded"
    assert "the metrics were not written to" in caplog.text


@pytest.mark.parametrize("openmetrics", [False, True])
def test_both_forms_are_what_their_parsers_take(openmetrics):
    counted = row(records_written=3, freshness_p50_seconds=1.5, freshness_p95_seconds=2.5, freshness_max_seconds=9.0)
    text = metrics_text(counted, totals_of(counted, {}), holes=2, at=1_000_000, openmetrics=openmetrics)
    families = list((openmetrics_families if openmetrics else text_families)(text))
    found = samples(families)
    assert value(found, "osipi_rows_total") == 3
    assert value(found, "osipi_freshness_seconds", quantile="0.95") == 2.5
    assert value(found, "osipi_updated_timestamp_seconds") == 1
    kinds = {family.name: family.type for family in families}
    assert kinds["osipi_rows"] == "counter"
    assert kinds["osipi_holes"] == "gauge"
    assert all(family.documentation for family in families)
    assert text.endswith("# EOF\n") == openmetrics


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=5))
@examples(100)
def test_counters_add_up_over_runs_and_survive_the_file(counts):
    before: dict[str, int] = {}
    for number in counts:
        counted = row(records_written=number)
        text = metrics_text(counted, totals_of(counted, before), holes=0, at=0)
        before = totals_in(text, 'pipeline="p",shard="0-of-1"')
    assert before["osipi_rows_total"] == sum(counts)
    assert totals_in(text, 'pipeline="other",shard="0-of-1"') == {}


def got(port: int, accept: str = "", path: str = "/metrics") -> tuple[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=HANGS_AFTER_SECS) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


async def test_the_port_answers_in_the_form_that_is_asked_for(tmp_path):
    port = free_port()
    output = MetricsOutput(plant(tmp_path, monitoring={"metrics_port": port}), "0-of-1")
    async with output.served():
        assert (await asyncio.to_thread(got, port))[1] == ""
        await output.put(row(commits=7), 0)
        kind, text = await asyncio.to_thread(got, port)
        assert kind.startswith("text/plain; version=0.0.4")
        assert value(samples(text_families(text)), "osipi_commits_total") == 7
        kind, text = await asyncio.to_thread(got, port, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert value(samples(openmetrics_families(text)), "osipi_commits_total") == 7
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await asyncio.to_thread(got, port, path="/")


async def test_a_port_that_is_taken_is_a_warning(tmp_path, caplog):
    port = free_port()
    settings = plant(tmp_path, monitoring={"metrics_port": port})
    async with MetricsOutput(settings, "0-of-1").served(), MetricsOutput(settings, "0-of-1").served():
        pass
    assert f"no metrics at 127.0.0.1, port {port}: " in caplog.text


async def test_a_run_that_follows_gives_each_cycle_at_its_port_and_in_its_file(tmp_path):
    port, file, stop = free_port(), tmp_path / "osipi.prom", Stop()
    monitoring = {"metrics_port": port, "metrics_file": str(file)}
    extraction = {"tag_name_filter": "*", "start_date": "now-1h", "interval": "100ms"}
    settings = plant(tmp_path / "lake", monitoring=monitoring, extraction=extraction)
    running = asyncio.create_task(run(settings, follow=True, stop=stop))
    await until(lambda: file.exists() or running.done())
    found = samples(text_families((await asyncio.to_thread(got, port))[1]))
    stop.ask("enough")
    report = await running
    assert value(found, "osipi_tags") == 5
    assert 0 < value(found, "osipi_rows_total") <= report.records_written
    at_the_end = samples(text_families(file.read_text()))
    assert value(at_the_end, "osipi_rows_total") == report.records_written
