"""Lines of the log say of which run and dataset they are, and which request was answered how."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest
from rich.console import Console

from engine.run import run
from engine.telemetry.events import HoleNoted, TagFailed
from engine.telemetry.log import EventLog, set_up_logging
from osipi_connector import PILakeflowConnector
from tests.monitoring.plants import plant
from writers import HoleChange

REQUEST = re.compile(r"(GET|POST) /[\w./-]*: \d{3}, \d+ bytes, \d+ ms")


@pytest.fixture(autouse=True)
def as_before():
    root, ours = logging.getLogger(), logging.getLogger("osipi")
    before = root.level, root.handlers[:], ours.level, ours.handlers[:], ours.propagate
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    ours.setLevel(before[2])
    ours.handlers[:], ours.propagate = before[3:]


async def logged(settings, level: str = "debug", **given) -> list[dict[str, str]]:
    output = io.StringIO()
    set_up_logging(Console(file=output), level=level, as_json=True)
    await run(settings, emit=EventLog(), **given)
    return [json.loads(line) for line in output.getvalue().splitlines()]


async def test_lines_in_json_name_run_pipeline_and_shard(tmp_path):
    lines = await logged(plant(tmp_path), run_id="nightly-7")
    assert {(line["run_id"], line["pipeline"], line["shard"]) for line in lines} == {("nightly-7", "p", "0-of-1")}


async def test_debug_shows_each_request_without_its_query(tmp_path):
    lines = await logged(plant(tmp_path))
    requests = [line["message"] for line in lines if REQUEST.fullmatch(line["message"])]
    assert any(text.startswith("GET /dataservers/") for text in requests)
    assert any(text.startswith("POST /batch: 207, ") for text in requests)
    assert "?" not in " ".join(requests)


async def test_info_shows_no_request(tmp_path):
    assert [line for line in await logged(plant(tmp_path), level="info") if line["logger"] == "osipi.net"] == []


def test_lines_about_a_dataset_name_it():
    output = io.StringIO()
    set_up_logging(Console(file=output), level="info", as_json=True)
    log = EventLog()
    log(TagFailed("recorded", "A", "gone"))
    log(HoleNoted("recorded", "A", HoleChange("F1", 0, 1, "damaged")))
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["dataset"] for line in lines] == ["recorded", "recorded"]


@pytest.mark.parametrize(("level", "shows"), [(logging.DEBUG, True), (logging.WARNING, False)])
def test_a_notebook_that_asks_for_debug_sees_the_requests(tmp_path, capsys, level, shows):
    logging.basicConfig(level=level, force=True)
    document = {
        "development": {"simulator": {"tags": 2, "history": "1h"}},
        "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 1000},
        "extraction": {"tag_name_filter": "*", "start_date": "now-1h"},
        "storage": {"root": str(tmp_path)},
    }
    PILakeflowConnector(document).run()
    assert bool(REQUEST.search(capsys.readouterr().err)) == shows
