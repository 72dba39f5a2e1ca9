"""What cannot be read of a tag, as each command tells it: named, counted, and gone once the source has healed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from tests.command_line.conftest import NOW, Called, simulated, written

FLOW, LEVEL = "Unit0000.Flow.000000", "Unit0000.Level.000001"
WHY = "[-11002] Record Header Data Mismatch"
# Three events of a day of 24 lie in it.
DAMAGE = {"tag": LEVEL, "start": "2024-02-28T10:30:00Z", "end": "2024-02-28T13:30:00Z"}


@contextmanager
def plant(here: Path, *damaged: dict[str, str], **extraction: Any) -> Iterator[None]:
    """Three tags with an event an hour, of which eight days are to be read."""
    file = here / "faults.yaml"
    file.write_text(json.dumps({"damaged": damaged}))
    with simulated("--tags", "3", "--now", NOW, "--interval", "3600s", "--faults", str(file)) as url:
        window = {"start_date": "2024-02-26T00:00:00Z", "end_date": "2024-03-05T00:00:00Z"}
        written(here, url, extraction={**window, **extraction})
        yield


def metrics(here: Path, command: str) -> dict[str, Any]:
    table = DeltaTable(str(here / "lakehouse/main/monitoring/pi_connector_metrics")).to_pyarrow_table()
    return max((row for row in table.to_pylist() if row["command"] == command), key=lambda row: row["started_at"])


def assert_names_the_hole(text: str) -> None:
    assert LEVEL in text
    assert WHY in text
    assert "2024-02-28" in text
    assert FLOW not in text


def test_each_command_names_a_hole_and_ends_with_1_until_it_is_filled(called: Called, here: Path) -> None:
    with plant(here, DAMAGE):
        ran = called("run", "-c", "plant.yaml", "--json")
        assert (ran.code, ran.json["status"], ran.json["holes_count"], ran.json["tags_failed"]) == (
            1,
            "incomplete",
            1,
            [],
        )
        [hole] = ran.json["holes"]
        assert (hole["tag"], hole["start"], hole["end"]) == (LEVEL, DAMAGE["start"], DAMAGE["end"])
        assert hole["attempts"] == 1
        assert WHY in hole["reason"]
        assert_names_the_hole(called("run", "-c", "plant.yaml", "--retry-holes").out)

        row = metrics(here, "run")
        assert (row["status"], row["tags_failed"], row["tags_extracted"]) == ("incomplete", 0, 3)
        assert_names_the_hole(row["error"])

        status = called("status", "-c", "plant.yaml")
        assert status.code == 1
        assert "1 hole in what is read" in status.out
        assert called("status", "-c", "plant.yaml", "--json").json["well"] is False
        gaps = called("status", "-c", "plant.yaml", "--gaps")
        assert gaps.code == 1
        assert f"{LEVEL}: from 2024-02-28T10:30:00Z to 2024-02-28T13:30:00Z, cannot be read: " in gaps.out
        assert WHY in gaps.out
        found = called("status", "-c", "plant.yaml", "--gaps", "--json").json["gaps"]
        [window] = found["windows"]
        assert (window["reason"], window["tags"], window["start"]) == ("cannot be read", 1, "2024-02-28T10:30:00Z")
        assert found["coverage"]["shares"] != [1.0] * len(found["coverage"]["shares"])

    with plant(here):  # it has healed, and the hole is known to be one all the same
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 1
        assert "1 tag-day of 1 tag disagree where something could not be read so far" in done.out
        told = called("verify", "-c", "plant.yaml", "--json").json
        assert (told["disagreements"], told["exit_code"]) == ([], 1)
        [day] = told["holes"]
        assert (day["name"], day["start"][:10]) == (LEVEL, "2024-02-28")
        assert called("run", "-c", "plant.yaml", "--retry-holes").code == 0
        assert called("verify", "-c", "plant.yaml").code == 0
        assert called("status", "-c", "plant.yaml").code == 0
        assert "3 of 3 tags complete\n" in called("status", "-c", "plant.yaml", "--gaps").out
        assert metrics(here, "run")["status"] == "succeeded"


def test_holes_of_a_tag_that_went_away_count_for_nothing(called: Called, here: Path) -> None:
    with plant(here, DAMAGE):
        assert called("run", "-c", "plant.yaml").code == 1
        assert called("status", "-c", "plant.yaml", "--gaps").code == 1
    with plant(here, DAMAGE, tag_name_filter=["*00000", "*00002"]):
        assert called("run", "-c", "plant.yaml").code == 0
        status = called("status", "-c", "plant.yaml", "--gaps")
        assert status.code == 0, status.out
        assert "hole" not in status.out
        assert "cannot be read" not in status.out
        assert "2 of 2 tags complete" in status.out


def test_after_a_rebuild_status_says_that_older_holes_are_not_known(called: Called, here: Path) -> None:
    with plant(here, DAMAGE):
        assert called("run", "-c", "plant.yaml").code == 1
        assert called("status", "-c", "plant.yaml", "--json").json["holes_unknown_before"] is None
        assert called("rebuild-watermarks", "-c", "plant.yaml", "--yes").code == 0
        found = called("status", "-c", "plant.yaml", "--json").json
        assert found["holes_unknown_before"] is not None
        told = " ".join(called("status", "-c", "plant.yaml").out.split())
        assert "what could not be read before" in told
        assert "is not known" in told
        assert "`verify` finds it by counts" in told
    with plant(here):
        done = called("verify", "-c", "plant.yaml")
        assert done.code == 1
        assert "PI 24 good, table 21 good" in done.out
