"""`status` and `verify` of pipelines that read values on a grid, or assets and event frames alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable

import config
import engine.clock
import engine.run.metrics_rows
from engine.commands.status.compute import _ages
from engine.datasets.registry import DATASETS
from tests.command_line.conftest import NOW, Called, simulated, written

MICROS = 1_709_640_000_000_000  # NOW
MINUTE = 60_000_000
BEGIN = "2024-03-01T00:00:00Z"
GRID = {"datasets": ["tags", "sampled"], "sampled": {"interval": "10m", "kinds": ["interpolated", "average"]}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Sets this machine's clock so many minutes after the simulator's."""

    def put(minutes: float) -> None:
        for where in (engine.clock, engine.run.metrics_rows):
            monkeypatch.setattr(where, "wall_micros", lambda: MICROS + round(minutes * MINUTE))

    put(0)
    return put


def test_a_pipeline_of_sampled_series_is_judged_by_them(called: Called, here: Path, clock) -> None:
    with simulated("--tags", "3", "--now", NOW) as url:
        written(here, url, extraction=GRID)
        assert "no sampled series has been read yet" in called("status", "-c", "plant.yaml").out
        assert called("run", "-c", "plant.yaml").code == 0
        good = called("status", "-c", "plant.yaml", "--max-age", "5m")
        assert (good.code, "all of 6 sampled series read up to" in good.out) == (0, True)
        shown = called("status", "-c", "plant.yaml", "--gaps")
        assert "Gaps: 6 of 6 sampled series complete" in " ".join(shown.out.split())
        clock(40)
        late = called("status", "-c", "plant.yaml", "--max-age", "20m")
        assert late.code == 1
        assert "a value of a sampled series could be read since" in late.out
        assert called("status", "-c", "plant.yaml").code == 0
        clock(3 * 24 * 60)
        assert "no new value of sampled series since" in called("status", "-c", "plant.yaml").out
        # What was read with another interval does not count.
        written(here, url, extraction={**GRID, "sampled": {"interval": "5m"}})
        assert "no sampled series has been read yet" in called("status", "-c", "plant.yaml").out


def test_assets_and_frames_may_be_as_old_as_two_of_their_intervals() -> None:
    sections = {
        "asset_framework": {"enabled": True, "interval": "40m"},
        "event_frames": {"enabled": True, "interval": "7m"},
    }
    loaded = config.from_mapping(sections, env={}).config
    last_read = {"assets": MICROS, "event_frames": None, "point_attributes": None}
    ages = {one.name: one for one in _ages(loaded, DATASETS.chosen_by(loaded), last_read)}
    assert (ages["assets"].least_secs, ages["event_frames"].least_secs) == (80 * 60, 14 * 60)
    assert (ages["assets"].read_at, ages["event_frames"].read_at) == (MICROS, None)


@pytest.mark.usefixtures("clock")
def test_a_sampled_series_that_fails_is_named_with_its_gap(called: Called, here: Path) -> None:
    faults = here / "faults.yaml"
    faults.write_text(
        "rules: [{match: {route: 'streams/*/summary', tag: '*000001'}, do: {status: 409, body: {Errors: [no]}}}]"
    )
    with simulated("--tags", "3", "--now", NOW, "--faults", str(faults)) as url:
        written(here, url, extraction=GRID)
        assert called("run", "-c", "plant.yaml").code == 1
        told = called("status", "-c", "plant.yaml")
        assert (told.code, "1 of 6 sampled series failing" in told.out) == (1, True)
        [one] = called("status", "-c", "plant.yaml", "--json").json["sampled"]["troubled"]
        assert one["series_id"].endswith("/600/average")
        assert one["name"].endswith("000001, average")
        found = called("status", "-c", "plant.yaml", "--gaps", "--json").json["gaps"]["sampled"]
        assert (found["tags"], found["tags_complete"]) == (6, 5)
        [window] = found["windows"]
        assert window["tag_webids"] == [one["series_id"]]
        assert (window["start"], window["end"]) == ("2024-03-05T11:00:00Z", "2024-03-05T11:40:00.000001Z")


@pytest.mark.parametrize("section", ["asset_framework", "event_frames"])
def test_assets_and_frames_that_get_old_are_told(called: Called, here: Path, clock, section: str) -> None:
    name = {"asset_framework": "assets"}.get(section, section)
    with simulated("--tags", "2", "--elements", "20", "--begin", BEGIN, "--now", NOW) as url:
        written(here, url, extraction={"datasets": [name], "start_date": BEGIN}, **{section: {"enabled": True}})
        assert called("run", "-c", "plant.yaml").code == 0
        assert called("status", "-c", "plant.yaml", "--max-age", "5m").code == 0
        clock(150)
        words = name.replace("_", " ")
        late = called("status", "-c", "plant.yaml", "--max-age", "1h")
        assert (late.code, f"{words} were last read without trouble" in late.out) == (1, True)
        assert called("status", "-c", "plant.yaml").code == 0
        clock(2 * 24 * 60)
        assert called("status", "-c", "plant.yaml").code == 1
        # A run that finds nothing new is a run all the same.
        assert called("run", "-c", "plant.yaml").code == 0
        assert called("status", "-c", "plant.yaml").code == 0


@pytest.mark.usefixtures("clock")
def test_verify_compares_sampled_values_with_their_grid(called: Called, here: Path) -> None:
    with simulated("--tags", "3", "--now", NOW) as url:
        written(here, url, extraction=GRID)
        assert called("run", "-c", "plant.yaml").code == 0
        good = called("verify", "-c", "plant.yaml", "--json")
        assert (good.code, good.json["sampled"]["wrong"]) == (0, [])
        # 11:00 to 12:00 less the lag: 6 points, and 5 whole intervals.
        assert (good.json["sampled"]["series"], good.json["sampled"]["points"]) == (6, 3 * 6 + 3 * 5)
        assert "the rows are those of the grid" in called("verify", "-c", "plant.yaml").out
        DeltaTable(here / "lakehouse/main/bronze/pi_sampled").delete(
            "kind = 'average' AND tag_name LIKE '%000001' AND timestamp > '2024-03-05T11:05:00Z'"
        )
        bad = called("verify", "-c", "plant.yaml", "--json")
        [day] = bad.json["sampled"]["wrong"]
        assert (bad.code, day["points"], day["rows"], day["kind"]) == (1, 5, 1, "average")
        assert called("verify", "-c", "plant.yaml", "--tags", "*000002").code == 0
        shown = called("verify", "-c", "plant.yaml").out
        assert "5 points, the table holds 1" in shown
        mended = called("run", "-c", "plant.yaml", "--datasets", "tags,sampled", "--set", "extraction.lookback=30d")
        assert mended.code == 0
        assert called("verify", "-c", "plant.yaml").code == 0


@pytest.mark.usefixtures("clock")
def test_verify_says_which_datasets_it_does_not_support_and_compares_assets(called: Called, here: Path) -> None:
    with simulated("--tags", "2", "--elements", "20", "--now", NOW) as url:
        written(here, url, extraction={"datasets": ["assets", "tags"]}, asset_framework={"enabled": True})
        assert called("run", "-c", "plant.yaml").code == 0
        told = called("verify", "-c", "plant.yaml", "--datasets", "tags")
        assert (told.code, "Not supported: tags" in told.err) == (2, True)
        assert called("verify", "-c", "plant.yaml", "--datasets", "assets").code == 0
