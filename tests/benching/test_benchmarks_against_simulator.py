"""Benchmarks end to end in little: exact or no figure, and never a request beyond the budget."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.lab import ROOT
from benchmarks.lab.decoders import is_measurable
from benchmarks.lab.engine import NotExactError, check_exact, configuration, run_engine, tags_counted
from benchmarks.lab.processes import ChildError, plant, run_child
from benchmarks.lab.windows import TimeSpan, expected_events
from benchmarks.run import main
from benchmarks.tune import main as tune
from engine.simulator import Simulator, SimulatorOptions
from tests.variants import slowly

PLANT = {"tags": 20, "interval": "1s", "seed": 3, "now": "2024-04-01T00:00:00Z"}
SPAN = TimeSpan.of("2024-03-05T00:00:00Z", "40s")


@pytest.mark.slow
def test_a_dense_run_meets_the_closed_form_and_its_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dense", "--scale", "small", "--out", str(tmp_path), "--json"]) == 0
    result = json.loads((tmp_path / "dense.json").read_text())
    assert json.loads(capsys.readouterr().out) == [result]
    figures = result["figures"]
    assert figures["events"] == 10_000
    assert figures["ratio_to_naive"] == pytest.approx(
        figures["events_per_second"] / figures["naive_events_per_second"], rel=0.01
    )
    stages = sum(figures[f"{name}_ns"] for name in ("server", "raw_read", "skim", "stage_and_commit"))
    assert figures["limit_events_per_second"] == pytest.approx(2e9 / stages, rel=0.01)
    assert {bar["figure"] for bar in result["bars"]} == {"ratio_to_naive", "share_of_limit"}


@pytest.mark.slow
@pytest.mark.skipif(not is_measurable(), reason="the native decoder is not installed (make native)")
def test_both_decoders_take_turns_in_whole_runs(tmp_path: Path) -> None:
    assert main(["native", "--scale", "small", "--out", str(tmp_path)]) == 0
    figures, runs = (json.loads((tmp_path / "native.json").read_text())[name] for name in ("figures", "runs"))
    for scenario in ("dense", "backfill", "wide"):
        written = {runs[f"{scenario}_{decoder}"][0]["records_written"] for decoder in ("python", "native")}
        assert len(written) == 1
        rates = [figures[f"{scenario}_{decoder}_events_per_second"] for decoder in ("native", "python")]
        assert figures[f"{scenario}_ratio"] == pytest.approx(rates[0] / rates[1], rel=0.01)


@pytest.mark.slow
def test_every_way_to_commit_lands_the_same_files_and_the_catalog_is_counted(tmp_path: Path) -> None:
    assert main(["commit", "--scale", "small", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "commit.json").read_text())
    figures, runs = result["figures"], result["runs"]
    assert {run["rows"] for found in runs.values() for run in found} == {figures["commits"] * 4000}
    assert {run["files"] for found in runs.values() for run in found} == {figures["commits"] * 4}
    assert (figures["requests_per_managed_commit"], figures["requests_per_external_commit"]) == (3, 0)
    assert figures["ratio_managed"] == pytest.approx(figures["managed_ms"] / figures["path_ms"], rel=0.01)


@pytest.mark.slow
def test_what_a_throttling_server_refuses_and_gives_is_counted(tmp_path: Path) -> None:
    assert main(["throttled", "--scale", "small", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "throttled.json").read_text())["figures"]
    assert figures["answers"] + figures["refused"] == figures["requests"]
    assert figures["refused"] > 0
    assert figures["answers"] <= figures["burst"] + figures["capacity"] * figures["seconds"] + 1


def test_a_table_that_misses_or_repeats_an_event_gives_no_figure(tmp_path: Path) -> None:
    expected = expected_events(PLANT, SPAN)
    with plant(PLANT) as site:
        run = run_engine(configuration(site.url, tmp_path, SPAN, {}), tmp_path)
    table = run.report["tables"]["pi_timeseries"]
    check_exact(table, expected)
    assert sum(tags_counted(table).values()) == run.report["records_written"] == sum(expected.values())
    name = min(expected)
    with pytest.raises(NotExactError, match=f"tag {name} has {expected[name]} of {expected[name] + 1}"):
        check_exact(table, {**expected, name: expected[name] + 1})


def test_a_child_that_fails_is_an_error_with_its_last_words() -> None:
    with pytest.raises(ChildError, match="no such thing"):
        run_child(["-c", "import sys; sys.exit('no such thing')"])


@pytest.mark.parametrize("knobs", ["max_in_flight", *slowly("max_in_flight,batch_size")])
async def test_tuning_a_server_stays_within_its_budget(tmp_path: Path, knobs: str) -> None:
    """The server itself counts: what it was asked is what was reported, and no more than was allowed."""
    budget = 100
    simulator = Simulator(SimulatorOptions(tags=300, interval_secs=10, now=1_711_929_600.0))
    async with simulator.serve() as url:
        path = tmp_path / "plant.yaml"
        path.write_text(yaml.safe_dump(_plant_config(url, tmp_path / "real")))
        chosen = ("--knobs", knobs, "--batch-size", "50")
        code, said = await _tune(
            "-c", str(path), "--budget-requests", str(budget), "--out", str(tmp_path / "out"), *chosen
        )
    assert code == 0, said
    found = json.loads((tmp_path / "out" / "tune.json").read_text())
    asked = simulator.stats["requests"]
    assert 0 < asked <= budget
    assert found["requests_used"] == asked
    for knob, settings in found["sweeps"].items():
        # Each column is measured whole, with its baseline again between the others.
        order = [t["setting"] for t in found["trials"] if t["knob"] == knob]
        assert {str(each) for each in order} == set(map(str, settings))
        assert order[::2] == [order[0]] * len(settings)
        assert f"baseline {knob} " in said
        assert found["spreads"][knob] >= 0
        assert (knob in found["no_difference"]) is (f"no difference: {knob} stays" in said)
    assert found["recommended"]["max_in_flight"] in {1, 2}
    assert (tmp_path / "out" / "tune.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "real").exists()
    assert yaml.safe_load((tmp_path / "out" / "tune.yaml").read_text())["pi_web_api"]


def test_tuning_a_server_without_a_budget_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(["-c", str(tmp_path / "plant.yaml")]) == 2
    assert "--budget-requests" in capsys.readouterr().err


async def test_a_budget_that_tells_nothing_is_refused_with_one_that_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Simulator(SimulatorOptions(tags=3)).serve() as url:
        path = tmp_path / "plant.yaml"
        path.write_text(yaml.safe_dump(_plant_config(url, tmp_path / "real")))
        code = await asyncio.to_thread(tune, ["-c", str(path), "--budget-requests", "20", "--knobs", "max_in_flight"])
    said = capsys.readouterr().err
    assert code == 2
    assert "too small" in said
    assert "hint: allow at least" in said


def _plant_config(url: str, root: Path) -> dict[str, object]:
    return {
        "pi_web_api": {"url": url, "auth_type": "anonymous", "max_in_flight": 2, "max_requests_per_second": 500},
        "extraction": {
            "tag_name_filter": "*",
            "start_date": "2024-03-01T00:00:00Z",
            "end_date": "2024-03-02T00:00:00Z",
            "assumed_interval": "10s",
        },
        "storage": {"root": str(root)},
    }


async def _tune(*arguments: str) -> tuple[int, str]:
    """`tune.py` in a process of its own, in its quickest form."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "benchmarks/tune.py",
        *("--seconds", "1", "--knobs", "max_in_flight"),
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await child.communicate()
    assert child.returncode is not None
    return child.returncode, said.decode()


@pytest.mark.slow
def test_short_runs_are_compared_as_whole_processes(tmp_path: Path) -> None:
    assert main(["small", "--scale", "small", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "small.json").read_text())
    figures, runs = result["figures"], result["runs"]
    for size, found in runs.items():
        mine = min(run["cpu_seconds"] for run in found["engine"])
        for peer in ("naive", "sequential"):
            theirs = min(run["cpu_seconds"] for run in found[peer])
            assert figures[f"{size}_cpu_to_{peer}"] == pytest.approx(mine / theirs, rel=0.01)
    assert figures["highest_cpu"] == max(value for name, value in figures.items() if "_cpu_to_" in name)
