"""Whole runs: `python -m engine` in this process or another, against a simulator."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable, QueryBuilder

from config.workspace import RETRY_TIMEOUT_SECS
from tests.command_line.conftest import NOW, Called, engine, environment, process, simulated, written
from tests.patience import HANGS_AFTER_SECS
from tests.variants import slowly


def rows_of(root: Path) -> tuple[int, int]:
    """Events in the data table, and distinct ones among them."""
    table = DeltaTable(str(root / "main" / "bronze" / "pi_timeseries"))
    key = 'tag_webid, "timestamp", sequence'
    query = f"SELECT sum(n) AS events, count(*) AS keys FROM (SELECT {key}, count(*) AS n FROM t GROUP BY {key})"
    found = QueryBuilder().register("t", table).execute(query).read_all()
    return found["events"][0].as_py(), found["keys"][0].as_py()


def test_the_first_thing_anybody_does(tmp_path: Path):
    """Run without anything, do what the summary says, run again: all there, nothing twice."""
    first = engine("run", cwd=tmp_path)
    assert first.code == 0, first.err
    assert "succeeded" in first.out
    assert "1,000 of 1,000 read up to" in first.out
    assert "INFO" in first.err, "without a terminal progress is a log"
    events = int(re.search(r"events +([\d,]+) written", first.out)[1].replace(",", ""))
    assert events > 50_000
    assert rows_of(tmp_path / "lakehouse") == (events, events)

    shown = first.out.partition("Look at the data\n")[2].splitlines()[:2]
    for line, says in zip(shown, ("all of 1,000 tags read up to", "tag_name"), strict=True):
        command, quiet = shlex.split(line), {"stderr": subprocess.STDOUT, "text": True}
        assert says in subprocess.check_output(command, cwd=tmp_path, env=environment(), **quiet)

    second = engine("run", "--json", cwd=tmp_path)
    assert second.code == 0, second.err
    report = second.json
    assert report["status"] == "succeeded"
    assert report["records_written"] < events / 10
    assert report["records_written"] < report["records_read"] < events, "the last event of each tag is read again"
    both = events + report["records_written"]
    assert rows_of(tmp_path / "lakehouse") == (both, both)


def test_a_plan_comes_true_and_a_second_run_finds_nothing_new(called: Called, here: Path, site: str):
    written(here, site)
    planned = called("plan", "-c", "plant.yaml", "--json").json
    assert not (here / "lakehouse").exists()

    report = called("run", "-c", "plant.yaml", "--json").json
    assert report["exit_code"] == 0
    assert report["tags_extracted"] == planned["tags"] == 50
    assert report["requests"] == pytest.approx(planned["requests"], rel=0.1)
    assert report["records_written"] == pytest.approx(planned["values"], rel=0.1)
    assert report["until"] == planned["end"] == "2024-03-05T11:59:30Z"

    again = called("run", "-c", "plant.yaml", "--json").json
    assert (again["status"], again["records_written"], again["tags_extracted"]) == ("succeeded", 0, 50)
    idle = called("plan", "-c", "plant.yaml", "--json").json
    assert (idle["tags_to_read"], idle["reading_requests"], idle["values"]) == (0, 0, 0)


def test_a_plan_knows_how_dense_tags_are_once_they_were_read(called: Called, here: Path):
    """A plant of one value in five minutes, planned for as if it were one a minute, until it is known better."""
    with simulated("--tags", "50", "--now", NOW, "--interval", "300s") as url:
        written(here, url, extraction={"end_date": "2024-03-05T11:30:00Z"})
        called("run", "-c", "plant.yaml")
        written(here, url)
        planned = called("plan", "-c", "plant.yaml", "--json").json
        report = called("run", "-c", "plant.yaml", "--json").json
    assert (planned["tags_measured"], planned["tags_assumed"]) == (50, 0)
    assert report["records_written"] == pytest.approx(planned["values"], rel=0.1)


def test_shards_share_the_tags_without_overlap(called: Called, here: Path, site: str):
    written(here, site)
    reports = [called("run", "-c", "plant.yaml", "--shard", f"{n}/3", "--json").json for n in range(3)]
    assert sum(report["tags_requested"] for report in reports) == 50
    assert all(0 < report["tags_requested"] < 50 for report in reports)
    total = sum(report["records_written"] for report in reports)
    assert rows_of(here / "lakehouse") == (total, total)
    assert sorted(run["shard"] for run in called("status", "-c", "plant.yaml", "--json").json["runs"]) == [
        "0-of-3", "1-of-3", "2-of-3",
    ]  # fmt: skip


def test_tags_that_fail_are_named_and_the_others_are_read(called: Called, here: Path, site: str):
    names = ["Unit0000.Flow.000000", "Unit0000.Level.000001", "NO.SUCH.TAG"]
    written(here, site, extraction={"tags": names, "tag_name_filter": []})
    done = called("run", "-c", "plant.yaml")
    assert done.code == 1
    assert "incomplete" in done.out
    assert "2 of 3 read up to 2024-03-05T11:59:30Z, 1 failed" in done.out
    assert "Failed tags (1 of 1)\n  \\\\SIMDA\\NO.SUCH.TAG: PI Point not found 'NO.SUCH.TAG'." in done.out
    report = called("run", "-c", "plant.yaml", "--json").json
    assert (report["status"], report["exit_code"], report["tags_extracted"]) == ("incomplete", 1, 2)
    assert [failed["tag"] for failed in report["tags_failed"]] == ["\\\\SIMDA\\NO.SUCH.TAG"]
    shown = called("status", "-c", "plant.yaml").out
    assert "pipeline plant: the last run was incomplete; read up to 2024-03-05 11:59:30Z" in shown.splitlines()[0]
    assert f"run {report['run_id']}: incomplete, 0 events" in shown
    assert " s (1 tag failed: \\\\SIMDA\\NO.SUCH.TAG: PI Point not found 'NO.SUCH.TAG'.)\n" in shown


def test_a_run_that_selects_no_tag_has_not_succeeded(called: Called, here: Path, site: str):
    """An account that lost its rights is shown no points, and no error: that must not look like a quiet night."""
    written(here, site, extraction={"tag_name_filter": "U1.*"})
    done = called("run", "-c", "plant.yaml")
    assert done.code == called("check", "-c", "plant.yaml").code == called("verify", "-c", "plant.yaml").code == 2
    assert "extraction.tag_name_filter: no point that we may see matches 'U1.*'" in done.err
    assert "error: the configuration selects no tag at all\nhint: Look at extraction.tags" in done.err


def test_a_pattern_that_matches_nothing_beside_others_is_a_warning(called: Called, here: Path, site: str):
    written(here, site, extraction={"tag_name_filter": ["U1.*", "*Flow*"]})
    done = called("run", "-c", "plant.yaml")
    assert done.code == 0
    assert "WARNING extraction.tag_name_filter: no point that we may see matches 'U1.*'\n" in done.err
    assert "Flow" not in done.err


def test_status_names_the_tags_in_trouble(called: Called, here: Path):
    faults = here / "faults.yaml"
    faults.write_text('tags: [{tag: "*Level.000001", forbidden: 403}]')
    with simulated("--tags", "5", "--now", NOW, "--faults", str(faults)) as url:
        written(here, url)
        ran = called("run", "-c", "plant.yaml")
    assert ran.code == 1
    shown = called("status", "-c", "plant.yaml").out
    assert shown.splitlines()[0].endswith("pipeline plant: 1 of 5 tags failing")
    said = "the server answered 403: Access to the requested resource is denied."
    assert f"  Unit0000.Level.000001: {said}\n" in ran.out
    assert f"  Unit0000.Level.000001 (never read): failed, {said}\n" in shown
    state = called("status", "-c", "plant.yaml", "--json").json
    assert [(tag["name"], tag["status"], tag["reason"]) for tag in state["troubled"]] == [
        ("Unit0000.Level.000001", "failed", f"tag Unit0000.Level.000001: {said}")
    ]
    assert (state["tags"], state["tags_unread"]) == (5, 1)


def test_a_lost_checkpoint_is_an_error_until_it_is_rebuilt(called: Called, here: Path, site: str):
    written(here, site)
    report = called("run", "-c", "plant.yaml", "--json").json
    shutil.rmtree(here / "lakehouse" / "main" / "checkpoints")
    lost = called("run", "-c", "plant.yaml")
    assert lost.code == 4
    assert "hint: Run rebuild-watermarks" in lost.err

    rebuilt = called("rebuild-watermarks", "-c", "plant.yaml", "--yes")
    assert rebuilt.code == 0, rebuilt.err
    assert f"Watermarks of 50 tags rebuilt from {report['records_written']:,} events" in rebuilt.out
    assert called("run", "-c", "plant.yaml").code == 0
    assert rows_of(here / "lakehouse") == (report["records_written"], report["records_written"])


@pytest.fixture
def stuck_site(tmp_path: Path) -> Iterator[str]:
    """A simulator that takes a first batch and then answers none."""
    faults = tmp_path / "stuck.yaml"
    faults.write_text("rules: [{match: {route: batch, after: 1}, do: {hang: true}}]")
    with simulated("--tags", "50", "--now", NOW, "--faults", str(faults)) as url:
        yield url


def test_another_run_is_refused_and_shown_and_two_signals_end_the_first(called: Called, here: Path, stuck_site: str):
    written(here, stuck_site)
    with process("run", "-c", "plant.yaml", "--json", cwd=here) as first:
        run_id = re.search(r"run (\w+) of plant", wait_for(first, "50 tags to read"))[1]

        second = called("run", "-c", "plant.yaml", "--json")
        assert second.code == second.json["exit_code"] == 4
        assert run_id in second.json["error"]["message"]
        assert f"error: Another run is at work on pipeline plant, shard 0-of-1: run {run_id} on " in second.err

        assert "0-of-1" in called("status", "-c", "plant.yaml", "--json").json["at_work"]
        checked = called("check", "-c", "plant.yaml", "--set", "extraction.request_mode=single")
        assert checked.code == 4
        assert f"shard 0-of-1: run {run_id}" in checked.out

        first.send_signal(signal.SIGINT)
        wait_for(first, "stopping: SIGINT")
        first.send_signal(signal.SIGINT)
        out, _ = first.communicate(timeout=HANGS_AFTER_SECS)
    assert first.returncode == 130
    assert '"status": "interrupted"' in out
    assert called("status", "-c", "plant.yaml", "--json").json["at_work"] == {}


def test_a_signal_before_anything_is_read_ends_the_run_at_once(here: Path):
    faults = written(here, name="faults.yaml")
    faults.write_text("rules: [{match: {route: 'dataservers*'}, do: {hang: true}}]")
    with simulated("--tags", "5", "--faults", str(faults)) as url:
        written(here, url)
        with process("run", "-c", "plant.yaml", "--json", cwd=here) as run:
            wait_for(run, "of plant")
            run.send_signal(signal.SIGTERM)
            out, err = run.communicate(timeout=HANGS_AFTER_SECS)
    assert run.returncode == 130
    assert '"status": "interrupted"' in out
    assert "error: interrupted" in err


def test_a_signal_while_the_workspace_is_silent_about_secrets_ends_the_run_at_once(here: Path):
    written(here, "https://pi.invalid/piwebapi", pi_web_api={"auth_type": "bearer", "secrets_scope": "plant"})
    with socket.create_server(("127.0.0.1", 0)) as workspace:
        login = {"DATABRICKS_HOST": f"http://127.0.0.1:{workspace.getsockname()[1]}", "DATABRICKS_TOKEN": "x"}
        with process("run", "-c", "plant.yaml", cwd=here, **login) as run:
            workspace.settimeout(
                HANGS_AFTER_SECS
            )  # it imports the SDK first: seconds, and many of them on a busy machine
            asked, _ = workspace.accept()
            with asked:
                run.send_signal(signal.SIGTERM)
                _, err = run.communicate(timeout=RETRY_TIMEOUT_SECS - 5)  # it does not wait for the workspace
    assert run.returncode == 130
    assert "error: interrupted" in err


def wait_for(run: subprocess.Popen[str], text: str) -> str:
    """What a process has said on standard error, once it has said `text`."""
    said = ""
    while text not in said:
        line = run.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("plain", [False, *slowly(True)])
def test_a_terminal_gets_a_display_and_colour_unless_it_is_told_not_to(here: Path, site: str, plain: bool):
    written(here, site)
    colour = {"NO_COLOR": "1"} if plain else {}
    shown = on_terminal("run", "-c", "plant.yaml", cwd=here, TERM="xterm-256color", COLUMNS="100", **colour)
    assert "50 of 50 read up to" in shown
    assert "connecting" in shown, "the display"
    assert "INFO" not in shown, "and no log of what it shows"
    assert ("\x1b[32m" in shown) is not plain


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(here: Path, site: str):
    written(here, site)
    shown = on_terminal("run", "-c", "plant.yaml", cwd=here, TERM="dumb", COLUMNS="100")
    assert "50 tags to read, 0 up to date" in shown
    assert "\x1b" not in shown


@pytest.mark.slow
def test_a_terminal_without_unicode_gets_a_display_it_can_show(here: Path, site: str):
    written(here, site)
    ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    shown = on_terminal("run", "-c", "plant.yaml", cwd=here, TERM="xterm", COLUMNS="40", **ascii_only)
    assert "connecting" in shown, "the display"
    assert "\\u" not in shown, "letters that are spelt out make a line longer than the screen"


def on_terminal(*arguments: str, cwd: Path, **changes: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ours)
        command = [sys.executable, "-m", "engine", *arguments]
        run = stack.enter_context(
            subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment(**changes))
        )
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody holds the other end any more
            while piece := os.read(ours, 65_536):
                said += piece
    assert run.returncode == 0, said.decode()
    return said.decode()
