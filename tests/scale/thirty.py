"""30,000 simulated tags for an hour, runs over them, and what a table of them holds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.simulator import SimulatorOptions, events
from tests.exactness.expected import assert_same_rows, expected_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, settings
from tests.exactness.reading import as_rows, marks_in

TAGS = 30_000
REPOSITORY = Path(__file__).parent.parent.parent
OPTIONS = SimulatorOptions(tags=TAGS, begin="2024-03-05T00:00:00Z", interval_secs=60)
# A sample is compared event by event; of all others the number of events.
SAMPLE = range(0, TAGS, 1_500)


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


def run(
    folder: Path, url: str, *arguments: str, env: Mapping[str, str] | None = None, **sections: Any
) -> dict[str, Any]:
    """One run in a process of its own; `sections` of the configuration go before those of every test."""
    file = folder / "config.yaml"
    plain = settings(folder / "lake", url) | {"retry": {}} | sections
    file.write_text(json.dumps(plain))
    ran = subprocess.run(
        [sys.executable, "-m", "engine", "run", "-c", str(file), "--json", *arguments],
        cwd=REPOSITORY, env={**os.environ, "PYTHONUTF8": "1", **(env or {})}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    report: dict[str, Any] = json.loads(ran.stdout)
    assert report["tags_extracted"] == TAGS
    assert report["peak_rss_bytes"] < 1 << 30
    return report


@cache
def counts() -> dict[str, int]:
    """Events of each tag in the hour."""
    found = {web_id_of(index): len(events(OPTIONS, index, BEGIN * 10, (BEGIN + HOUR) * 10)) for index in range(TAGS)}
    return {web_id: count for web_id, count in found.items() if count}


def assert_exact(table: pa.Table) -> None:
    grouped = table.group_by("tag_webid").aggregate([([], "count_all")])
    found = dict(zip(grouped["tag_webid"].to_pylist(), grouped["count_all"].to_pylist(), strict=True))
    assert found == counts()
    keys = pa.table({name: table[name] for name in ("tag_webid", "timestamp", "sequence")})
    assert keys.group_by(keys.column_names).aggregate([]).num_rows == table.num_rows
    sample = table.filter(pc.is_in(table["tag_webid"], pa.array([web_id_of(index) for index in SAMPLE])))
    assert_same_rows(as_rows(sample), expected_rows(OPTIONS, SAMPLE, BEGIN, BEGIN + HOUR))


def assert_all_is_marked(watermarks: Path) -> None:
    marks = marks_in(watermarks)
    assert {(mark.low, mark.high) for mark in marks.values()} == {(BEGIN, BEGIN + HOUR)}
    assert len(marks) == TAGS
