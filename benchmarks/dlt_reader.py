"""A dlt pipeline for comparison: a resource with an incremental cursor, into a Delta table of dlt's filesystem destination.

The peer that most people would take from a shelf. Standalone: nothing of the product is imported. It is written as the
documents of dlt advise for speed: batches in parallel, and Arrow tables in the place of rows. It fills a table of the
same columns, and dlt keeps its cursor, so that a later run goes on where the one before it ended. There are two of it:

- `append` adds what is newer than the cursor. dlt leaves out what it has seen at the cursor's own instant.
- `merge` asks again for the time of `lag_secs` behind the cursor, and updates or inserts by key (dlt's `upsert`).

    python benchmarks/dlt_reader.py '{"url": "http://127.0.0.1:8080/piwebapi", "folder": "/tmp/t", ...}'
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"  # before dlt reads it: a benchmark reports to nobody

import dlt
import pyarrow as pa
from dlt.sources.helpers import requests  # tries again after 429 and 5xx

FIELDS = "Items.Timestamp;Items.Value;Items.Good;Items.Questionable;Items.Substituted;Items.Annotated;UnitsAbbreviation"
TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("tag_webid", pa.string(), nullable=False), ("tag_name", pa.string()),
        pa.field("timestamp", TIME, nullable=False), pa.field("sequence", pa.int32(), nullable=False),
        ("value", pa.float64()), ("value_string", pa.string()), ("state_code", pa.int32()), ("value_kind", pa.string()),
        ("good", pa.bool_()), ("questionable", pa.bool_()), ("substituted", pa.bool_()), ("annotated", pa.bool_()),
        ("units", pa.string()), ("ingestion_timestamp", TIME), ("partition_date", pa.date32()),
    ]
)  # fmt: skip
TABLE = "pi_timeseries"
KEY = ("tag_webid", "timestamp", "sequence")
Points = list[tuple[str, str]]
log = logging.getLogger("dlt_reader")


def all_points(url: str) -> Points:
    """WebID and name of every point of the first data server."""
    server = requests.get(f"{url}/dataservers").json()["Items"][0]["WebId"]
    found: Points = []
    while True:
        page = requests.get(
            f"{url}/dataservers/{server}/points",
            params={"startIndex": str(len(found)), "maxCount": "1000", "selectedFields": "Items.WebId;Items.Name"},
        )
        items = page.json()["Items"]
        found += [(item["WebId"], item["Name"]) for item in items]
        if len(items) < 1000:
            return found


@dlt.defer  # dlt calls it on a thread of its pool
def read(url: str, points: Points, query: str) -> pa.Table:
    """The rows of one batch request."""
    body = {
        str(n): {"Method": "GET", "Resource": f"{url}/streams/{web_id}/recorded?{query}"}
        for n, (web_id, _) in enumerate(points)
    }
    answer = requests.post(f"{url}/batch", json=body, headers={"X-Requested-With": "XMLHttpRequest"})
    rows: list[tuple[Any, ...]] = []
    now = datetime.now(UTC)
    for key, part in answer.json().items():
        web_id, name = points[int(key)]
        if part["Status"] != 200:
            log.warning("%s: status %s", name, part["Status"])
            continue
        units = part["Content"]["UnitsAbbreviation"]
        before, sequence = None, 0
        for item in part["Content"]["Items"]:
            at = datetime.fromisoformat(item["Timestamp"][:26].rstrip("Z")).replace(tzinfo=UTC)
            sequence = sequence + 1 if at == before else 0
            before = at
            flags = (item["Good"], item["Questionable"], item["Substituted"], item["Annotated"])
            rows.append((web_id, name, at, sequence, *landed(item["Value"]), *flags, units, now, at.date()))
    columns = zip(*rows, strict=True) if rows else ((),) * len(SCHEMA)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def landed(value: Any) -> tuple[float | None, str | None, int | None, str]:
    """A value as number, text, code of a state, and what it is."""
    if isinstance(value, dict):
        return None, value["Name"], value["Value"], "system" if value["IsSystem"] else "digital"
    if isinstance(value, bool):
        return None, str(value).lower(), None, "boolean"
    if isinstance(value, float | int):
        return float(value), None, None, "number"
    if value is None:
        return None, None, None, "null"
    return None, value if isinstance(value, str) else json.dumps(value), None, "string"


def recorded_values(url: str, start: str, end: str, batch_size: int, lag_secs: float, disposition: Any) -> Any:
    """The resource: what the points recorded since the cursor, batch by batch."""
    # PI takes both ends as included: the last 100 ns are left out.
    until = (datetime.fromisoformat(end) - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%f9Z")
    cursor = dlt.sources.incremental[datetime]("timestamp", datetime.fromisoformat(start), lag=lag_secs or None)

    @dlt.resource(
        name=TABLE,
        table_format="delta",
        write_disposition=disposition,
        primary_key=KEY,
        columns={"partition_date": {"partition": True}},
    )
    def values(since: Any = cursor) -> Iterator[Any]:
        first = since.start_value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        query = f"startTime={first}&endTime={until}&maxCount=150000&selectedFields={FIELDS}"
        points = all_points(url)
        for at in range(0, len(points), batch_size):
            yield read(url, points[at : at + batch_size], query)

    return values


def run(
    url: str, folder: str, start: str, end: str, batch_size: int, threads: int, mode: str, lag_secs: float = 0
) -> dict[str, Any]:
    """Bring in everything between the cursor and `end`."""
    began = time.perf_counter()
    os.environ["EXTRACT__WORKERS"] = str(threads)
    pipeline = dlt.pipeline(
        "recorded",
        destination=dlt.destinations.filesystem(Path(folder).absolute().as_uri()),
        dataset_name="bronze",
        pipelines_dir=str(Path(folder) / "dlt"),
    )
    disposition: Any = {"disposition": "merge", "strategy": "upsert"} if mode == "merge" else "append"
    pipeline.run(recorded_values(url, start, end, batch_size, lag_secs if mode == "merge" else 0, disposition))
    counts = pipeline.last_trace.last_normalize_info
    return {
        "records_written": counts.row_counts.get(TABLE, 0) if counts else 0,
        "duration_seconds": time.perf_counter() - began,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
