"""A naive pipeline for comparison: requests, a thread pool, pandas, write_deltalake per batch.

The peer that end-to-end scenarios are compared with. Standalone: nothing of the product is imported.
It fills a table of the same columns, and is written to be as fast as its means allow: batches of 100
tags, connections kept open, gzip, only the fields it needs, requests in parallel, parsing in the pool
while the main thread writes. What it leaves out (watermarks, retries, paging, errors inside answers, exactness after a crash) only helps it.

    python benchmarks/naive.py '{"url": "http://127.0.0.1:8080/piwebapi", "table": "/tmp/t", ...}'
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import requests
from deltalake import write_deltalake

FIELDS = "Items.Timestamp;Items.Value;Items.Good;Items.Questionable;Items.Substituted;Items.Annotated;UnitsAbbreviation"
QUEUED = 8
_local = threading.local()


def session() -> requests.Session:
    """One session per thread keeps its connection open."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.headers["X-Requested-With"] = "XMLHttpRequest"
    found: requests.Session = _local.session
    return found


def all_points(url: str) -> list[tuple[str, str]]:
    """WebID and name of every point of the first data server."""
    server = session().get(f"{url}/dataservers").json()["Items"][0]["WebId"]
    found: list[tuple[str, str]] = []
    while True:
        page = session().get(
            f"{url}/dataservers/{server}/points",
            params={"startIndex": str(len(found)), "maxCount": "1000", "selectedFields": "Items.WebId;Items.Name"},
        )
        items = page.json()["Items"]
        found += [(item["WebId"], item["Name"]) for item in items]
        if len(items) < 1000:
            return found


def fetch(url: str, points: list[tuple[str, str]], start: str, end: str) -> pd.DataFrame:
    """One batch request, as a data frame."""
    query = f"startTime={start}&endTime={end}&maxCount=150000&selectedFields={FIELDS}"
    body = {
        str(n): {"Method": "GET", "Resource": f"{url}/streams/{web_id}/recorded?{query}"}
        for n, (web_id, _) in enumerate(points)
    }
    answer = session().post(f"{url}/batch", json=body)
    rows = []
    for key, part in answer.json().items():
        if part["Status"] == 200:
            web_id, name = points[int(key)]
            units = part["Content"]["UnitsAbbreviation"]
            for item in part["Content"]["Items"]:
                value, text, code, kind = landed(item.pop("Value"))
                item["tag_webid"] = web_id
                item["tag_name"] = name
                item["value"] = value
                item["value_string"] = text
                item["state_code"] = code
                item["value_kind"] = kind
                item["units"] = units
                rows.append(item)
    return tidy(pd.DataFrame(rows))


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


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Column names and types of the table."""
    if frame.empty:
        return frame
    frame["timestamp"] = pd.to_datetime(frame.pop("Timestamp"), format="ISO8601", utc=True).dt.as_unit("us")
    frame["sequence"] = frame.groupby(["tag_webid", "timestamp"]).cumcount().astype("int32")
    frame["state_code"] = frame["state_code"].astype("Int32")
    for text in ("value_string", "units"):
        frame[text] = frame[text].astype("string")
    frame["partition_date"] = frame["timestamp"].dt.date
    return frame.rename(columns=str.lower)


def windows(start: str, end: str, step_secs: float) -> Iterator[tuple[str, str]]:
    """Half-open windows as PI wants them: both ends inclusive, so the last 100 ns are left out."""
    at, stop = datetime.fromisoformat(start), datetime.fromisoformat(end)
    while at < stop:
        until = min(stop, at + timedelta(seconds=step_secs))
        last = until - timedelta(microseconds=1)
        yield at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), last.strftime("%Y-%m-%dT%H:%M:%S.%f9Z")
        at = until


def run(url: str, table: str, start: str, end: str, step_secs: float, batch_size: int, threads: int) -> dict[str, Any]:
    """Read everything in the window and append it, batch by batch."""
    began = time.perf_counter()
    points = all_points(url)
    groups = [points[at : at + batch_size] for at in range(0, len(points), batch_size)]
    work = deque((group, *window) for window in windows(start, end, step_secs) for group in groups)
    answers = len(work)
    rows = 0
    waiting: deque[Future[pd.DataFrame]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        while work or waiting:
            while work and len(waiting) < QUEUED:
                waiting.append(pool.submit(fetch, url, *work.popleft()))
            frame = waiting.popleft().result()
            if not frame.empty:
                frame["ingestion_timestamp"] = datetime.now(UTC)
                write_deltalake(table, frame, mode="append", partition_by=["partition_date"])
                rows += len(frame)
    return {
        "records_written": rows,
        "answers": answers,
        "duration_seconds": time.perf_counter() - began,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
