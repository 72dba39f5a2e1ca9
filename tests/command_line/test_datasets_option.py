"""`--datasets` chooses what a command reads, shows or compares, whatever the configuration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line.conftest import NOW, Called, simulated, written
from writers.asset_tables import ASSET_TABLES

KNOWN = "recorded, sampled, tags, digital_states, data_servers, point_attributes, assets, event_frames"


@pytest.mark.parametrize("command", ["run", "plan", "status", "verify"])
def test_a_name_that_is_not_known_is_refused_with_those_that_are(called: Called, here: Path, command: str):
    written(here, "http://127.0.0.1:9/piwebapi")
    done = called(command, "-c", "plant.yaml", "--datasets", "recorded,sinusoids")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: --datasets: found 'sinusoids'; expected one of {KNOWN}\n"
    assert called(command, "-c", "plant.yaml", "--datasets", ", ").code == 2, "no name at all"


def test_a_configuration_with_a_name_that_is_not_known_is_not_valid(called: Called, here: Path):
    written(here, "http://127.0.0.1:9/piwebapi", extraction={"datasets": ["tags", "sinusoids"]})
    done = called("config", "validate", "-c", "plant.yaml")
    assert done.code == 2
    assert done.err == (
        f"error: the configuration: $.extraction.datasets: found 'sinusoids'; expected one of {KNOWN}\n"
    )


def test_the_option_goes_before_the_key_and_the_others_are_left_alone(called: Called, here: Path, site: str):
    written(here, site, extraction={"datasets": ["recorded"]})
    planned = called("plan", "-c", "plant.yaml", "--datasets", "tags", "--json").json
    assert (planned["datasets"], planned["reading_requests"], planned["values"]) == (["tags"], 0, 0)
    assert called("run", "-c", "plant.yaml", "--datasets", "tags").code == 0
    tables = {path.parent.name for path in (here / "lakehouse/main/bronze").glob("*/_delta_log")}
    assert tables == {"pi_tags"}

    status = called("status", "-c", "plant.yaml", "--datasets", "tags", "--json")
    assert (status.code, status.json["datasets"], status.json["problems"]) == (0, ["tags"], [])
    assert called("status", "-c", "plant.yaml", "--datasets", "tags", "--gaps", "--json").json["gaps"]["windows"] == []
    status = called("status", "-c", "plant.yaml", "--json")
    assert (status.code, status.json["datasets"]) == (1, ["recorded"])
    assert status.json["problems"] == ["nothing has been read yet; `run` begins"]

    planned = called("plan", "-c", "plant.yaml", "--json").json
    assert (planned["datasets"], planned["states_requests"]) == (["recorded"], 0)
    assert planned["values"] > 0


def test_the_assets_alone(called: Called, here: Path, site: str):
    written(here, site)
    done = called("run", "-c", "plant.yaml", "--datasets", "assets")
    assert done.err.splitlines() == [
        "error: --datasets: found assets; expected asset_framework.enabled to be set beside it",
        "hint: Set asset_framework.enabled, or leave assets out.",
    ]
    assert done.code == 2
    with simulated("--tags", "5", "--elements", "30", "--now", NOW) as url:
        written(here, url, asset_framework={"enabled": True})
        done = called("run", "-c", "plant.yaml", "--datasets", "assets", "--json")
        assert (done.code, done.json["status"], list(done.json["datasets"])) == (0, "succeeded", ["assets"])
        assert done.json["datasets"]["assets"]["rows_written"] > 30
        assert set(done.json["tables"]) >= {spec.name for spec in ASSET_TABLES}
        tables = {path.parent.name for path in (here / "lakehouse/main/bronze").glob("*/_delta_log")}
        assert tables == {spec.name for spec in ASSET_TABLES}
        assert called("status", "-c", "plant.yaml", "--datasets", "assets", "--json").json["datasets"] == ["assets"]
        assert called("plan", "-c", "plant.yaml", "--datasets", "assets", "--json").json["datasets"] == ["assets"]


def test_what_verify_does_not_compare_is_said(called: Called, here: Path):
    written(here, "http://127.0.0.1:9/piwebapi")
    done = called("verify", "-c", "plant.yaml", "--datasets", "tags,digital_states")
    assert done.code == 2
    assert done.err == (
        "error: verify compares none of the datasets that are chosen\n"
        "hint: Choose one with --datasets or extraction.datasets: recorded, sampled, assets, event_frames. Not supported: "
        "tags, digital_states, data_servers, point_attributes, which runs compare with the source.\n"
    )
