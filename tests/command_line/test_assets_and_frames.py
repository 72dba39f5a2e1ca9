"""`plan`, `status` and `rebuild-watermarks` with assets and event frames."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.command_line.conftest import NOW, Called, simulated, written

CONTEXT = {"asset_framework": {"enabled": True}, "event_frames": {"enabled": True}}


@pytest.fixture(scope="module")
def plant() -> Iterator[str]:
    arguments = ("--tags", "5", "--elements", "40", "--frames-per-day", "20", "--begin", "2024-03-01T00:00:00Z")
    with simulated(*arguments, "--now", NOW) as url:
        yield url


def frames_only(here: Path, url: str) -> None:
    written(here, url, extraction={"datasets": ["event_frames"], "start_date": "2024-03-01T00:00:00Z"}, **CONTEXT)


def test_a_plan_says_what_assets_and_event_frames_take(called: Called, here: Path, plant: str) -> None:
    written(here, plant, extraction={"start_date": "2024-03-01T00:00:00Z"}, **CONTEXT)
    assert called("plan", "-c", "plant.yaml", "--json").json["assets_requests"] > 0, "nothing is known of the tree yet"
    assert called("run", "-c", "plant.yaml").code == 0
    planned = called("plan", "-c", "plant.yaml", "--json").json
    report = called("run", "-c", "plant.yaml", "--json").json
    assert planned["requests"] == pytest.approx(report["requests"], abs=6)
    assert planned["requests"] > planned["assets_requests"] > planned["event_frames_requests"] > 0
    shown = called("plan", "-c", "plant.yaml").out
    assert f"about {planned['assets_requests']} for assets" in " ".join(shown.split())
    others = called("plan", "-c", "plant.yaml", "--json", "--shard", "1/3").json
    assert (others["assets_requests"], others["event_frames_requests"]) == (0, 0)


def test_status_says_how_far_event_frames_are_read(called: Called, here: Path, plant: str) -> None:
    frames_only(here, plant)
    assert called("status", "-c", "plant.yaml", "--json").json["event_frames"] == []
    assert called("run", "-c", "plant.yaml").code == 0
    [one] = called("status", "-c", "plant.yaml", "--json").json["event_frames"]
    assert (one["low"], one["high"]) == ("2024-03-01T00:00:00Z", NOW)
    shown = " ".join(called("status", "-c", "plant.yaml").out.split())
    assert "event frames read from 2024-03-01 00:00:00Z up to 2024-03-05 12:00:00Z" in shown


def test_after_the_checkpoint_table_is_lost_event_frames_are_compared_again(
    called: Called, here: Path, plant: str
) -> None:
    frames_only(here, plant)
    first = called("run", "-c", "plant.yaml", "--json").json["datasets"]["event_frames"]["rows_written"]
    assert first > 50
    shutil.rmtree(here / "lakehouse/main/checkpoints/pi_watermarks")
    lost = called("run", "-c", "plant.yaml")
    assert lost.code == 4
    assert "the checkpoint table is missing" in lost.err
    done = called("rebuild-watermarks", "-c", "plant.yaml", "--yes")
    assert (done.code, done.out) == (0, "Watermarks of event frames cleared: the next run compares all of them.\n")
    again = called("run", "-c", "plant.yaml", "--json")
    told = again.json["datasets"]["event_frames"]
    assert (again.code, told["rows_written"], told["changed"], told["missing"]) == (0, 0, 0, 0)
    [one] = called("status", "-c", "plant.yaml", "--json").json["event_frames"]
    assert (one["low"], one["high"]) == ("2024-03-01T00:00:00Z", NOW)


def change(url: str, *edits: dict[str, object]) -> list[int]:
    target = url.removesuffix("/piwebapi") + "/simulator/assets"
    body = json.dumps(edits).encode()
    with urllib.request.urlopen(urllib.request.Request(target, body, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)["Numbers"]


def test_verify_compares_event_frames_that_no_run_looks_at_any_more(called: Called, here: Path) -> None:
    arguments = ("--elements", "30", "--frames-per-day", "10", "--begin", "2024-03-01T00:00:00Z", "--now", NOW)
    with simulated("--tags", "2", *arguments) as url:
        frames_only(here, url)
        never = called("verify", "-c", "plant.yaml")
        assert (never.code, never.out) == (0, "No event frames are read yet, or all are compared by every run.\n")
        assert called("run", "-c", "plant.yaml").code == 0
        found = called("verify", "-c", "plant.yaml", "--json")
        assert (found.code, found.json["exit_code"]) == (0, 0)
        [one] = found.json["event_frames"]
        assert one["frames"] > 30
        assert [one[kind] for kind in ("missing", "changed", "gone", "unread")] == [[], [], [], []]
        assert (one["start"], one["end"]) == ("2024-03-01T00:00:00Z", "2024-03-04T12:00:00Z")

        change(
            url,
            {"action": "edit_frame", "frame": 3, "description": "edited long after"},
            {"action": "delete_frame", "frame": 6},
            {
                "action": "create_frame",
                "name": "Late",
                "template": "Trip",
                "start": "2024-03-02T00:00:00Z",
                "end": "2024-03-02T01:00:00Z",
            },
        )
        found = called("verify", "-c", "plant.yaml", "--json")
        [one] = found.json["event_frames"]
        assert [len(one[kind]) for kind in ("changed", "unread")] == [1, 0]
        assert len(one["gone"]) >= 1
        assert [name.partition(" (")[0] for name in one["missing"]] == ["Late"]
        shown = called("verify", "-c", "plant.yaml")
        assert (found.code, shown.code) == (1, 1)
        assert "Event frames of Plant differ" in shown.out
        assert "not in the table: Late" in shown.out
        refused = called("verify", "-c", "plant.yaml", "--repair")
        assert (refused.code, "run --mode full --datasets event_frames" in refused.err) == (2, True)
        assert called("run", "-c", "plant.yaml", "--mode", "full").code == 0
        again = called("verify", "-c", "plant.yaml")
        assert again.code == 0
        assert "PI and the table agree" in again.out


def test_verify_leaves_a_frame_that_ends_where_the_window_ends_to_the_runs(called: Called, here: Path) -> None:
    """The window is half-open: a frame that ends where the window ends belongs to what every run compares, and one that ends before does not."""
    arguments = ("--elements", "30", "--frames-per-day", "0", "--begin", "2024-03-01T00:00:00Z", "--now", NOW)
    with simulated("--tags", "2", *arguments) as url:
        frames_only(here, url)
        frame = {"action": "create_frame", "template": "Trip", "start": "2024-03-04T10:00:00Z"}
        _, edge = change(
            url,
            {**frame, "name": "Before", "end": "2024-03-04T11:59:59.999999Z"},
            {**frame, "name": "Edge", "end": "2024-03-04T12:00:00Z"},
        )
        assert called("run", "-c", "plant.yaml").code == 0
        [one] = called("verify", "-c", "plant.yaml", "--json").json["event_frames"]
        assert one["end"] == "2024-03-04T12:00:00Z"
        assert (one["frames"], one["missing"], one["changed"], one["gone"]) == (1, [], [], [])
        change(url, {"action": "delete_frame", "frame": edge})
        [one] = called("verify", "-c", "plant.yaml", "--json").json["event_frames"]
        assert (one["frames"], one["gone"]) == (1, [])


def test_verify_compares_assets_and_says_what_differs(called: Called, here: Path) -> None:
    with simulated("--tags", "2", "--elements", "30", "--now", NOW) as url:
        written(here, url, extraction={"datasets": ["assets"]}, asset_framework={"enabled": True})
        assert called("run", "-c", "plant.yaml").code == 0
        agrees = called("verify", "-c", "plant.yaml")
        assert agrees.code == 0
        assert agrees.out.startswith("Assets: PI and the tables agree on ")
        row = "\\\\SIMAF\\Plant\\Site 01\\Unit 02"
        table = DeltaTable(str(here / "lakehouse/main/bronze/pi_asset_hierarchy"))
        table.delete(f"element_path = '{row}'")
        change(url, {"action": "edit_element", "element": "Site 01", "description": "edited"})
        found = called("verify", "-c", "plant.yaml", "--json")
        assert (found.code, found.json["exit_code"], found.json["assets"]["unread"]) == (1, 1, [])
        [tree] = [one for one in found.json["assets"]["tables"] if one["table"] == "pi_asset_hierarchy"]
        assert (tree["rows_in_pi"], tree["rows_in_table"]) == (30, 29)
        assert [tree[kind]["rows"] for kind in ("missing", "different", "extra", "undecided")] == [1, 1, 0, 0]
        shown = called("verify", "-c", "plant.yaml")
        assert shown.code == 1
        assert "pi_asset_hierarchy differs: 30 rows in PI, 29 in the table\n" in shown.out
        assert f"  not in the table: {row} (" in shown.out
        assert "pi_asset_categories agrees: " in shown.out
        assert shown.out.endswith("`run --datasets assets` puts it right.\n")
        none = called("verify", "-c", "plant.yaml", "--limit", "0").out
        assert "  not in the table: 1 more\n" in none
        refused = called("verify", "-c", "plant.yaml", "--repair")
        assert (refused.code, "`run --datasets assets` all assets" in refused.err) == (2, True)
        assert called("run", "-c", "plant.yaml").code == 0
        assert called("verify", "-c", "plant.yaml").code == 0


def test_verify_compares_tags_and_event_frames_together(called: Called, here: Path, plant: str) -> None:
    written(here, plant, extraction={"start_date": "2024-03-01T00:00:00Z"}, **CONTEXT)
    assert called("run", "-c", "plant.yaml").code == 0
    found = called("verify", "-c", "plant.yaml", "--json")
    assert found.code == 0
    assert (found.json["tags"], len(found.json["event_frames"]), found.json["assets"]["unread"]) == (5, 1, [])
    for option in (["--tags", "*"], ["--datasets", "recorded"]):
        assert not {"event_frames", "assets"} & called("verify", "-c", "plant.yaml", "--json", *option).json.keys()
