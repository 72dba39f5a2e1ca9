"""Scenarios are data; a bar is met by what was measured, and by nothing else."""

from __future__ import annotations

import json

import pytest

from benchmarks.lab import scenarios
from benchmarks.lab.planning import plan_once
from benchmarks.lab.results import rounded, summary
from benchmarks.lab.scenarios import Bar, judge, load
from benchmarks.run import KINDS, main


@pytest.mark.parametrize("name", scenarios.names())
@pytest.mark.parametrize("scale", scenarios.SCALES)
def test_every_scenario_loads_and_is_measured(name: str, scale: str) -> None:
    scenario = load(name, scale)
    assert scenario.kind in KINDS
    assert scenario.bars


def test_small_changes_only_what_it_names() -> None:
    full, small = load("dense").settings, load("dense", "small").settings
    assert small["plant"]["tags"] < full["plant"]["tags"]
    assert small["plant"]["interval"] == full["plant"]["interval"]
    assert small["config"] == full["config"]


@pytest.mark.parametrize(
    ("bar", "value", "met"),
    [
        (Bar("x", "", at_least=4), 4.0, True),
        (Bar("x", "", at_least=4), 3.99, False),
        (Bar("x", "", at_most=1.1), 1.1, True),
        (Bar("x", "", at_most=1.1), 1.11, False),
    ],
)
def test_a_bar_is_held_against_its_figure(bar: Bar, value: float, met: bool) -> None:
    [verdict] = judge((bar,), {"x": value})
    assert verdict.met is met


def test_a_figure_that_was_not_measured_is_no_pass() -> None:
    with pytest.raises(KeyError):
        judge((Bar("missing", "", at_most=1),), {})


@pytest.mark.parametrize("limits", [{}, {"at_least": 1, "at_most": 2}])
def test_a_bar_has_exactly_one_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either at_least or at_most"):
        Bar("x", "", **limits)


def test_figures_keep_four_digits_and_counts_all_of_theirs() -> None:
    assert rounded(123456.789) == 123500.0
    assert rounded(1_800_001) == 1_800_001


@pytest.mark.slow
def test_a_landing_scenario_runs_and_says_what_it_measured(tmp_path, capsys) -> None:
    """The whole way of a scenario, with one that takes no simulator."""
    code = main(["land", "--scale", "small", "--out", str(tmp_path), "--json"])
    [printed] = json.loads(capsys.readouterr().out)
    assert code == 0
    assert json.loads((tmp_path / "land.json").read_text()) == printed
    assert printed["figures"]["rows"] == 100_000
    assert printed["figures"]["bytes_per_row"] > 1
    assert printed["runs"]["ours"][0]["rows"] == printed["runs"]["delta_rs"][0]["rows"]
    assert printed["machine"]["cores_used"] in {1, 2}
    assert printed["versions"]["deltalake"][0].isdigit()


@pytest.mark.parametrize("marked", [False, True])
def test_planning_asks_every_tag_once(marked: bool) -> None:
    planned = plan_once(1000, "1h", marked=marked, seed=1)
    assert planned["tags"] == 1000
    assert planned["requests"] >= 10


def test_only_the_full_scale_has_a_verdict() -> None:
    bar = {"met": False, "measured": 0.5, "says": "x the other", "relation": "at least", "bar": 1.0}
    result = {"shows": "1 event", "bars": [bar]}
    assert [line.split()[0] for line in summary({**result, "scale": "full"})] == ["1", "MISSED"]
    assert summary({**result, "scale": "small"}) == ["ran; at this scale nothing is judged"]
