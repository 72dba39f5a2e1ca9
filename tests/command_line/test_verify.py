"""`verify` against a simulated plant whose history changes after it was read."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line.conftest import NOW, Called, simulated, written
from tests.variants import crossed

FLOW, LEVEL = "Unit0000.Flow.000000", "Unit0000.Level.000001"


@pytest.fixture
def plant(here: Path) -> Iterator[str]:
    """A plant of ten tags of its own, whose last three days are to be read."""
    with simulated("--tags", "10", "--now", NOW) as url:
        written(here, url, extraction={"start_date": "2024-03-02T15:00:00Z"})
        yield url


def change(url: str, *edits: dict[str, Any]) -> None:
    target = url.replace("/piwebapi", "/simulator/changes")
    request = urllib.request.Request(target, json.dumps(edits).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


def insert(tag: str, at: str) -> dict[str, Any]:
    return {"tag": tag, "action": "insert", "at": at, "value": 5}


def test_what_was_read_agrees_and_costs_next_to_nothing(called: Called, here: Path, plant: str):
    called("run", "-c", "plant.yaml")
    done = called("verify", "-c", "plant.yaml")
    assert done.code == 0, done.out
    assert "pipeline plant: PI and the table agree on 40 tag-days with " in done.out
    assert "2024-03-02 00:00 ···· 2024-03-06 00:00  (each 1 d)" in done.out
    assert "PI counts   good events alone (" in done.out
    found = called("verify", "-c", "plant.yaml", "--json").json
    assert (found["exit_code"], found["tags"], found["tag_days"], found["disagreements"]) == (0, 10, 40, [])
    assert found["cost"]["requests"] < 10
    assert found["days"][0] == {"date": "2024-03-02", "compared": 10, "disagree": 0}


def test_what_came_late_and_what_went_is_found_where_it_is(called: Called, here: Path, plant: str):
    called("run", "-c", "plant.yaml")
    change(
        plant,
        insert(FLOW, "2024-03-03T23:59:59.9999999Z"),
        insert(FLOW, "2024-03-04T00:00:00Z"),
        insert(FLOW, "2024-03-02T14:59:59Z"),  # before what is done
        insert(FLOW, "2024-03-05T11:59:45Z"),  # after it
        {"tag": LEVEL, "action": "delete", "at": "2024-03-05T02:00:00Z", "until": "2024-03-05T03:00:00Z"},
    )
    done = called("verify", "-c", "plant.yaml")
    assert done.code == 1
    assert "3 of 40 tag-days disagree, of 2 tags" in done.out
    assert f"{FLOW}: 2024-03-03 00:00 to 2024-03-04 00:00, PI " in done.out
    assert f"{LEVEL}: 2024-03-05 00:00 to 11:5" in done.out  # what is newest is not settled
    found = called("verify", "-c", "plant.yaml", "--json").json
    assert found["exit_code"] == 1
    whole, part = found["suspects"]
    assert (whole["name"], whole["start"], whole["end"]) == (FLOW, "2024-03-03T00:00:00Z", "2024-03-05T00:00:00Z")
    assert (part["name"], part["start"]) == (LEVEL, "2024-03-05T00:00:00Z")
    assert "2024-03-05T11:57:00Z" <= part["end"] < "2024-03-05T11:59:30Z"
    late = found["disagreements"][0]
    assert late["counted"] == late["good_rows"] + 1
    assert [day["disagree"] for day in found["days"]] == [0, 1, 1, 1]


def test_a_window_and_some_tags_can_be_chosen(called: Called, here: Path, plant: str):
    called("run", "-c", "plant.yaml")
    change(plant, insert(FLOW, "2024-03-03T05:00:00Z"), insert(LEVEL, "2024-03-04T05:00:00Z"))

    def wrong(*arguments: str) -> list[str]:
        done = called("verify", "-c", "plant.yaml", "--json", *arguments)
        return [each["name"] for each in done.json["disagreements"]]

    assert wrong() == [FLOW, LEVEL]
    assert wrong("--tags", "*flow*") == [FLOW]
    assert wrong("--tags", "nothing*", "--tags", LEVEL) == [LEVEL]
    assert wrong("--start", "2024-03-03T05:00:00.000001Z") == [LEVEL]
    assert wrong("--end", "2024-03-03T05:00:00Z") == []
    assert wrong("--start", "now-24h") == []


@pytest.mark.parametrize(("bad", "end"), crossed([True, False], ["single", "always", "never"]))
def test_every_way_of_a_server_to_count_is_understood(called: Called, here: Path, bad: bool, end: str):
    faults = here / "faults.yaml"
    faults.write_text(json.dumps({"switches": {"count_includes_bad": bad, "count_includes_end": end}}))
    with simulated("--tags", "10", "--now", NOW, "--faults", str(faults)) as url:
        written(here, url, extraction={"start_date": "2024-03-02T15:00:00Z"})
        called("run", "-c", "plant.yaml")
        whole = called("verify", "-c", "plant.yaml", "--json").json
        assert (whole["exit_code"], whole["tag_days"]) == (0, 40)
        # Of tags of a type of which there is but one, four days tell too little.
        assert set(whole["counts"].values()) - {"unknown"} == {"good and bad events" if bad else "good events"}
        change(url, insert(FLOW, "2024-03-03T05:00:00Z"))
        assert called("verify", "-c", "plant.yaml").code == 1


def test_with_nothing_read_there_is_nothing_to_compare(called: Called, here: Path, plant: str):
    done = called("verify", "-c", "plant.yaml")
    assert done.code == 0
    assert "nothing to compare: nothing in this range is old enough" in done.out
    assert "10 more have nothing to compare" in done.out
    assert not (here / "lakehouse").exists(), "looking changes nothing"


def test_tags_that_nothing_is_called_are_not_found_to_agree(called: Called, here: Path, plant: str):
    called("run", "-c", "plant.yaml")
    done = called("verify", "-c", "plant.yaml", "--tags", "U1.*")
    assert (done.code, done.out) == (2, "")
    assert "error: --tags: no tag that the configuration selects has such a name\n" in done.err


def test_tags_that_are_not_counted_are_listed(called: Called, here: Path):
    faults = here / "faults.yaml"
    rule = {"match": {"route": "streams/*/summary", "tag": "*Flow*"}, "do": {"status": 409}}
    faults.write_text(json.dumps({"rules": [rule]}))
    with simulated("--tags", "3", "--now", NOW, "--faults", str(faults)) as url:
        written(here, url)
        called("run", "-c", "plant.yaml")
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 1
        assert "1 of 3 tag-days could not be compared, of 1 tag; PI and the table agree on 2 tag-days" in done.out
        assert f"Could not be compared (1)\n  {FLOW}: the server answered 409" in done.out
        alone = called("verify", "-c", "plant.yaml", "--tags", FLOW)
        assert alone.code == 1
        assert "nothing could be compared: the server counts none of 1 tag" in alone.out


@pytest.mark.parametrize("text", ["yesterday", "2024-03-03T05:00:00"])
def test_a_time_that_is_none_is_a_usage_error(called: Called, here: Path, text: str):
    written(here, "https://pi.example/piwebapi")
    done = called("verify", "-c", "plant.yaml", "--start", text)
    assert done.code == 2
    assert f"--start {text}: expected a time with a zone" in done.err
