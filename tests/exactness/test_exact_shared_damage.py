"""Several tags have lost the same records: each hole is found, however many answers in a row hold errors alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from config import from_mapping
from engine.run import run
from engine.simulator import SimulatorOptions
from engine.simulator.times import SECOND
from tests.exactness.expected import assert_same_rows, rows_of
from tests.exactness.reading import holes_in, rows_in
from tests.follow.unruly import Damaged, Unruly
from tests.variants import slowly

BEGIN = datetime(2024, 3, 5, tzinfo=UTC)
TICKS = int(BEGIN.timestamp()) * SECOND
TAGS, MINUTE = 4, 60 * SECOND


@pytest.mark.parametrize("bad", [TICKS + 7 * MINUTE, *slowly(TICKS + 3, TICKS + 60 * MINUTE - 5 * SECOND)])
async def test_what_lies_around_a_shared_hole_lands_at_once(tmp_path: Path, bad: int):
    options = SimulatorOptions(tags=TAGS, begin="2024-03-05T00:00:00Z", now=TICKS / SECOND + 7200, interval_secs=60.0)
    server = Unruly(options, watched="")
    async with server.serve() as url:
        trouble = Damaged(Random(1), range(TAGS), bad, bad + 1)
        trouble.status, trouble.text = 502, "The archive subsystem did not answer."
        server.begin(trouble)
        config = from_mapping(
            {
                "pi_web_api": {"url": url, "auth_type": "anonymous", "max_requests_per_second": 1000},
                "storage": {"root": str(tmp_path / "lake")},
                "extraction": {
                    "tag_name_filter": "*",
                    "start_date": "2024-03-05T00:00:00Z",
                    "end_date": "2024-03-05T01:00:00Z",
                },
                "retry": {"max_attempts": 2, "initial_wait": "1ms", "max_wait": "1ms"},
            }
        ).config
        report = await run(config)
    assert (report.exit_code, report.error) == (1, None)
    micro = bad // 10
    holes = holes_in(tmp_path / "lake" / "main" / "checkpoints" / "pi_watermarks")
    assert holes == sorted((server.web_id(n), micro, micro + 1) for n in range(TAGS))
    expected = [
        row for n in range(TAGS) for row in rows_of(server.point(n), server.truth(n, TICKS, TICKS + 60 * MINUTE))
    ]
    rows = rows_in(tmp_path / "lake" / "main" / "bronze" / "pi_timeseries")
    assert_same_rows(rows, [row for row in expected if row[2] != micro])
