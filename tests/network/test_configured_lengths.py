"""No request is longer than is configured: a proxy may stop a longer one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.digital_states.site import serving
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.sampled.grid import expected, rows_in, settings

KINDS = ("interpolated", "average", "count")
DATASETS = ["recorded", "sampled", "tags", "digital_states", "data_servers", "point_attributes"]
MOST_URL, MOST_BODY = 900, 3_000


@pytest.mark.parametrize("mode", ["batch", "streamset"])
async def test_nothing_longer_than_configured_is_sent(tmp_path: Path, mode: str) -> None:
    plant = Plant.of(tmp_path, tags=40, types=(("Float32", 1.0),), interval_secs=47)
    faults = {"url_max_bytes": MOST_URL + len("/piwebapi"), "max_body_bytes": MOST_BODY}
    async with serving(plant, {"switches": faults}, now=BEGIN + HOUR) as site:
        report = await site.run(
            extraction=settings(*KINDS, request_mode=mode, point_attributes=["compdev"], datasets=DATASETS),
            pi_web_api={"max_url_chars": MOST_URL, "max_request_bytes": MOST_BODY},
        )
        assert (report.status, report.tags_failed) == ("succeeded", ())
        assert set(site.simulator.requests.statuses) <= {200, 207}
        assert rows_in(plant) == sorted(expected(site, range(40), KINDS, BEGIN, BEGIN + HOUR), key=str)
