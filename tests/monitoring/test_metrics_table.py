"""Every run leaves one row in the metrics table, however it ends, and is not worse for a row that is missing."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable

from config.errors import FencedError
from engine.cli import main
from engine.flow.stop import Stop
from engine.run import run
from engine.run.connect import lakehouse_of
from engine.telemetry.events import Planned, TagsFound
from tests.memory_lakehouse import MemoryLakehouse
from tests.monitoring.plants import metrics, plant
from tests.unity.places import stand_in_lakehouse
from writers import (
    PI_CONNECTOR_METRICS,
    PI_TIMESERIES,
    add_run,
    newest_runs,
    open_lakehouse,
)
from writers.delta.schema import schema_of
from writers.landing import append_rows as journal_module


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
    assert (found["run_id"], found["command"]) == ("job-7", "run")
    assert found["datasets"] == "recorded,tags,digital_states,data_servers"
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


async def test_corrections_are_counted_apart_from_what_is_new(tmp_path):
    """Read up to a gap that was closed in between, and looked back on."""
    settings = plant(tmp_path, extraction={"tag_name_filter": "*", "start_date": "now-1h", "end_date": "now-10m"})
    await run(settings)
    table = lakehouse_of(settings).table(PI_TIMESERIES).open()
    DeltaTable(table.uri).update(updates={"value": "value + 1"}, predicate="value_kind = 'number'")
    looking_back = {"tag_name_filter": "*", "start_date": "now-1h", "lookback": "15m"}
    report = await run(plant(tmp_path, extraction=looking_back))
    first, second = metrics(settings)
    told = [second[f"corrections_{name}"] for name in ("inserted", "changed", "deleted")]
    assert told == [0, report.corrections.changed, 0]
    assert told[1] > 0
    assert [first[name] for name in first if name.startswith("corrections_")] == [0, 0, 0]
    assert second["records_written"] == report.records_written


async def test_what_a_run_had_done_when_it_failed_is_told(tmp_path):
    """One tag a request, a commit each: three of five tags are in when it ends."""
    landed = []

    def broken(step: str) -> None:
        landed.append(step)
        if landed.count("after_watermark_commit") == 3 and step == "before_staging":
            raise RuntimeError("out of luck")

    settings = plant(
        tmp_path,
        pi_web_api={"auth_type": "anonymous", "max_in_flight": 1},
        extraction={"tag_name_filter": "*", "start_date": "now-1h", "request_mode": "single"},
        performance={"commit_rows": 1},
    )
    with pytest.raises(RuntimeError):
        await run(settings, on_step=broken)
    [found] = metrics(settings)
    assert (found["status"], found["tags_requested"], found["tags_extracted"]) == ("failed", 5, 3)
    assert found["records_written"] > 0
    assert found["commits"] == 3
    assert (await run(settings)).status == "succeeded"


async def test_a_table_of_an_earlier_version_gets_the_new_columns(tmp_path):
    settings = plant(tmp_path)
    old = PI_CONNECTOR_METRICS.without(PI_CONNECTOR_METRICS.later_columns)
    DeltaTable.create(tmp_path / "main/monitoring/pi_connector_metrics", schema_of(old))
    await run(settings)
    [found] = metrics(settings)
    assert (found["command"], found["corrections_inserted"]) == ("run", 0)


def test_a_managed_table_of_an_earlier_version_does_without(tmp_path, monkeypatch):
    old = PI_CONNECTOR_METRICS.without(PI_CONNECTOR_METRICS.later_columns)
    with stand_in_lakehouse("managed", str(tmp_path), None) as opened:
        opened().table(old).open()
        monkeypatch.setattr(journal_module, "_MANY_FILES", 2)
        for number in range(3):  # the last one puts all in one file
            add_run(opened(), row(run_id=str(number), started_at=number, command="verify"))
        found = newest_runs(opened(), "p", limit=3)
    assert [(each["run_id"], each["command"]) for each in found] == [("2", None), ("1", None), ("0", None)]


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
    monkeypatch.setattr(journal_module, "_MANY_FILES", 3)
    lake = open_lakehouse(tmp_path)
    for number in range(5):
        add_run(lake, row(run_id=str(number), started_at=number))
    assert lake.table(PI_CONNECTOR_METRICS).open().file_count(where={}) == 2
    assert [found["run_id"] for found in newest_runs(lake, "p", limit=3)] == ["4", "3", "2"]
    assert newest_runs(lake, "q", limit=3) == []


def test_a_verification_leaves_a_row_where_it_repairs_or_has_a_name(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--set", "development.simulator.tags=3", "--set", "development.simulator.history=1h"]
    assert main(["run", *small, "--set", "extraction.end_date=now-1m"]) == 0
    table = DeltaTable("lakehouse/main/bronze/pi_timeseries")
    [tag] = table.to_pyarrow_table(columns=["tag_name"])["tag_name"].unique().to_pylist()[:1]
    table.delete(f"tag_name = '{tag}' AND sequence = 0 AND value_kind <> 'none'")
    verify = ["verify", *small]
    assert main(verify) == 1
    assert main([*verify, "--run-id", "job-8"]) == 1
    assert main([*verify, "--run-id", "job-9", "--repair"]) == 0
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    mended, found, _ = json.loads(capsys.readouterr().out)["runs"]
    assert (found["run_id"], found["command"], found["status"], found["tags_failed"]) == (
        "job-8",
        "verify",
        "incomplete",
        1,
    )
    assert f"disagree, of 1 tag: {tag}: " in found["error"]
    assert (mended["run_id"], mended["status"], mended["tags_failed"]) == ("job-9", "succeeded", 0)
    rows = newest_runs(open_lakehouse("lakehouse"), "demo", limit=3)
    assert rows[0]["corrections_inserted"] > 10
    assert (rows[0]["tags_requested"], rows[0]["tags_extracted"], rows[0]["records_written"]) == (3, 3, 0)
    assert rows[0]["requests"] > rows[1]["requests"] > 0
    assert main(["status"]) == 0
    assert "  verify job-9: succeeded, " in capsys.readouterr().out


def test_status_tells_of_the_last_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--set", "development.simulator.tags=3"]
    assert main(["run", *small, "--run-id", "first"]) == 0
    assert main(["run", *small, "--run-id", "second", "--set", "extraction.tags=[NOTHING]"]) == 1
    capsys.readouterr()
    assert main(["status", "--json"]) == 1  # for the last run was incomplete
    second, first = json.loads(capsys.readouterr().out)["runs"]
    assert (first["run_id"], first["status"]) == ("first", "succeeded")
    assert (second["run_id"], second["status"], second["tags_failed"]) == ("second", "incomplete", 1)
    assert main(["status"]) == 1
    assert "run second: incomplete, " in capsys.readouterr().out
