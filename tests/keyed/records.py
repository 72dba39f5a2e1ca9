"""A dataset of keyed records that only tests have: jobs of a source that begin, end, are edited and vanish."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pyarrow as pa

from writers import KeyedLanding, KeyedReceipt, LandingRun, Move
from writers.ports import Lakehouse
from writers.tables import TIMESTAMP, Grain, TableSpec

__all__ = ["SPEC", "Job", "files_of", "keys", "land", "landing_of", "opened", "rows_of", "stored"]

SPEC = TableSpec(
    name="test_jobs",
    schema_role="schema",
    grain=Grain(
        owner="source",
        time="start_time",
        key=("job_id",),
        truth=("source", "job_id", "name", "start_time", "end_time", "is_open"),
    ),
    stats_columns=("job_id", "start_time"),
    dictionary_columns=("source",),
    schema=pa.schema(
        [
            ("source", pa.string()),
            ("job_id", pa.string()),
            ("name", pa.string()),
            ("start_time", TIMESTAMP),
            ("end_time", TIMESTAMP),
            ("is_open", pa.bool_()),
            ("read_at", TIMESTAMP),  # no part of the truth
        ]
    ),
)


class Job(NamedTuple):
    job_id: str
    start: int | None
    end: int | None = None
    name: str = "job"
    source: str = "s"


def rows_of(jobs: Iterable[Job], *, read_at: int = 0) -> pa.Table:
    rows = [
        {
            "source": job.source,
            "job_id": job.job_id,
            "name": job.name,
            "start_time": job.start,
            "end_time": job.end,
            "is_open": job.end is None,
            "read_at": read_at,
        }
        for job in jobs
    ]
    return pa.Table.from_pylist(rows, schema=SPEC.schema)


def keys(*job_ids: str) -> pa.Table:
    return pa.table({"job_id": pa.array(job_ids, pa.string())})


def landing_of(lakehouse: Lakehouse, *, pipeline: str = "p", run_id: str = "run", **options: Any) -> KeyedLanding:
    return KeyedLanding(
        lakehouse, SPEC, LandingRun(pipeline=pipeline, dataset="jobs", run_id=run_id, **options), file_rows=10
    )


def opened(lakehouse: Lakehouse, **options: Any) -> KeyedLanding:
    landing = landing_of(lakehouse, **options)
    landing.open()
    return landing


def land(
    landing: KeyedLanding,
    *jobs: Job,
    to: int,
    gone: Iterable[str] = (),
    windows: Iterable[tuple[int | None, int | None]] = (),
    source: str = "s",
    read_at: int = 0,
) -> KeyedReceipt:
    """Land what a source has shown up to an instant."""
    batch = landing.begin()
    if jobs:
        batch.upsert(rows_of(jobs, read_at=read_at))
    if gone:
        batch.delete(keys(*gone))
    for window in windows:
        batch.covers(*window)
    return batch.commit(Move(source, 0, to))


def stored(lakehouse: Lakehouse) -> dict[str, Job]:
    """Every record by its key; none may be there twice."""
    rows = lakehouse.table(SPEC).open().read().read_all()
    times = {name: rows[name].cast(pa.int64()).to_pylist() for name in ("start_time", "end_time")}
    found = {
        row["job_id"]: Job(row["job_id"], start, end, row["name"], row["source"])
        for row, start, end in zip(rows.to_pylist(), times["start_time"], times["end_time"], strict=True)
    }
    assert len(found) == rows.num_rows
    assert [row["is_open"] for row in rows.to_pylist()] == [end is None for end in times["end_time"]]
    return found


def files_of(lakehouse: Lakehouse) -> set[str]:
    return {file.path for file in lakehouse.table(SPEC).open().live_files(-(1 << 62), 1 << 62)}


def kill_at(step: str) -> Callable[[str], None]:
    from tests.landing.lake import Killed

    def on_step(reached: str) -> None:
        if reached == step:
            raise Killed(step)

    return on_step
