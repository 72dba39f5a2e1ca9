"""What the tests of this folder share: runs that land rows, and runs that die."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pyarrow as pa

from writers import PI_TIMESERIES, Landing, LandingRun, Move
from writers.tables import TIMESTAMP


class Killed(BaseException):
    """The process is gone: nothing of ours gets to clean up."""


def event_rows(tag: str, micros: list[int]) -> pa.RecordBatch:
    schema, n = PI_TIMESERIES.schema, len(micros)
    known = {
        "tag_webid": pa.array([tag] * n, pa.string()),
        "timestamp": pa.array(micros, pa.int64()).cast(TIMESTAMP),
        "sequence": pa.array([0] * n, pa.int32()),
        "value": pa.array([float(m) for m in micros], pa.float64()),
        "partition_date": pa.array([m // 86_400_000_000 for m in micros], pa.int32()).cast(pa.date32()),
    }
    return pa.RecordBatch.from_arrays([known.get(f.name, pa.nulls(n, f.type)) for f in schema], names=schema.names)


class Lake:
    """Opens landings as new runs do, and reads what is stored."""

    def __init__(self, lakehouse) -> None:
        self.lakehouse = lakehouse
        self._runs = count(1)
        self.options: dict[str, Any] = {}  # of all landings

    def landing(self, shard: str = "0-of-1", run_id: str | None = None, **options) -> Landing:
        run_id = run_id or f"run-{next(self._runs)}"
        return Landing(
            self.lakehouse,
            PI_TIMESERIES,
            LandingRun(pipeline="p", dataset="recorded", shard=shard, run_id=run_id, **options),
            **self.options,
        )

    def opened(self, *args, **options) -> Landing:
        landing = self.landing(*args, **options)
        landing.open()
        return landing

    def events(self) -> list[tuple[str, int]]:
        rows = self.lakehouse.table(PI_TIMESERIES).open().read(["tag_webid", "timestamp"]).read_all()
        return sorted(zip(rows["tag_webid"].to_pylist(), rows["timestamp"].cast(pa.int64()).to_pylist(), strict=True))


def land(landing: Landing, tag: str, low: int, high: int, every: int = 1):
    """Land all events of a tag in [low, high): one each `every` microseconds."""
    events = list(range(low, high, every))
    batch = landing.begin()
    if events:
        batch.write(event_rows(tag, events))
    return batch.commit([Move(tag, low, high, events[-1] if events else None, len(events))])


def kill_at(step: str) -> Callable[[str], None]:
    def on_step(reached: str) -> None:
        if reached == step:
            raise Killed(step)

    return on_step
