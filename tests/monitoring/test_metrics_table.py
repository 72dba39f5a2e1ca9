"""Every run leaves one row in the metrics table, however it ends, and is not worse for a row that is missing."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import FencedError
from engine.app import run
from engine.cli import main
from engine.flow.stop import Stop
from engine.telemetry.events import Planned, TagsFound
from engine.wiring import lakehouse_of
from writers import PI_CONNECTOR_METRICS, MemoryLakehouse, add_run, newest_runs, open_lakehouse
from writers import metrics as metrics_module

from .plants import metrics, plant


def row(**given):
    empty = dict.fromkeys(PI_CONNECTOR_METRICS.schema.names)
    return {**empty, "pipeline": "p", "started_at": 0, **given}


async def test_the_row_says_what_the_report_says(tmp_path):
    settings = plant(tmp_path)
    report = await run(settings, run_id="job-7")
    [found] = metrics(settings)
    same = (
        "run_id", "pipeline", "shard", "duration_seconds", "status", "tags_requested", "tags_extracted",
        "records_written", "requests", "retries", "throttled", "bytes_fetched", "commits",
    )  # fmt: skip
    assert {name: found[name] for name in same} == {name: getattr(report, name) for name in same}
    assert found["run_id"] == "job-7"
    assert found["records_written"] > 100
    assert (found["tags_failed"], found["error"]) == (0, None)
    # The lag is 30 s: that is how far behind a run that did everything leaves its tags.
    assert 30 <= found["freshness_p50_seconds"] <= found["freshness_p95_seconds"] <= found["freshness_max_seconds"] < 90


async def test_failed_tags_are_counted_and_named(tmp_path):
    settings = plant(tmp_path, extraction={"tags": ["NOTHING"], "tag_name_filter": "*", "start_date": "now-10m"})
    await run(settings)
    [found] = metrics(settings)
    assert (found["status"], found["tags_failed"], found["tags_extracted"]) == ("incomplete", 1, 5)
    assert "NOTHING" in found["error"]


async def test_a_run_that_is_refused_leaves_a_row(tmp_path):
    settings = plant(tmp_path)
    other = lakehouse_of(settings).lease("p", "0-of-1", "other")
    other.acquire()
    keeper = asyncio.ensure_future(_renewed(other))
    with pytest.raises(FencedError):
        await run(settings)
    keeper.cancel()
    [found] = metrics(settings)
    assert (found["status"], found["records_written"]) == ("failed", 0)
    assert "other" in found["error"]
    assert found["requests"] > 0


async def _renewed(lease) -> None:
    while True:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(lease.renew)


async def test_a_run_that_is_interrupted_leaves_a_row(tmp_path):
    settings, stop = plant(tmp_path), Stop()
    await run(settings, stop=stop, emit=lambda e: stop.ask("test") if isinstance(e, Planned) else None)
    [found] = metrics(settings)
    assert found["status"] == "interrupted"


async def test_a_run_that_is_cancelled_leaves_a_row(tmp_path):
    settings = plant(tmp_path)
    found_tags = asyncio.Event()
    work = asyncio.ensure_future(run(settings, emit=lambda e: found_tags.set() if isinstance(e, TagsFound) else None))
    await found_tags.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    [found] = metrics(settings)
    assert (found["status"], found["records_written"]) == ("interrupted", 0)


async def test_a_bug_is_told_by_its_class_alone(tmp_path):
    def broken(step: str) -> None:
        if step == "before_staging":
            raise RuntimeError("secret")

    settings = plant(tmp_path)
    with pytest.raises(RuntimeError):
        await run(settings, on_step=broken)
    [found] = metrics(settings)
    assert (found["status"], found["error"]) == ("failed", "RuntimeError")


async def test_it_can_be_turned_off(tmp_path):
    settings = plant(tmp_path, monitoring={"metrics": False})
    await run(settings)
    assert not (tmp_path / "main/monitoring").exists()


async def test_a_table_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    settings = plant(tmp_path)
    (tmp_path / "main").mkdir()
    (tmp_path / "main/monitoring").write_text("in the way")
    report = await run(settings)
    assert report.status == "succeeded"
    assert "no row was added to the metrics table" in caplog.text


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_runs_that_end_at_once_all_leave_their_rows(kind, tmp_path):
    lake = MemoryLakehouse() if kind == "memory" else open_lakehouse(tmp_path)
    add_run(lake, row(run_id="0"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: add_run(lake, row(run_id=str(n), started_at=n)), range(1, 5)))
    assert [found["run_id"] for found in newest_runs(lake, "p", limit=9)] == ["4", "3", "2", "1", "0"]


def test_many_small_files_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_module, "_MANY_FILES", 3)
    lake = open_lakehouse(tmp_path)
    for number in range(5):
        add_run(lake, row(run_id=str(number), started_at=number))
    assert lake.table(PI_CONNECTOR_METRICS).open().file_count(where={}) == 2
    assert [found["run_id"] for found in newest_runs(lake, "p", limit=3)] == ["4", "3", "2"]
    assert newest_runs(lake, "q", limit=3) == []


def test_status_tells_of_the_last_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--set", "development.simulator.tags=3"]
    assert main(["run", *small, "--run-id", "first"]) == 0
    assert main(["run", *small, "--run-id", "second", "--set", "extraction.tags=[NOTHING]"]) == 1
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    second, first = json.loads(capsys.readouterr().out)["runs"]
    assert (first["run_id"], first["status"]) == ("first", "succeeded")
    assert (second["run_id"], second["status"], second["tags_failed"]) == ("second", "incomplete", 1)
    assert main(["status"]) == 0
    assert "run second: incomplete, " in capsys.readouterr().out
