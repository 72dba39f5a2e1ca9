"""30,000 tags for an hour at one value a minute: every event of every tag, within a gigabyte."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine.simulator import SimulatorOptions, events
from tests.exactness.expected import assert_same_rows, expected_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, settings
from tests.exactness.reading import as_rows, marks_in, read_table

TAGS = 30_000
REPOSITORY = Path(__file__).parent.parent.parent
OPTIONS = SimulatorOptions(tags=TAGS, begin="2024-03-05T00:00:00Z", interval_secs=60)
# A sample is compared event by event; of all others the number of events.
SAMPLE = range(0, TAGS, 1_500)

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]


@contextmanager
def simulator() -> Iterator[str]:
    """The server in a process of its own; gives its address."""
    command = [sys.executable, "-m", "engine", "simulate", "--tags", str(TAGS), "--port", "0", "--now", "2024-03-05T01:00:00Z",
               "--begin", "2024-03-05T00:00:00Z"]  # fmt: skip
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if found := re.search(r"http://\S+?/piwebapi", line):
                    yield found[0]
                    break
            else:
                raise AssertionError("the simulator did not start")
        finally:
            server.terminate()


def run(folder: Path, url: str, *arguments: str) -> dict[str, Any]:
    file = folder / "config.yaml"
    plain = settings(folder / "lake", url)
    plain["retry"] = {}
    file.write_text(json.dumps(plain))
    ran = subprocess.run(
        [sys.executable, "-m", "engine", "run", "-c", str(file), "--json", *arguments],
        cwd=REPOSITORY, env={**os.environ, "PYTHONUTF8": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def test_thirty_thousand_tags_for_an_hour(tmp_path: Path) -> None:
    with simulator() as url:
        # In two runs, the second incremental, so that watermarks of all tags are read back once.
        first = run(tmp_path, url, "--end", "2024-03-05T00:40:00Z")
        second = run(tmp_path, url)
    assert first["tags_extracted"] == second["tags_extracted"] == TAGS
    for report in (first, second):
        assert report["peak_rss_bytes"] < 1 << 30

    counts = {web_id_of(index): len(events(OPTIONS, index, BEGIN * 10, (BEGIN + HOUR) * 10)) for index in range(TAGS)}
    assert first["records_written"] + second["records_written"] == sum(counts.values())

    table = read_table(tmp_path / "lake/main/bronze/pi_timeseries")
    grouped = table.group_by("tag_webid").aggregate([([], "count_all")])
    found = dict(zip(grouped["tag_webid"].to_pylist(), grouped["count_all"].to_pylist(), strict=True))
    assert found == {web_id: count for web_id, count in counts.items() if count}
    keys = pa.table({name: table[name] for name in ("tag_webid", "timestamp", "sequence")})
    assert keys.group_by(keys.column_names).aggregate([]).num_rows == table.num_rows

    sample = table.filter(pc.is_in(table["tag_webid"], pa.array([web_id_of(index) for index in SAMPLE])))
    assert_same_rows(as_rows(sample), expected_rows(OPTIONS, SAMPLE, BEGIN, BEGIN + HOUR))
    marks = marks_in(tmp_path / "lake/main/checkpoints/pi_watermarks")
    assert {(mark.low, mark.high) for mark in marks.values()} == {(BEGIN, BEGIN + HOUR)}
    assert len(marks) == TAGS
