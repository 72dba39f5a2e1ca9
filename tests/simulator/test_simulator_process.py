"""The simulator as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from engine.cli import main
from tests.patience import HANGS_AFTER_SECS

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}


@contextmanager
def running(*arguments: str, **environment: str):
    command = [sys.executable, "-m", "engine", "simulate", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT | environment)
    try:
        line = process.stdout.readline().strip()
        assert line.startswith("listening on http://127.0.0.1:"), line
        yield process, line.removeprefix("listening on ")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_cleanly_on_a_signal(number):
    with running("--tags", "5", "--now", "2024-03-05T12:00:00Z", "--interval", "10s") as (process, url):
        with urllib.request.urlopen(f"{url}/system/status") as answer:
            assert json.load(answer)["ServerTime"] == "2024-03-05T12:00:00Z"
        process.send_signal(number)
        assert process.wait(HANGS_AFTER_SECS) == 0
        assert process.stdout.read() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_it_says_how_to_use_it():
    ours, its = os.openpty()
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-m", "engine", "simulate", "--tags", "5"], stdout=its, env=ENVIRONMENT
        ) as process,
    ):
        os.close(its)
        said = b""
        while b"Ctrl-C" not in said:
            said += screen.read(1000)
        url = said.split()[2].decode()
        assert f"curl {url}/dataservers" in said.decode()
        assert f"run --set pi_web_api.url={url}" in said.decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(HANGS_AFTER_SECS) == 0


def test_faults_and_secrets_come_from_files_and_the_environment(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("switches: {unauthorized_body: message}")
    with running("--faults", str(plan), "--basic", "pi:SIM_PASSWORD", SIM_PASSWORD="pw") as (_, url):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/system")
        assert caught.value.code == 401
        assert b"Message" in caught.value.read()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--faults", "/nowhere.yaml"], "cannot read the fault plan"),
        (["--interval", "soon"], "--interval: The time span 'soon'"),
        (["--begin", "dawn"], "--begin: The time string 'dawn'"),
        (["--interval=-5s"], "--interval: The time span '-5s'"),
        (["--basic", "pi"], "--basic takes USER:ENV"),
        (["--tags", "-1"], "Invalid value for '--tags': -1 is not in the range x>=0."),
        (["--future-tags", "2000"], "--future-tags is 2000, must be between 0 and --tags"),
        (["--begin", "2024-03-05T05:00:00Z"], "--begin is 2024-03-05T05:00:00Z, must be midnight UTC"),
        (["--bearer", "NOT_SET_ANYWHERE"], "'NOT_SET_ANYWHERE'"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_clear_line(capsys, arguments, words):
    assert main(["simulate", *arguments]) == 2
    line, *hints = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert all(one.startswith("hint: ") for one in hints)
    assert words in line


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("switches: {nann: bare}", "unknown field `nann` - at `$.switches` - did you mean `nan`?"),
        ("rules: [{match: {nth: three}, do: {status: 503}}]", "at `$.rules[0].match.nth`"),
        ("edits: [{action: delete, tag: 3, at: '2024-03-05'}, {action: rename, tag: Nope, name: X}]",
         "no tag 'Nope' among the 1000 simulated ones - at `$.edits[1]`"),
        ("edits: [{action: restore_point, tag: 3}]", "restore_point: the point 'Unit0000.Temp.000003' is there"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_acted_out_is_one_line_with_the_key(capsys, tmp_path, plan, words):
    (tmp_path / "plan.yaml").write_text(plan)
    assert main(["simulate", "--faults", str(tmp_path / "plan.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
