"""`status` on the tables of real runs: its exit code, and what it says of tags that went away and shards that never ran."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

import engine.clock
import engine.run.metrics_rows
from tests.bundle.workspace import Workspace
from tests.command_line.conftest import NOW, Called, simulated, written
from tests.command_line.test_repair import change, control
from tests.servers import s3

__all__ = ["s3"]

MICROS = 1_709_640_000_000_000  # NOW
MINUTE = 60_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """This machine's clock: it stands five minutes after the first run, and runs begin one after the other."""
    clock = [MICROS + 5 * MINUTE]
    begun = count(MICROS, 10_000_000)
    monkeypatch.setattr(engine.clock, "wall_micros", lambda: clock[0])
    monkeypatch.setattr(engine.run.metrics_rows, "wall_micros", lambda: next(begun))
    return clock


@pytest.fixture
def own_site() -> Iterator[str]:
    """A simulator that a test may change."""
    with simulated("--tags", "6", "--now", NOW) as url:
        yield url


@pytest.mark.usefixtures("clock")
def test_a_monitor_hears_by_the_exit_code_how_fresh_a_pipeline_is(called: Called, here: Path, site: str):
    written(here, site)
    nothing = called("status", "-c", "plant.yaml", "--json")
    assert (nothing.code, nothing.json["well"]) == (1, False)
    assert nothing.json["problems"] == ["it has never run; `run` begins"]
    assert not (here / "lakehouse").exists()

    called("run", "-c", "plant.yaml")
    for allowed, code in (("1h", 0), ("5m30s", 0), ("329", 1), ("30s", 1)):
        done = called("status", "-c", "plant.yaml", "--max-age", allowed)
        assert done.code == code, allowed
    assert "the tag furthest behind is read up to 2024-03-05 11:59:30Z, 5 min 30 s ago" in done.out
    assert "--max-age allows 30 s" in done.out
    found = called("status", "-c", "plant.yaml", "--json")
    assert (found.code, found.json["well"], found.json["problems"]) == (0, True, [])
    written(here, site, extraction={"end_date": "2024-03-05T11:59:30Z"})
    assert called("status", "-c", "plant.yaml", "--max-age", "1s").code == 0, "what has an end need not be fresh"
    written(here, site, extraction={"end_date": "now-1m"})
    assert called("status", "-c", "plant.yaml", "--max-age", "1s").code == 1, "this end moves on"


@pytest.mark.parametrize("text", ["", "soon", "-5m", "1y", "30 minutes"])
def test_an_age_that_is_none_is_refused_with_one_that_is(called: Called, here: Path, text: str):
    written(here)
    done = called("status", "-c", "plant.yaml", "--max-age", text)
    assert done.code == 2
    assert "a duration such as 90s, 30m, 1h" in done.err


def test_tags_that_went_away_are_told_apart_and_hold_up_nothing(
    called: Called, here: Path, own_site: str, clock: list[int]
):
    written(here, own_site)
    called("run", "-c", "plant.yaml")
    before = called("status", "-c", "plant.yaml", "--json").json
    assert (before["tags"], before["went_away"]) == (6, [])

    change(own_site, {"tag": 0, "action": "delete_point"})
    change(own_site, {"tag": 1, "action": "delete_point"})
    control(own_site, "clock", {"advance": "3h"})
    clock[0] += 3 * 60 * MINUTE
    called("run", "-c", "plant.yaml")
    done = called("status", "-c", "plant.yaml", "--max-age", "10m")
    assert done.code == 0, done.out
    assert "all of 4 tags read up to 2024-03-05 14:59:30Z" in done.out
    assert "2 tags went away: " in done.out
    found = called("status", "-c", "plant.yaml", "--json").json
    assert (found["tags"], found["behind"], found["freshness_seconds"]["worst"]) == (4, [], 330)
    assert found["rows_total"] > before["rows_total"], "their rows stay"
    for tag in found["went_away"]:
        assert (tag["why"], tag["read_up_to"]) == ("deleted", "2024-03-05T11:59:30Z")
        assert tag["deleted_at"].startswith("2024-03-05T15:00:")
        assert f"{tag['name']} deleted since {tag['deleted_at']}" in done.out

    only = [f"*{number:05}" for number in (2, 3)]
    written(here, own_site, extraction={"tag_name_filter": only})
    done = called("status", "-c", "plant.yaml", "--limit", "1")
    assert "4 tags went away: " in done.out
    assert "1 more deleted; 2 are not selected any more, last read up to 2024-03-05T14:59:30Z" in done.out
    away = called("status", "-c", "plant.yaml", "--json").json["went_away"]
    assert [tag["why"] for tag in away] == ["deleted", "deleted", "not selected", "not selected"]

    written(here, own_site, extraction={"tag_name_filter": "NONE*"})
    assert "6 tags went away, and no other is selected" in called("status", "-c", "plant.yaml").out
    change(own_site, {"tag": 0, "action": "restore_point"})
    written(here, own_site)
    called("run", "-c", "plant.yaml")
    [one] = called("status", "-c", "plant.yaml", "--json").json["went_away"]
    assert one["name"].endswith("000001"), "the one that is back counts again"


@pytest.mark.usefixtures("clock")
def test_a_tag_that_failed_and_is_not_selected_any_more_is_in_no_trouble(called: Called, here: Path):
    faults = here / "faults.yaml"
    faults.write_text('tags: [{tag: "*Level.000001", forbidden: 403}]')
    with simulated("--tags", "5", "--now", NOW, "--faults", str(faults)) as url:
        written(here, url)
        assert called("run", "-c", "plant.yaml").code == 1
        assert "1 of 5 tags failing" in called("status", "-c", "plant.yaml").out
        written(here, url, extraction={"tag_name_filter": ["*00000", "*00002"]})
        assert called("run", "-c", "plant.yaml").code == 0
    done = called("status", "-c", "plant.yaml")
    assert done.code == 0, done.out
    assert "3 tags went away: 3 are not selected any more" in done.out


@pytest.mark.usefixtures("clock")
def test_a_shard_that_never_ran_is_named(called: Called, here: Path, site: str):
    written(here, site)
    for number in (0, 1, 3):
        called("run", "-c", "plant.yaml", "--shard", f"{number}/4")
    done = called("status", "-c", "plant.yaml")
    assert done.code == 1
    assert "3 of 4 shards have run; 2-of-4 never did" in done.out
    assert called("status", "-c", "plant.yaml", "--json").json["shards"] == {"count": 4, "never_ran": ["2-of-4"]}
    called("run", "-c", "plant.yaml", "--shard", "2/4")
    done = called("status", "-c", "plant.yaml")
    assert (done.code, "never did" in done.out) == (0, False), done.out


@pytest.mark.usefixtures("clock")
def test_the_last_run_of_each_of_many_shards_counts(called: Called, here: Path, site: str):
    written(here, site)
    for number in range(7):
        called("run", "-c", "plant.yaml", "--shard", f"{number}/7")
    assert called("status", "-c", "plant.yaml").code == 0
    written(here, "http://127.0.0.1:9/piwebapi")
    assert called("run", "-c", "plant.yaml", "--shard", "0/7").code != 0
    written(here, site)
    for number in range(1, 7):
        called("run", "-c", "plant.yaml", "--shard", f"{number}/7")
    done = called("status", "-c", "plant.yaml")
    assert done.code == 1
    assert "the last run failed" in done.out


def test_runs_show_where_the_options_of_the_store_are_secrets(
    called: Called, here: Path, site: str, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    secret = {("lake", "key"): s3["AWS_SECRET_ACCESS_KEY"]}
    options = s3 | {"AWS_SECRET_ACCESS_KEY": "${secret:lake/key}"}
    root = "s3://lake/" + urllib.parse.quote(here.name)
    with Workspace(secret).serve() as workspace:
        for name, value in workspace.env().items():
            monkeypatch.setenv(name, value)
        written(here, site, storage={"root": root, "options": options}, monitoring={"metrics": False})
        report = called("run", "-c", "plant.yaml", "--json").json
        assert report["records_written"] > 0
        [run] = called("status", "-c", "plant.yaml", "--json").json["runs"]
        page = called("report", "-c", "plant.yaml", "--html", "-")
    assert f"<td>{report['run_id']}</td>" in page.out
    assert s3["AWS_SECRET_ACCESS_KEY"] not in page.out
    assert (run["run_id"], run["events"]) == (report["run_id"], report["records_written"])
