"""What scale costs, computed from results; and what is read in the log of the simulator."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import run
from benchmarks.lab import on_spark
from benchmarks.lab.on_spark import figures_of, most_within
from benchmarks.lab.shards import dealt
from benchmarks.scale import Assumed, block, cost_of_billion, main
from engine.plan.shards import Shard

FIGURES: dict[str, dict[str, float]] = {
    "small": {"tiny_wall_seconds": 1.0},
    "incremental": {
        "events": 50_000, "seconds": 1.0, "events_per_second": 50_000, "bytes_on_disk_per_event": 10.0, "peak_mib": 300.0,
    },
    "history": {"events_per_second": 1_000_000},
    "shards": {
        "tags": 500_000, "shards": 8, "tags_of_shard": 62_000, "plan_requests": 570, "plan_finding_requests": 505,
        "plan_values": 310_000, "requests": 571, "commits": 2, "events": 310_000, "bytes_on_disk_per_event": 12.0,
        "peak_mib": 900.0,
    },
}  # fmt: skip


def rows(assumed: Assumed | None = None) -> dict[str, list[str]]:
    """The last line of each name, cell by cell."""
    found = block([{"scenario": name, "figures": figures} for name, figures in FIGURES.items()], assumed)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines() if line[:1] == "|"]
    return {name: others for name, *others in cells}


def sections(assumed: Assumed) -> list[str]:
    return block([{"scenario": name, "figures": figures} for name, figures in FIGURES.items()], assumed).split("### ")


@pytest.mark.parametrize(
    ("assumed", "ways"),
    [
        (Assumed(), ["one process", "a higher ceiling, or less often"]),
        (Assumed(interval_secs=600, pi_requests=20), ["one process", "2 shards with `--follow`"]),
        (Assumed(interval_secs=2_000, pi_requests=8), ["one process", "`--follow`"]),
    ],
)
def test_pi_and_the_machine_decide_how_to_run(assumed: Assumed, ways: list[str]) -> None:
    """A million tags take 2,000 requests, and 101 seconds of the machine."""
    [table] = [section for section in sections(assumed) if section.startswith("New values")]
    [line] = [line for line in table.splitlines() if line.startswith("| 1,000,000 ")]
    assert [cell.strip() for cell in line.split("|")[-3:-1]] == ways
    assert "| 2,000 |" in line


def test_a_billion_events_cost_the_hours_that_they_take() -> None:
    assert cost_of_billion(1_000_000, 3.6) == pytest.approx(1.0)
    assert rows(Assumed(price=3.6, pi_events=500_000))["years of history"] == ["`history`", "1,000,000", "1.00", "2.00"]


def test_pi_that_is_faster_than_a_process_wants_shards() -> None:
    told = "".join(sections(Assumed(pi_events=2_500_000)))
    assert "So 3 shards keep up with PI." in told
    assert "So one process is enough." in "".join(sections(Assumed(pi_events=1_000_000)))


def test_a_shard_stands_on_paper_beside_what_was_measured() -> None:
    found = rows()
    assert found["requests of a run"] == ["563", "571 (`plan`: 570)"]
    assert found["requests an hour, all shards"] == [f"{563 * 12 * 8:,}", f"{571 * 12 * 8:,}"]
    assert found["commits an hour, all shards"] == ["96", "192"]
    assert found["memory of a process"] == ["300 MiB", "900 MiB"]


def test_what_was_not_measured_is_named_with_its_command() -> None:
    assert block([]).count("Not measured here: `python benchmarks/run.py ") == 5


def test_the_reader_gives_a_price_and_none_below_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--price", "0.35"]) == 0
    assert "costs 0.35 an hour" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--price", "-1"])


def test_the_busiest_second_may_begin_anywhere() -> None:
    assert most_within([0.0, 0.9, 1.0, 1.5, 1.8, 1.89, 5.0], 1.0) == 5
    assert most_within([0.0, 1.0, 2.0], 1.0) == 1
    assert most_within([], 1.0) == 0


def test_rates_are_held_against_the_first_run_and_against_the_ceiling() -> None:
    def run_of(tasks: int, rate: float, most: int) -> dict[str, Any]:
        counts = {"requests": 100, "events_per_second": 1.0, "seconds": 1.0, "most_in_a_second": most}
        return {"tasks": tasks, "requests_per_second": rate, **counts}

    found = figures_of({"one": run_of(1, 4.0, 4), "four": run_of(4, 12.0, 21)}, {"ceiling": 20})
    assert (found["one_of_linear"], found["four_of_linear"]) == (1.0, 0.75)
    assert (found["share_of_ceiling"], found["most_of_ceiling"]) == (0.6, 1.05)


def test_without_spark_the_scenario_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_spark, "is_measurable", lambda: False)
    assert run.main(["spark"]) == 1
    assert capsys.readouterr().err == f"spark is left out: {on_spark.NOT_HERE}\n"


def test_all_tags_aredealt_out() -> None:

    names, sizes = dealt({"tags": 100, "seed": 1}, Shard(0, 8))
    assert sum(sizes) == 100
    assert len(names) == sizes[0] > 0
