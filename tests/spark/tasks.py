"""Tasks without Spark: what stands where a session does, and runs the function of a task in threads of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from engine.simulator import Simulator

__all__ = ["Tasks", "Traffic"]

Function = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


@dataclass(slots=True)
class Tasks:
    """As a session: `range(..).mapInArrow(..).collect()`. `twins`: so many tasks for each row; the first result counts.

    `seen` holds each function that was to be run, as Spark would send it.
    """

    twins: int = 1
    rows: Sequence[int] = ()
    seen: list[Function] = field(default_factory=list)

    def addTag(self, tag: str) -> None:
        assert "," not in tag

    def range(self, start: int, end: int, step: int, partitions: int) -> Tasks:
        assert (start, step, partitions) == (0, 1, end)
        return Tasks(self.twins, range(end), self.seen)

    def mapInArrow(self, function: Function, schema: str) -> Tasks:
        assert schema == "result string"
        self.seen.append(function)
        return self

    def collect(self) -> list[tuple[str, ...]]:
        [function] = self.seen[-1:]

        def task(index: int) -> tuple[Any, ...]:
            [batch] = function(iter([pa.RecordBatch.from_pydict({"id": [index]})]))
            return tuple(column[0].as_py() for column in batch.columns)

        with ThreadPoolExecutor(max(1, len(self.rows) * self.twins)) as pool:
            found = [[pool.submit(task, index) for _ in range(self.twins)] for index in self.rows]
            results = [[each.result() for each in twins] for twins in found]
            return [each[0] for each in results]


class Traffic:
    """When each request came to a simulator, and how many were there at once at most: by its own doors."""

    def __init__(self, simulator: Simulator) -> None:
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._handle = simulator._handle
        simulator._handle = self  # type: ignore[method-assign, assignment]

    async def __call__(self, request: Any) -> Any:
        self.times.append(time.monotonic())
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._handle(request)
        finally:
            self._at_once -= 1

    def assert_within(self, per_second: int, at_once: int) -> None:
        """In no two seconds more than two seconds allow, beside those in flight, which a busy server may let in together."""
        assert self.most_at_once <= at_once
        most = 2 * per_second + at_once
        assert len(self.times) > most
        for first, last in zip(self.times, self.times[most:], strict=False):
            assert last - first > 1.9
