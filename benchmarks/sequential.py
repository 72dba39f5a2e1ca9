"""A sequential reader for comparison: one request after the other, plain lists, one Delta write at the end.

The peer of small runs, which a reader without threads, pandas and promises has done before others have started.
Standalone: nothing of the product is imported. It finds the points, asks in batches over one connection, and fills a
table of the same columns. All events are held in memory until they are written.

    python benchmarks/sequential.py '{"url": "http://127.0.0.1:8080/piwebapi", "table": "/tmp/t", ...}'
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import requests
from deltalake import write_deltalake

FIELDS = "Items.Timestamp;Items.Value;Items.Good;Items.Questionable;Items.Substituted;Items.Annotated;UnitsAbbreviation"
TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("tag_webid", pa.string()), ("tag_name", pa.string()), ("timestamp", TIME), ("sequence", pa.int32()),
        ("value", pa.float64()), ("value_string", pa.string()), ("state_code", pa.int32()), ("value_kind", pa.string()),
        ("good", pa.bool_()), ("questionable", pa.bool_()), ("substituted", pa.bool_()), ("annotated", pa.bool_()),
        ("units", pa.string()), ("ingestion_timestamp", TIME), ("partition_date", pa.date32()),
    ]
)  # fmt: skip


def all_points(session: requests.Session, url: str) -> list[tuple[str, str]]:
    """WebID and name of every point of the first data server."""
    server = session.get(f"{url}/dataservers").json()["Items"][0]["WebId"]
    found: list[tuple[str, str]] = []
    while True:
        page = session.get(
            f"{url}/dataservers/{server}/points",
            params={"startIndex": str(len(found)), "maxCount": "1000", "selectedFields": "Items.WebId;Items.Name"},
        )
        items = page.json()["Items"]
        found += [(item["WebId"], item["Name"]) for item in items]
        if len(items) < 1000:
            return found


def read(session: requests.Session, url: str, points: list[tuple[str, str]], query: str) -> list[tuple[Any, ...]]:
    """The rows of one batch request."""
    body = {
        str(n): {"Method": "GET", "Resource": f"{url}/streams/{web_id}/recorded?{query}"}
        for n, (web_id, _) in enumerate(points)
    }
    rows: list[tuple[Any, ...]] = []
    now = datetime.now(UTC)
    for key, part in session.post(f"{url}/batch", json=body).json().items():
        if part["Status"] != 200:
            continue
        units = part["Content"]["UnitsAbbreviation"]
        before, sequence = None, 0
        for item in part["Content"]["Items"]:
            at = datetime.fromisoformat(item["Timestamp"][:26].rstrip("Z")).replace(tzinfo=UTC)
            sequence = sequence + 1 if at == before else 0
            before = at
            flags = (item["Good"], item["Questionable"], item["Substituted"], item["Annotated"])
            rows.append((*points[int(key)], at, sequence, *landed(item["Value"]), *flags, units, now, at.date()))
    return rows


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


def run(url: str, table: str, start: str, end: str, batch_size: int) -> dict[str, Any]:
    """Read everything in the window, then append it in one commit."""
    began = time.perf_counter()
    session = requests.Session()
    session.headers["X-Requested-With"] = "XMLHttpRequest"
    points = all_points(session, url)
    # PI takes both ends as included: the last 100 ns are left out.
    last = datetime.fromisoformat(end) - timedelta(microseconds=1)
    until = last.strftime("%Y-%m-%dT%H:%M:%S.%f9Z")
    query = f"startTime={start}&endTime={until}&maxCount=150000&selectedFields={FIELDS}"
    rows: list[tuple[Any, ...]] = []
    for at in range(0, len(points), batch_size):
        rows += read(session, url, points[at : at + batch_size], query)
    columns = zip(*rows, strict=True) if rows else ((),) * len(SCHEMA)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    write_deltalake(table, pa.Table.from_arrays(arrays, schema=SCHEMA), mode="append", partition_by=["partition_date"])
    return {
        "records_written": len(rows),
        "duration_seconds": time.perf_counter() - began,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
