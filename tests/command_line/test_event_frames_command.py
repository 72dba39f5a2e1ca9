"""`frames` shows the event frames of a time as the table will hold them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line.conftest import NOW, Called, simulated, written


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with simulated("--tags", "20", "--elements", "130", "--frames-per-day", "48", "--now", NOW) as url:
        yield url


def test_frames_of_a_time_are_listed_with_the_element_that_they_are_about(
    called: Called, here: Path, site: str
) -> None:
    written(here, site)
    found = called(
        "frames", "-c", "plant.yaml", "--start", "2024-03-04T00:00:00Z", "--end", "2024-03-04T06:00:00Z", "--json"
    ).json
    assert found["count"] == len(found["frames"]) > 5
    assert all(one["start_time"] <= "2024-03-04T06:00:00Z" for one in found["frames"])
    assert all(one["is_open"] or one["end_time"] >= "2024-03-04T00:00:00Z" for one in found["frames"])
    assert [one["start_time"] for one in found["frames"]] == sorted(one["start_time"] for one in found["frames"])
    shown = called("frames", "-c", "plant.yaml", "--start", "2024-03-04T00:00:00Z", "--end", "2024-03-04T06:00:00Z").out
    assert "Site 01\\" in shown
    assert shown.splitlines()[-1].startswith(f"{found['count']} event frames of ")


def test_frames_of_a_template_as_csv(called: Called, here: Path, site: str) -> None:
    written(here, site)
    window = ("--start", "2024-03-01T00:00:00Z", "--end", "2024-03-05T00:00:00Z")
    # Stop is the template that Downtime and Trip are derived from.
    done = called("frames", "-c", "plant.yaml", *window, "--template", "Stop", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert {one["template_name"] for one in rows} == {"Downtime", "Trip"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--start", "soon"), "--start soon: expected a time"),
        (("--start", "now", "--end", "now-1d"), "--start now is not before --end now-1d"),
        (("--template", "Nothing"), "element template was not found"),
        (("--database", "Elsewhere"), "Elsewhere"),
    ],
)
def test_what_cannot_be_listed_is_one_sentence(
    called: Called, here: Path, site: str, options: tuple[str, ...], sentence: str
) -> None:
    written(here, site)
    done = called("frames", "-c", "plant.yaml", *options)
    assert done.code != 0
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert "point" not in done.err, "a hint for tags is of no use here"
