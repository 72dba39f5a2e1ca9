"""`verify --repair`: what disagrees is read again, and the table is the source's equal afterwards."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from deltalake import DeltaTable, QueryBuilder

from config import from_mapping
from engine.commands.verify.repair import Repair, beside_runs
from engine.model import Tag, Window
from tests.command_line.conftest import NOW, Called, simulated, written

FLOW, LEVEL = "Unit0000.Flow.000000", "Unit0000.Level.000001"
START, END = "2024-03-03T15:00:00Z", "2024-03-05T11:59:30Z"


@pytest.fixture
def plant(here: Path) -> Iterator[str]:
    with simulated("--tags", "6", "--now", NOW, "--interval", "600s") as url:
        written(here, url, extraction={"start_date": START})
        yield url


def control(url: str, path: str, body: Any = None, **query: str) -> Any:
    target = url.replace("/piwebapi", f"/simulator/{path}?{urllib.parse.urlencode(query)}")
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(target, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def change(url: str, *edits: dict[str, Any]) -> None:
    control(url, "changes", edits)


def edit(tag: str, action: str, at: str, **more: Any) -> dict[str, Any]:
    return {"tag": tag, "action": action, "at": at, **more}


def differs(url: str, here: Path) -> list[str]:
    """Tags whose times and flags in the table are not, one for one, those of the source."""
    table = DeltaTable(str(here / "lakehouse/main/bronze/pi_timeseries"))
    sql = 'SELECT tag_name, "timestamp", good, substituted FROM t ORDER BY tag_name, "timestamp", sequence'
    held: dict[str, list[tuple[int, bool, bool]]] = {}
    rows = QueryBuilder().register("t", table).execute(sql).read_all()
    columns = [rows[n].to_pylist() for n in ("tag_name", "timestamp", "good", "substituted")]
    for name, at, good, substituted in zip(*columns, strict=True):
        held.setdefault(name, []).append((at.strftime("%Y-%m-%dT%H:%M:%S.%f"), good, substituted))
    wrong = []
    for name, found in held.items():
        events = control(url, "truth", tag=name, start=START, end=END)["Events"]
        truth = [(e["Timestamp"][:26], e["Good"], e["Substituted"]) for e in events]
        wrong += [name] if truth != found else []
    return sorted(wrong)


def test_what_came_late_and_what_went_is_mended_and_nothing_else_is_read(called: Called, here: Path, plant: str):
    called("run", "-c", "plant.yaml")
    assert differs(plant, here) == []
    change(
        plant,
        edit(FLOW, "insert", "2024-03-04T05:00:00Z", value=1),
        edit(FLOW, "insert", "2024-03-05T05:00:00Z", value=1),
        edit(LEVEL, "delete", "2024-03-04T02:00:00Z", until="2024-03-04T03:00:00Z"),
    )
    assert differs(plant, here) == [FLOW, LEVEL]
    done = called("verify", "-c", "plant.yaml", "--repair")
    assert done.code == 0, done.out + done.err
    assert "3 of 18 tag-days disagree, of 2 tags" in done.out
    assert "Repair: 2 windows of 2 tags read again in " in done.out
    assert "2 inserted, 0 changed, 6 deleted" in done.out
    assert "PI and the table agree on 18 tag-days" in done.out
    assert differs(plant, here) == []
    again = called("verify", "-c", "plant.yaml", "--repair", "--json").json
    assert (again["exit_code"], again["disagreements"], again["repair"]) == (0, [], None)


def test_a_value_that_was_changed_in_place_is_found_by_a_deep_repair_alone(called: Called, here: Path, plant: str):
    called("run", "-c", "plant.yaml")
    at = control(plant, "truth", tag=FLOW, start="2024-03-04T05:00:00Z", end=END)["Events"][0]["Timestamp"]
    change(plant, edit(FLOW, "replace", at, value=17))
    assert called("verify", "-c", "plant.yaml", "--repair").code == 0
    assert differs(plant, here) == [FLOW]
    elsewhere = ("--repair", "--deep", "--start", "2024-03-05T00:00:00Z", "--json")
    assert called("verify", "-c", "plant.yaml", *elsewhere).json["repair"]["run"]["corrections"]["changed"] == 0
    done = called("verify", "-c", "plant.yaml", "--repair", "--deep", "--tags", "*flow*", "--json").json
    assert done["exit_code"] == 0
    assert [(w["name"], w["start"], w["end"]) for w in done["repair"]["windows"]] == [(FLOW, START, END)]
    assert done["repair"]["run"]["corrections"]["changed"] == 1
    assert done["repair"]["after"]["disagreements"] == []
    assert differs(plant, here) == []


def test_a_repair_moves_no_watermark_but_the_next_run_goes_on_from_there(called: Called, here: Path, plant: str):
    called("run", "-c", "plant.yaml", "--end", "2024-03-05T06:00:00Z")
    change(plant, edit(FLOW, "insert", "2024-03-04T05:00:00Z", value=1))
    before = called("status", "-c", "plant.yaml", "--json").json["high"]
    assert called("verify", "-c", "plant.yaml", "--repair").code == 0
    assert called("status", "-c", "plant.yaml", "--json").json["high"] == before
    called("run", "-c", "plant.yaml")
    assert differs(plant, here) == []
    assert called("verify", "-c", "plant.yaml").code == 0


def test_a_suspect_that_cannot_be_read_is_not_called_mended(called: Called, here: Path):
    faults = here / "faults.yaml"
    # Once asked for a few values, to find out how, and once read; then its values are refused, its counts are not.
    rule = {"match": {"route": "streams/*/recorded", "tag": "*Flow*", "after": 2}, "do": {"status": 403}}
    faults.write_text(json.dumps({"rules": [rule]}))
    with simulated("--tags", "2", "--now", NOW, "--interval", "600s", "--faults", str(faults)) as url:
        written(here, url, extraction={"start_date": "2024-03-05T01:00:00Z"})
        assert called("run", "-c", "plant.yaml").code == 0
        # More than there are bad ones: of two tag-days nobody learns whether those are counted.
        change(url, *(edit(FLOW, "insert", f"2024-03-05T05:{minute}:01Z", value=1) for minute in range(10, 40)))
        done = called("verify", "-c", "plant.yaml", "--repair")
        assert done.code == 1
        assert f"  {FLOW}: reading tag {FLOW}: the server answered 403" in done.out
        assert "; nothing was repaired\n" in done.out
        assert done.out.count("1 of 2 tag-days disagree") == 2


def test_a_tag_that_failed_and_was_no_suspect_keeps_no_repair_from_being_complete():
    report = SimpleNamespace(tags_failed=(("a", "denied"), ("b", "no such tag")), tags_undone=0, error=None)
    window = Window(0, 1)
    assert Repair(((Tag("Fa", "a"), window), (Tag("Fc", "c"), window)), report, None).failed == {"a": "denied"}
    assert Repair(((Tag("Fc", "c"), window),), report, None).complete


def test_nothing_done_is_nothing_to_repair(called: Called, here: Path, plant: str):
    done = called("verify", "-c", "plant.yaml", "--repair", "--deep")
    assert (done.code, done.out) == (0, "Nothing in this range was read yet, so there is nothing to read again.\n")
    assert called("verify", "-c", "plant.yaml", "--repair", "--deep", "--json").json == {"repair": None, "exit_code": 0}
    assert not (here / "lakehouse").exists()


def test_deep_without_repair_is_a_usage_error(called: Called, here: Path):
    written(here, "https://pi.example/piwebapi")
    done = called("verify", "-c", "plant.yaml", "--deep")
    assert done.code == 2
    assert "it goes with --repair" in done.err


@pytest.mark.parametrize(("share", "rate", "in_flight"), [(0.5, 10.0, 2), (1.0, 20.0, 5), (0.05, 1.0, 1)])
def test_verify_takes_its_share_of_the_rate_and_of_what_is_in_flight(share: float, rate: float, in_flight: int):
    pi = {"max_requests_per_second": 20, "max_in_flight": 5, "share_of_verify": share}
    taken = beside_runs(from_mapping({"pi_web_api": pi}).config).pi_web_api
    assert (taken.max_requests_per_second, taken.max_in_flight) == (rate, in_flight)
