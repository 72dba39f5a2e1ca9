"""Figures in the documents come from results, and a stale document is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.figures import BEGIN, END, long_block, main, number, short_block, updated

RESULT = {
    "scenario": "dense",
    "order": 3,
    "title": "End to end, dense",
    "about": "What it is.",
    "shows": "512,000 events/s, 5.1 x the naive pipeline",
    "measured_at": "2024-03-05T12:00:00+00:00",
    "machine": {"cores_used": 2, "cpu": "A Processor", "memory_gib": 8.0, "system": "Linux 6"},
    "versions": {"python": "3.11.2", "deltalake": "1.6", "pyarrow": "19", "msgspec": "0.19", "aiohttp": "3.11"},
    "figures": {"ratio_to_naive": 5.123, "events": 3_600_000},
    "bars": [
        {"says": "times as fast", "relation": "at least", "bar": 4, "measured": 5.123, "met": True},
        {"says": "of the limit", "relation": "at least", "bar": 0.2, "measured": 0.19, "met": False},
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "dense.json").write_text(json.dumps(RESULT))
    (tmp_path / "results" / "tune.json").write_text('{"benchmark": "tune"}')
    (tmp_path / "README.md").write_text(f"# Title\n{BEGIN}\nold\n{END}\ntail\n")
    return tmp_path


def run(project: Path, *arguments: str) -> int:
    return main(["--root", str(project), "--results", str(project / "results"), *arguments])


def test_a_stale_document_fails_the_check_and_writing_heals_it(project: Path) -> None:
    before = (project / "README.md").read_text()
    assert run(project, "--check") == 1
    assert (project / "README.md").read_text() == before
    assert run(project) == 0
    after = (project / "README.md").read_text()
    assert after.startswith("# Title\n")
    assert after.endswith(f"{END}\ntail\n")
    assert RESULT["shows"] in after
    assert "old" not in after
    assert run(project, "--check") == 0


def test_a_missed_bar_is_not_hidden() -> None:
    assert "1 of 2 met" in short_block([RESULT])
    assert "**missed**" in long_block([RESULT])


def test_a_table_of_a_result_is_shown_as_it_is() -> None:
    table = {"title": "What it costs.", "head": ["Run", "Seconds"], "rows": [["small", "1.5"], ["large", "left out"]]}
    shown = long_block([{**RESULT, "tables": [table]}])
    assert "What it costs.\n\n| Run | Seconds |\n| --- | --- |\n| small | 1.5 |\n| large | left out |\n" in shown


def test_a_document_without_markers_is_left_alone(project: Path) -> None:
    (project / "README.md").write_text("# No figures here\n")
    assert run(project) == 0
    assert run(project, "--check") == 0
    assert (project / "README.md").read_text() == "# No figures here\n"


def test_without_results_the_block_says_so() -> None:
    assert "Nothing has been measured yet." in short_block([])


def test_text_around_the_markers_stays() -> None:
    assert updated(f"a{BEGIN}x{END}b{BEGIN}", "new") == f"a{BEGIN}\nnew\n{END}b{BEGIN}"


@pytest.mark.parametrize(("value", "text"), [(3_600_000, "3,600,000"), (512_345.6, "512,346"), (0.191, "0.191")])
def test_numbers_read_well(value: float, text: str) -> None:
    assert number(value) == text
