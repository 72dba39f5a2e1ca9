"""The entry point of the wheel task, called in a real kernel as Databricks calls it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from deltalake import DeltaTable

from tests.variants import slowly
from writers import PI_TIMESERIES, PI_WATERMARKS, newest_runs, open_lakehouse
from writers.watermarks.checkpoint_rows import decode, merge_stream

# How a wheel task finds and calls an entry point: by its name in the distribution's metadata, after the
# parameters were put into sys.argv.
CALL = """
import sys
from importlib import metadata
sys.argv = ["osipi-connector", *{arguments!r}]
[found] = [e for e in metadata.distribution("osipi-connector").entry_points if e.name == {name!r}]
found.load()()
print("the task is over")
"""
# Says so when it begins to compare, which it does in silence.
TOLD = """
from engine.commands.verify import repair
def told(*given, verify=repair.verify):
    print("counting now", flush=True)
    return verify(*given)
repair.verify = told
"""
PLANT = {
    "pipeline": "task",
    "development": {"simulator": {"tags": 4, "history": "1h"}},
    "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 100_000},
    "extraction": {"tag_name_filter": "*", "start_date": "now-1h"},
}


def task(name: str, *arguments: str) -> str:
    return CALL.format(name=name, arguments=list(arguments))


@pytest.fixture
def plant(tmp_path):
    def written(**sections) -> str:
        path = tmp_path / "plant.yaml"
        path.write_text(yaml.safe_dump({**PLANT, "storage": {"root": str(tmp_path / "lake")}, **sections}))
        return str(path)

    return written


def stored(folder, pipeline: str = "task") -> tuple[int, int]:
    """Rows in the data table, and rows that the watermarks speak of."""
    lake = open_lakehouse(folder)
    marks = decode(merge_stream(lake.table(PI_WATERMARKS).open().read(where={"pipeline": pipeline})), "recorded")
    rows = lake.table(PI_TIMESERIES).open().read(["tag_webid"]).read_all().num_rows
    return rows, sum(mark.rows_total for mark in marks.values())


def test_a_success_returns_in_a_running_loop(kernel, plant, tmp_path):
    path = plant()
    answer = kernel.run("import asyncio; asyncio.get_running_loop()\n" + task("run", "-c", path, "--run-id", "job-42"))
    assert (answer.status, answer.evalue) == ("ok", "")
    assert "the task is over" in answer.text
    assert "job-42" in answer.text
    rows, told = stored(tmp_path / "lake")
    assert rows == told > 100


def test_named_parameters_are_understood_and_a_retry_continues(kernel, plant, tmp_path):
    """A repaired run is called again with the id of the job's run; it continues, and nothing lands twice."""
    path = plant(extraction={**PLANT["extraction"], "end_date": "now-1m"})
    for _ in range(2):
        answer = kernel.run(task("run", f"--config={path}", "--shard=0/1", "--run-id=7"))
        assert answer.status == "ok", answer
    rows, told = stored(tmp_path / "lake")
    assert rows == told > 0


def test_what_cannot_start_raises_one_sentence(kernel, plant):
    path = plant(pi_web_api={"auth_type": "basic", "url": "http://127.0.0.1:1/piwebapi", "username": "u"})
    answer = kernel.run(task("run", "-c", path))
    assert (answer.status, answer.ename) == ("error", "TaskFailedError")
    assert "$.pi_web_api.password" in answer.evalue
    assert "the task is over" not in answer.text


def test_failed_tags_fail_the_task_and_are_named(kernel, plant, tmp_path):
    path = plant(extraction={"tags": [r"\\NOWHERE\NOTHING"], "tag_name_filter": "*", "start_date": "now-1h"})
    answer = kernel.run(task("run", "-c", path))
    assert (answer.status, answer.ename) == ("error", "TaskFailedError")
    assert "is incomplete" in answer.evalue
    assert r"\\NOWHERE\NOTHING" in answer.evalue
    rows, told = stored(tmp_path / "lake")
    assert rows == told > 100


def test_misspelt_parameters_and_help_never_end_the_kernel(kernel):
    wrong = kernel.run(task("run", "--tgas", "x"))
    assert (wrong.status, wrong.ename) == ("error", "TaskFailedError")
    assert "--tgas" in wrong.evalue
    helped = kernel.run(task("run", "--help"))
    assert helped.status == "ok"
    assert "--run-id" in helped.text


def test_check_is_a_task_too(kernel, plant):
    answer = kernel.run(task("check", "-c", plant()))
    assert answer.status == "ok", answer
    refused = kernel.run(task("check", "-c", plant(pi_web_api={"url": "http://127.0.0.1:1", "auth_type": "anonymous"})))
    assert (refused.status, refused.ename) == ("error", "TaskFailedError")


def test_verify_is_a_task_that_fails_where_something_differs_and_is_content_once_it_is_mended(kernel, plant, tmp_path):
    # Each command has a simulator of its own, whose history begins an hour before: what is read exists in all of them.
    begin = (datetime.now(UTC) - timedelta(minutes=30)).isoformat(timespec="seconds")
    path = plant(extraction={**PLANT["extraction"], "start_date": begin, "end_date": "now-1m"})
    assert kernel.run(task("run", "-c", path)).status == "ok"
    agrees = kernel.run("import asyncio; asyncio.get_running_loop()\n" + task("verify", "-c", path, "--run-id=1"))
    assert (agrees.status, agrees.evalue) == ("ok", "")
    assert "PI and the table agree on " in agrees.text
    rows, _ = stored(tmp_path / "lake")
    table = open_lakehouse(tmp_path / "lake").table(PI_TIMESERIES).open()
    tag = table.read(["tag_name"]).read_all()["tag_name"][0].as_py()
    DeltaTable(table.uri).delete(f"tag_name = '{tag}'")
    differs = kernel.run(task("verify", "--config", path, "--start=now-2h", "--run-id=2"))
    assert (differs.status, differs.ename) == ("error", "TaskFailedError")
    assert differs.evalue.startswith("verify: pipeline task: ")
    assert f"disagree, of 1 tag: {tag}: " in differs.evalue
    assert differs.evalue.endswith("(--repair fixes it)")
    assert "the task is over" not in differs.text
    mended = kernel.run(task("verify", "-c", path, "--start=now-2h", "--repair", "--run-id=3"))
    assert (mended.status, mended.evalue) == ("ok", "")
    assert "of 1 tag read again" in mended.text
    assert " inserted, 0 changed, 0 deleted" in mended.text
    assert "the task is over" in mended.text
    after, _ = stored(tmp_path / "lake")
    # What is not settled is left to runs: the last event, and what came in the minute before it.
    assert rows - 2 <= after <= rows
    told = newest_runs(open_lakehouse(tmp_path / "lake"), "task", limit=3)
    assert [(each["run_id"], each["command"], each["status"]) for each in told] == [
        ("3", "verify", "succeeded"), ("2", "verify", "incomplete"), ("1", "verify", "succeeded"),
    ]  # fmt: skip


@pytest.mark.parametrize("when", ["repairing", *slowly("comparing")])
def test_a_verification_that_is_cancelled_ends_and_says_so(kernel, plant, tmp_path, when):
    path = plant(
        development={"simulator": {"tags": 60, "history": "1h"}},
        extraction={**PLANT["extraction"], "end_date": "now-1m", "request_mode": "single"},
    )
    assert kernel.run(task("run", "-c", path)).status == "ok"
    slow = ["--set", "pi_web_api.max_requests_per_second=5", "--set", "pi_web_api.max_in_flight=1"]
    more = ["--repair", "--deep"] if when == "repairing" else []
    asked = []

    def cancel(text: str) -> None:
        if not asked and ("counting now" if when == "comparing" else "events read") in text:
            asked.append(when)
            kernel.interrupt()

    answer = kernel.finish(kernel.start(TOLD + task("verify", "-c", path, *slow, *more)), on_text=cancel)
    assert asked
    assert (answer.status, answer.ename) == ("error", "TaskFailedError")
    assert "interrupted" in answer.evalue
    assert "PI and the table" not in answer.text
    assert kernel.run("print('still here')").text == "still here\n"
    lake = open_lakehouse(tmp_path / "lake")
    assert lake.lease("task", "repair.0-of-1", "test").holder() is None


@pytest.mark.parametrize("how", ["terminate", *slowly("interrupt")])
def test_a_cancelled_task_commits_what_is_complete_and_says_so(kernel, plant, tmp_path, how):
    """One tag a request, a few requests a second, a commit each: it is midway for a long time."""
    path = plant(
        development={"simulator": {"tags": 500, "history": "1h"}},
        pi_web_api={"auth_type": "anonymous", "max_requests_per_second": 10, "max_in_flight": 1},
        extraction={**PLANT["extraction"], "request_mode": "single"},
        performance={"commit_rows": 1},
    )
    log = tmp_path / "lake/main/bronze/pi_timeseries/_delta_log"
    process = int(kernel.run("import os; print(os.getpid())").text)
    asked = []

    def cancel_when_midway(_text: str) -> None:
        if not asked and len(list(log.glob("*.json"))) > 3:
            asked.append(how)
            if how == "interrupt":
                kernel.interrupt()
            else:
                os.kill(process, 15)

    answer = kernel.finish(kernel.start(task("run", "-c", path)), on_text=cancel_when_midway)
    assert asked
    assert (answer.status, answer.ename) == ("error", "TaskFailedError")
    assert "interrupted" in answer.evalue
    rows, told = stored(tmp_path / "lake")
    assert rows == told > 0
    assert open_lakehouse(tmp_path / "lake").lease("task", "0-of-1", "test").holder() is None
    assert kernel.run("print('still here')").text == "still here\n"


@pytest.mark.parametrize("how", ["interrupt", *slowly("terminate")])
def test_a_task_that_follows_returns_when_it_is_cancelled(kernel, plant, tmp_path, how):
    path = plant(extraction={**PLANT["extraction"], "interval": "1s", "lag": "1s"})
    process = int(kernel.run("import os; print(os.getpid())").text)
    asked = []

    def cancel_after_three_cycles(text: str) -> None:
        if not asked and "cycle 3 " in text:
            asked.append(how)
            if how == "interrupt":
                kernel.interrupt()
            else:
                os.kill(process, 15)

    answer = kernel.finish(kernel.start(task("run", "-c", path, "--follow")), on_text=cancel_after_three_cycles)
    assert asked
    assert answer.status == "ok", answer
    assert "the task is over" in answer.text
    rows, told = stored(tmp_path / "lake")
    assert rows == told > 0
    assert open_lakehouse(tmp_path / "lake").lease("task", "0-of-1", "test").holder() is None
