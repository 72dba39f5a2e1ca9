"""Tags that store future data, as commands tell of them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engine.clock
from tests.command_line.conftest import NOW, Called, simulated, written
from tests.variants import slowly

MICROS = 1_709_640_000_000_000  # NOW
MINUTE = 60_000_000
DAY = 24 * 60 * MINUTE
FORECAST = "Unit0000.Speed.000004"
NOTE = "2 tags store future data and are read up to now; what lies ahead is read with extraction.future_horizon"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """This machine's clock: it shows the one number in here."""
    now = [MICROS]
    monkeypatch.setattr(engine.clock, "wall_micros", lambda: now[0])
    return now


@pytest.fixture
def plant(here: Path) -> Iterator[str]:
    """Six tags, of which two are forecasts, issued every six hours for two days."""
    with simulated("--tags", "6", "--future-tags", "2", "--now", NOW) as url:
        written(here, url)
        yield url


def control(url: str, route: str, content: Any) -> None:
    target = url.replace("/piwebapi", f"/simulator/{route}")
    request = urllib.request.Request(target, json.dumps(content).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


def ahead(here: Path, url: str, horizon: str = "1d", **extraction: Any) -> None:
    written(here, url, extraction={"future_horizon": horizon, **extraction})


def test_without_a_horizon_commands_say_that_there_is_more(called: Called, here: Path, plant: str):
    assert f"6 tags found; {NOTE}" in called("check", "-c", "plant.yaml").out
    assert NOTE in called("tags", "-c", "plant.yaml").out
    assert "future data  2 tags store future data and are read up to now;" in called("plan", "-c", "plant.yaml").out
    assert called("plan", "-c", "plant.yaml", "--json").json["future"].startswith(NOTE)
    told = called("tags", "-c", "plant.yaml", "--json").json
    assert (told["count"], told["future"]) == (6, 2)
    assert [tag["future"] for tag in told["tags"]] == [False] * 4 + [True] * 2
    [note] = called("run", "-c", "plant.yaml", "--json").json["warnings"]
    assert note.startswith(NOTE)


def test_who_has_decided_is_not_told(called: Called, here: Path, plant: str):
    ahead(here, plant, "0s")
    assert "6 tags found; 2 tags with future data, read up to now" in called("check", "-c", "plant.yaml").out
    ahead(here, plant)
    for command in ("check", "tags", "plan"):
        assert "2 tags with future data, read up to 1d ahead" in called(command, "-c", "plant.yaml").out
    assert called("run", "-c", "plant.yaml", "--json").json["warnings"] == []


def test_what_is_ahead_hides_no_tag_that_fell_behind(called: Called, here: Path, plant: str, clock: list[int]):
    ahead(here, plant)
    called("run", "-c", "plant.yaml")
    clock[0] = MICROS + 5 * MINUTE
    done = called("status", "-c", "plant.yaml")
    assert "all of 6 tags read up to 2024-03-05 11:59:30Z, 5 min 30 s ago" in done.out
    assert "2 tags with future data, up to 2024-03-06 12:00:00Z" in done.out
    assert "fell behind" not in done.out
    found = called("status", "-c", "plant.yaml", "--json").json
    assert found["freshness_seconds"]["p50"] == found["freshness_seconds"]["worst"] == 330
    assert found["high"] == {"min": "2024-03-05T11:59:30Z", "max": "2024-03-05T11:59:30Z"}
    assert found["ahead"] == {"tags": 2, "max": "2024-03-06T12:00:00Z"}
    # Only the forecasts are read two hours later: the others are late, and are said to be.
    control(plant, "clock", {"advance": "2h"})
    clock[0] += 120 * MINUTE
    ahead(here, plant, tag_name_filter=["*00004", "*00005"])
    called("run", "-c", "plant.yaml")
    ahead(here, plant)
    assert "4 of 6 tags fell behind" in called("status", "-c", "plant.yaml").out
    # And forecasts that nobody reads are as late as any tag.
    control(plant, "clock", {"advance": "2h"})
    clock[0] += 120 * MINUTE
    ahead(here, plant, tag_name_filter=["*00000", "*00001", "*00002", "*00003"])
    called("run", "-c", "plant.yaml")
    ahead(here, plant)
    told = called("status", "-c", "plant.yaml", "--json").json
    assert [late["name"] for late in told["behind"]] == [FORECAST, "Unit0000.Power.000005"]
    assert {late["high"] for late in told["behind"]} == {"2024-03-05T13:59:30Z"}


def test_gaps_reach_to_the_horizon(called: Called, here: Path, plant: str, clock: list[int]):
    ahead(here, plant)
    called("run", "-c", "plant.yaml")
    assert "Gaps: 6 of 6 tags complete" in called("status", "-c", "plant.yaml", "--gaps").out
    clock[0] += 5 * MINUTE
    told = called("status", "-c", "plant.yaml", "--gaps").out
    assert "Gaps: 6 of 6 tags complete" in told
    assert "6 tags: 2024-03-05 11:59:30 to 12:04:30, not due yet" in told
    ahead(here, plant, "36h")
    told = called("status", "-c", "plant.yaml", "--gaps").out
    assert "Gaps: 4 of 6 tags complete" in told
    assert "2 tags: 2024-03-06 12:00 to 2024-03-07 00:00, not read yet" in told
    written(here, plant)
    assert "Gaps: 6 of 6 tags complete" in called("status", "-c", "plant.yaml", "--gaps").out


def test_the_next_run_is_foretold_to_compare_what_is_ahead(called: Called, here: Path, plant: str):
    ahead(here, plant)
    called("run", "-c", "plant.yaml")
    found = called("plan", "-c", "plant.yaml", "--json").json
    assert (found["tags_to_read"], found["tags_future"], found["values"]) == (2, 2, 0)
    assert found["reading_requests"] > 0
    assert found["start"] <= found["end"] == "2024-03-05T11:59:30Z"
    written(here, plant, extraction={"tag_name_filter": ["*00000"], "future_horizon": "1d"})
    assert called("plan", "-c", "plant.yaml", "--json").json["reading_requests"] == 0


def test_what_is_over_is_verified_and_what_is_ahead_is_left_to_the_runs(called: Called, here: Path, plant: str):
    ahead(here, plant)
    called("run", "-c", "plant.yaml")
    control(
        plant,
        "changes",
        [{"tag": 4, "action": "delete", "at": "2024-03-06T00:00:00Z", "until": "2024-03-06T06:00:00Z"}],
    )
    done = called("verify", "-c", "plant.yaml")
    assert done.code == 0
    assert "PI and the table agree" in done.out
    assert "of 2 tags left out where they were ahead of now: every run compares them" in done.out
    assert called("verify", "-c", "plant.yaml", "--end", "now+7d", "--json").json["tags_ahead_left_out"] == 2
    mended = called("verify", "-c", "plant.yaml", "--end", "now+7d", "--repair", "--deep", "--json")
    assert mended.code == 0
    assert mended.json["repair"]["run"]["corrections"]["deleted"] > 10


@pytest.mark.parametrize("deep", [True, *slowly(False)])
def test_a_repair_leaves_what_is_ahead_to_be_compared(called: Called, here: Path, plant: str, deep: bool):
    """It knows the last event there is, ahead of now; what is before that is compared by the next run all the same."""
    ahead(here, plant)
    called("run", "-c", "plant.yaml")
    control(
        plant,
        "changes",
        [{"tag": 4, "action": "delete", "at": "2024-03-05T11:30:00Z", "until": "2024-03-05T11:40:00Z"}],
    )
    repair = ("verify", "-c", "plant.yaml", "--repair", "--end", "now+7d", *(["--deep"] if deep else []))
    assert called(*repair).code == 0
    control(plant, "clock", {"advance": "6h"})
    report = called("run", "-c", "plant.yaml", "--json").json
    assert report["corrections"]["changed"] > 100
    assert called("verify", "-c", "plant.yaml", "--end", "now+7d").code == 0


def test_rebuilt_watermarks_are_compared_ahead(called: Called, here: Path, plant: str):
    ahead(here, plant)
    called("run", "-c", "plant.yaml")
    assert called("rebuild-watermarks", "-c", "plant.yaml", "--yes").code == 0
    control(plant, "clock", {"advance": "6h"})
    assert called("run", "-c", "plant.yaml", "--json").json["corrections"]["changed"] > 100
    assert called("verify", "-c", "plant.yaml", "--end", "now+7d").code == 0


def test_an_embedded_simulator_has_forecasts_where_it_is_told_so(called: Called, here: Path):
    simulator = {"simulator": {"tags": 4, "future_tags": 1, "history": "1h"}}
    anonymous = {"auth_type": "anonymous"}
    chosen = {"start_date": "now-1h", "future_horizon": "12h"}
    written(here, development=simulator, extraction=chosen, pi_web_api=anonymous)
    assert called("run", "-c", "plant.yaml").code == 0
    assert called("status", "-c", "plant.yaml", "--json").json["ahead"]["tags"] == 1
    simulator["simulator"]["future_tags"] = 5
    written(here, development=simulator, pi_web_api=anonymous)
    refused = called("run", "-c", "plant.yaml")
    assert refused.code == 2
    assert "development.simulator.future_tags: found 5; expected at most development.simulator.tags, 4" in refused.err
