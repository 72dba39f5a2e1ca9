"""The entry point of the wheel task, called in a real kernel as Databricks calls it."""

from __future__ import annotations

import os

import pytest
import yaml

from writers import PI_TIMESERIES, PI_WATERMARKS, open_lakehouse
from writers.checkpoint import decode, merge_stream

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
PLANT = {
    "pipeline": "task",
    "development": {"simulator": {"tags": 4, "history": "1h"}},
    "pi_web_api": {"auth_type": "anonymous"},
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


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
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


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
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
