"""A lake in which there is everything that the report and the dashboard show: thirty days of runs, a tag that fails, a hole,
corrections, tags that are behind, assets and event frames.

`python -m tests.report.sample FOLDER` writes its page to FOLDER/report.html; `make picture` photographs it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine.cli import main
from engine.telemetry.metrics import empty_row
from tests.command_line.conftest import simulated, written
from writers import add_rows, open_lakehouse
from writers.tables import PI_CONNECTOR_METRICS

NOW = "2024-03-05T12:00:00Z"
NOW_MICROS = 1_709_640_000_000_000
DAY = 86_400_000_000
EVIL = "\"><script>alert(1)</script><img src=http://evil/x onerror='x'>&lt;\n\r\x1b[2J\x00\u202e\u2028`${var.x}"
FAILING, DAMAGED, READ = 1, 2, 0


@contextlib.contextmanager
def at(micros: int) -> Iterator[None]:
    """This machine's clock stands."""
    with (
        patch("engine.clock.wall_micros", lambda: micros),
        patch("engine.run.metrics_rows.wall_micros", lambda: micros),
        patch("engine.commands.verify.metrics_row.wall_micros", lambda: micros),
    ):
        yield


@contextlib.contextmanager
def lake(folder: Path, *, evil: str = "") -> Iterator[Path]:
    """Build it, and give its configuration, while the PI Web API answers. `evil`: becomes a part of every name."""
    names = [f"Unit1.{kind}{evil}" for kind in ("Temperature", "Pressure", "Level")]
    plan: dict[str, Any] = {
        "edits": [{"action": "rename", "tag": place, "name": name} for place, name in enumerate(names)],
        "damaged": [{"tag": f"*.{DAMAGED:06}", "start": "2024-03-05T03:00:00Z", "end": "2024-03-05T03:20:00Z"}],
        "rules": [
            {
                "match": {"route": "*recorded", "tag": names[FAILING]},
                "do": {"status": 500, "body": {"Errors": [f"The archive is offline{evil}"]}},
            }
        ],
    }
    faults = folder / "faults.yaml"
    faults.write_text(json.dumps(plan))
    options = ("--tags", "24", "--elements", "40", "--frames-per-day", "24", "--now", NOW, "--faults", str(faults))
    with simulated(*options) as url, at(NOW_MICROS):
        config = written(
            folder,
            url,
            extraction={"start_date": "2024-03-03T00:00:00Z"},
            asset_framework={"enabled": True},
            event_frames={"enabled": True},
        )
        document = json.loads(config.read_text())
        assert main(["run", "-c", str(config)]) == 1, "one tag fails, and one has a hole"
        add_rows(open_lakehouse(folder / "lakehouse"), PI_CONNECTOR_METRICS, list(earlier(document["pipeline"], evil)))
    with simulated(*options) as url, at(NOW_MICROS + 4 * 60_000_000):
        document["pi_web_api"]["url"] = url
        config.write_text(json.dumps(document))
        yield config


def earlier(pipeline: str, evil: str) -> Iterator[dict[str, Any]]:
    """Rows of the runs and verifications of the 29 days before."""
    for day in range(1, 30):
        wave = 1 + 0.5 * math.sin(day / 3)
        row = empty_row(
            (f"run-{day}", pipeline, "0-of-1"), started_at=NOW_MICROS - day * DAY, command="run", datasets=[]
        )
        yield row | {
            "status": "failed" if day == 9 else "incomplete" if day in {10, 17} else "succeeded",
            "error": f"the server is away{evil}" if day == 9 else None,
            "duration_seconds": 40.0 * wave,
            "records_written": 0 if day == 9 else round(34_000 * wave),
            "requests": round(300 * wave),
            "retries": 60 if day in {9, 10} else 0,
            "throttled": 25 if day in {9, 10} else 0,
            "bytes_fetched": round(2_100_000 * wave),
            "freshness_max_seconds": 7_000.0 if day == 9 else 45.0 * wave,
            "tags_requested": 24,
            "tags_extracted": 24,
            "commits": 3,
        }
        checked = empty_row(
            (f"verify-{day}", pipeline, "0-of-1"), started_at=NOW_MICROS - day * DAY, command="verify", datasets=[]
        )
        yield checked | {
            "status": "succeeded",
            "error": None,
            "duration_seconds": 4.0,
            "requests": 5,
            "corrections_inserted": 40 * (day % 5 == 0),
            "corrections_changed": day % 7,
            "corrections_deleted": 12 * (day % 8 == 0),
        }


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    with lake(Path.cwd()) as configuration:
        shown = ["--set", "storage.root=lakehouse"]  # the page names the place of the tables
        sys.exit(main(["report", "-c", str(configuration), *shown, "--html", "report.html"]))
