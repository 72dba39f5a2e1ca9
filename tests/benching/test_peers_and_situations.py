"""What peers lose or double is counted from rows, and a peer that would take too long is left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from benchmarks.lab.held_rows import Difference, difference, rows_of, shared, states
from benchmarks.lab.peer_runs import PEERS, has_rows, peers_here
from benchmarks.lab.peers import best, expected_secs
from benchmarks.lab.windows import TimeSpan
from benchmarks.run import main

EVENTS = [("A", 1, "state 0 Stopped"), ("A", 2, "0x1.8p+0"), ("A", 2, "text x"), ("B", 2, "none")]
AT = datetime(2024, 3, 5, tzinfo=UTC)


def test_a_row_that_is_missing_one_too_many_and_another_value_are_told_apart() -> None:
    assert difference(EVENTS, reversed(EVENTS)) == Difference(0, 0)
    assert difference(EVENTS[1:], EVENTS) == Difference(1, 0)
    assert difference([*EVENTS, EVENTS[0]], EVENTS) == Difference(0, 1)
    assert difference([("A", 1, "state 0 Running"), *EVENTS[1:]], EVENTS) == Difference(1, 1)


def test_events_share_a_microsecond_only_within_their_tag() -> None:
    assert shared(EVENTS) == EVENTS[1:3]
    assert states(EVENTS) == EVENTS[:1]


def test_rows_of_a_table_are_compared_by_what_the_value_is(tmp_path: Path) -> None:
    """A blob lands as text of any kind; a float that is no number lands as one, as text, or as nothing."""
    landed = [
        (1.5, None, None),
        (None, "Running", 1),
        (float("nan"), None, None),
        (None, "NaN", None),
        (None, "[1]", None),
    ]
    values, texts, codes = zip(*landed, strict=True)
    columns = {
        "tag_name": ["A", "A", "A", "A", "Blob"],
        "timestamp": pa.array([AT] * 5, pa.timestamp("us", tz="UTC")),
        "value": pa.array(values, pa.float64()),
        "value_string": pa.array(texts, pa.string()),
        "state_code": pa.array(codes, pa.int32()),
    }
    assert not has_rows(tmp_path)
    assert rows_of(tmp_path, []) == []
    write_deltalake(tmp_path, pa.table(columns))
    assert has_rows(tmp_path)
    found = [value for _, _, value in rows_of(tmp_path, [("Blob", 0, "blob")])]
    assert found == ["0x1.8000000000000p+0", "state 1 Running", "none", "none", "blob"]


def test_a_duration_is_foretold_by_the_last_two_sizes() -> None:
    assert expected_secs([(100, 5.0)], 1_000_000) == 0.0
    assert expected_secs([(100, 5.0), (1_100, 7.0)], 11_100) == pytest.approx(27.0)
    assert expected_secs([(100, 5.0), (1_100, 4.0)], 11_100) == 4.0


def test_of_turns_the_least_counts_and_of_memory_the_most() -> None:
    runs = [{"wall_seconds": 2.0, "peak_mib": 100.0}, {"wall_seconds": 1.0, "peak_mib": 90.0}]
    assert best(runs) == {"wall_seconds": 1.0, "peak_mib": 100.0}


def test_only_who_remembers_is_asked_for_the_first_window_again() -> None:
    first, second = TimeSpan(0, 10), TimeSpan(10, 20)
    asked = {peer.name: peer.later(first, second) for peer in PEERS}
    assert [name for name, span in asked.items() if span == second] == ["naive", "sequential"]
    assert asked["engine"] == asked["dlt_merge"] == TimeSpan(0, 20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_peers_are_measured_and_the_engine_is_right_in_every_situation(tmp_path: Path) -> None:
    assert main(["peers", "--scale", "small", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "peers.json").read_text())
    figures, runs, (costs, answers) = result["figures"], result["runs"], result["tables"]
    here = [peer.name for peer in peers_here()]
    assert figures["engine_wrong_rows"] == 0
    assert figures["fewest_wrong_rows_of_a_peer"] > 0
    assert all(found == runs["situations"]["engine"].keys() for found in map(dict.keys, runs["situations"].values()))
    assert answers["head"] == ["Situation", *here]
    assert len(costs["rows"]) == len(PEERS) * len(result["settings"]["sizes"])
    for found in runs["sizes"].values():
        assert [*found] == here
        assert all(run["requests"] > 0 for each in found.values() for run in each)
