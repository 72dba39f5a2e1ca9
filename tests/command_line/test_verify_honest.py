"""`verify` calls nothing agreed that was not compared, and nothing a difference that is none."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from tests.command_line.conftest import NOW, Called, simulated, written
from tests.variants import crossed, slowly

FLOW, LEVEL = "Unit0000.Flow.000000", "Unit0000.Level.000001"
START, END = "2024-02-26T00:00:00Z", "2024-03-05T00:00:00Z"
EMPTY = {"status": 200, "body": {"Links": {}, "Items": []}}


@contextmanager
def plant(here: Path, *, tags: int = 3, end: str | None = END, **faults: Any) -> Iterator[str]:
    """A plant with an event an hour, at the full hour too, whose eight days are to be read."""
    file = here / "faults.yaml"
    file.write_text(json.dumps(faults))
    with simulated("--tags", str(tags), "--now", NOW, "--interval", "3600s", "--faults", str(file)) as url:
        written(here, url, extraction={"start_date": START, "end_date": end} if end else {"start_date": START})
        yield url


def change(url: str, *edits: dict[str, Any]) -> None:
    target = url.replace("/piwebapi", "/simulator/changes")
    request = urllib.request.Request(target, json.dumps(edits).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


def insert(tag: str, at: str) -> dict[str, Any]:
    return {"tag": tag, "action": "insert", "at": at, "value": 5}


def emptied(tag: str) -> dict[str, Any]:
    return {"tag": tag, "action": "delete", "at": "2024-01-01T00:00:00Z", "until": NOW}


def metrics(here: Path) -> list[dict[str, Any]]:
    rows = DeltaTable(str(here / "lakehouse/main/monitoring/pi_connector_metrics")).to_pyarrow_table().to_pylist()
    return [row for row in rows if row["command"] == "verify"]


@pytest.mark.parametrize("tag", ["*", "*Flow*"])
def test_counts_that_are_withheld_are_no_agreement(called: Called, here: Path, tag: str):
    """`{"Items": []}` in place of eight counts: what was not compared stands in headline, exit code and metrics."""
    rules = [{"match": {"route": "streams/*/summary", "tag": tag}, "do": EMPTY}]
    with plant(here, rules=rules):
        assert called("run", "-c", "plant.yaml").code == 0
        done = called("verify", "-c", "plant.yaml", "--run-id", "nightly")
        assert done.code == 1
        if tag == "*":
            assert "nothing could be compared: the server counts none of 3 tags" in done.out
            assert "agree" not in done.out
        else:
            assert "8 of 24 tag-days could not be compared, of 1 tag; PI and the table agree on 16 tag-days" in done.out
        assert f"{FLOW}: the server gives no count of its events" in done.out
        found = called("verify", "-c", "plant.yaml", "--json").json
        assert found["exit_code"] == 1
        assert found["tag_days_not_compared"] == 8 * len(found["not_counted"]) == (24 if tag == "*" else 8)
        [row] = metrics(here)
        assert (row["status"], row["tags_failed"]) == ("incomplete", 3 if tag == "*" else 1)
        assert "compared" in row["error"]


def test_some_days_that_are_left_out_are_asked_for_alone(called: Called, here: Path):
    """A server that gives no more than the first counts of several gives them when it is asked for less."""
    short = {"Type": "Count", "Value": {"Timestamp": START, "Value": 24}}
    rules = [
        {
            "match": {"route": "streams/*/summary", "tag": "*Flow*", "first": 1},
            "do": {"status": 200, "body": {"Items": [short]}},
        }
    ]
    with plant(here, rules=rules):
        called("run", "-c", "plant.yaml")
        found = called("verify", "-c", "plant.yaml", "--json").json
        assert found["not_counted"] == []
        assert found["tag_days"] == 24


@pytest.mark.parametrize("nothing", ["no_data", "left_out", *slowly("zero")])
def test_days_without_events_are_no_noise_for_any_answer_of_the_server(called: Called, here: Path, nothing: str):
    holes = {"tag": LEVEL, "action": "delete", "at": "2024-02-28T00:00:00Z", "until": "2024-03-01T00:00:00Z"}
    with plant(here, switches={"count_of_nothing": nothing}) as url:
        change(url, holes, emptied(FLOW))
        called("run", "-c", "plant.yaml")
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 0, done.out
        assert "agree on 24 tag-days" in done.out
        change(url, insert(LEVEL, "2024-02-29T13:00:00.5Z"))
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 1
        assert f"{LEVEL}: 2024-02-29 00:00 to 2024-03-01 00:00, PI 1, table 0" in done.out


def test_no_data_where_the_server_has_events_is_neither_agreement_nor_difference(called: Called, here: Path):
    said = {"Value": {"Name": "No Data", "Value": 248, "IsSystem": True}}
    days = [f"2024-02-{day}" for day in range(26, 30)] + [f"2024-03-0{day}" for day in range(1, 5)]
    items = [{"Type": "Count", "Value": {"Timestamp": f"{day}T00:00:00Z", **said}} for day in days]
    rule = {"match": {"route": "streams/*/summary", "tag": "*Flow*"}, "do": {"status": 200, "body": {"Items": items}}}
    with plant(here, rules=[rule]) as url:
        called("run", "-c", "plant.yaml")
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 1
        assert "8 of 24 tag-days could not be compared, of 1 tag" in done.out
        assert f"{FLOW}: the server counts none where it has events" in done.out
        change(url, emptied(FLOW))
        assert "8 of 24 tag-days disagree, of 1 tag" in called("verify", "-c", "plant.yaml").out


def test_a_closed_window_is_counted_up_to_its_end_also_of_tags_that_were_empty(called: Called, here: Path):
    """No run looks at it again: what the source has there by now is found by `verify`, and mended."""
    with plant(here) as url:
        change(url, emptied(FLOW))
        assert called("run", "-c", "plant.yaml").code == 0
        assert "agree on 24 tag-days" in called("verify", "-c", "plant.yaml").out
        change(
            url,
            insert(FLOW, "2024-03-01T12:00:00Z"),
            insert(FLOW, "2024-03-02T12:00:00Z"),
            *(insert(LEVEL, f"2024-03-04T23:59:59.{fraction}Z") for fraction in range(11, 20)),
            insert(LEVEL, "2024-03-04T23:59:59.9999Z"),
        )
        assert called("run", "-c", "plant.yaml", "--json").json["records_read"] == 0
        found = called("verify", "-c", "plant.yaml", "--json").json
        assert found["exit_code"] == 1
        assert [(each["name"], each["start"][:10]) for each in found["disagreements"]] == [
            (FLOW, "2024-03-01"), (FLOW, "2024-03-02"), (LEVEL, "2024-03-04"),
        ]  # fmt: skip
        done = called("verify", "-c", "plant.yaml", "--repair")
        assert done.code == 0, done.out + done.err
        assert "12 inserted, 0 changed, 0 deleted" in done.out
        assert called("verify", "-c", "plant.yaml").code == 0


def test_tags_without_events_that_every_run_compares_are_named(called: Called, here: Path):
    with plant(here, end=None) as url:
        change(url, emptied(FLOW))
        called("run", "-c", "plant.yaml")
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 0
        assert "every run   compares 1 more tag completely" in done.out
        assert called("verify", "-c", "plant.yaml", "--json").json["tags_compared_by_runs"] == 1


@pytest.mark.parametrize(
    ("end", "bad", "secs", "ends"), crossed([END, None], [True, False], [1, 60], ["single", "always"])
)
def test_ends_that_the_server_rounds_are_no_disagreement(
    called: Called, here: Path, secs: int, ends: str, bad: bool, end: str | None
):
    """`..59.9999999Z` taken for midnight: what is at the first instant of the next day is counted in both."""
    switches = {"count_rounds_secs": secs, "count_includes_end": ends, "count_includes_bad": bad}
    with plant(here, end=end, switches=switches) as url:
        midnights = [insert(tag, f"2024-03-0{day}T00:00:00Z") for tag in (FLOW, LEVEL) for day in (1, 2, 3, 5)]
        change(url, *midnights)
        called("run", "-c", "plant.yaml")
        arguments = ("verify", "-c", "plant.yaml", "--json")
        for days in (
            (),
            ("--end", "2024-03-03T00:00:00Z"),
            ("--start", "2024-03-02T00:00:00Z", "--end", "2024-03-03T00:00:00Z"),
        ):
            found = called(*arguments, *days).json
            assert (found["exit_code"], found["disagreements"], found["not_counted"]) == (0, [], []), days
        change(url, insert(FLOW, "2024-03-02T23:59:59.9999Z"), insert(LEVEL, "2024-03-02T00:00:00.0001Z"))
        found = called(*arguments, "--end", "2024-03-03T00:00:00Z").json
        assert [(each["name"], each["start"][:10]) for each in found["disagreements"]] == [
            (FLOW, "2024-03-02"), (LEVEL, "2024-03-02"),
        ]  # fmt: skip


def test_a_start_between_two_minutes_is_no_disagreement_where_the_server_rounds(called: Called, here: Path):
    with plant(here, switches={"count_rounds_secs": 60}) as url:
        change(url, insert(FLOW, "2024-02-26T10:00:10Z"), insert(FLOW, "2024-02-26T10:00:50Z"))
        called("run", "-c", "plant.yaml", "--start", "2024-02-26T10:00:20Z")
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 0, done.out
        assert "agree on 24 tag-days" in done.out


@pytest.mark.parametrize("status", [504, *slowly(408, 500)])
def test_a_server_that_counts_fewer_days_at_once_is_understood(called: Called, here: Path, status: int):
    rule = {"match": {"route": "streams/*/summary", "tag": "*Flow*", "first": 3}, "do": {"status": status}}
    with plant(here, rules=[rule]):
        assert called("run", "-c", "plant.yaml").code == 0
        found = called("verify", "-c", "plant.yaml", "--json").json
        assert (found["exit_code"], found["tag_days"], found["not_counted"]) == (0, 24, [])
