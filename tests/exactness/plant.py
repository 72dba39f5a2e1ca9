"""A simulated plant and the lake it is brought into: run the product against it, then hold it to account.

The simulator's clock stands where the test puts it, so every window is known to the microsecond. A
run without faults after one with faults is a new server with the same history, as after a repair.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from config import Config, from_mapping
from engine.flow.stop import Stop
from engine.plan.shards import Shard
from engine.run import run
from engine.simulator import FaultPlan, Simulator, SimulatorOptions, point
from engine.telemetry.events import RunEvent
from engine.telemetry.report import RunReport
from tests.exactness.expected import Row, assert_same_rows, expected_rows, web_id_of
from tests.exactness.reading import Mark, is_table, marks_in, read_table, rows_in
from tests.patience import HANGS_AFTER_SECS
from writers import PI_WATERMARKS, Hole, open_lakehouse
from writers.watermarks.checkpoint_rows import decode, merge_stream

__all__ = ["BEGIN", "HOUR", "MINUTE", "SECOND", "Plant", "micros", "settings", "text_of"]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime.fromisoformat("1970-01-01T00:00:00Z")) // (
        datetime.resolution  # a microsecond
    )


def text_of(at: int) -> str:
    seconds, rest = divmod(at, SECOND)
    return (
        f"{datetime.fromtimestamp(seconds, tz=datetime.fromisoformat(BEGIN_TEXT).tzinfo):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
    )


BEGIN_TEXT = "2024-03-05T00:00:00Z"
BEGIN = micros(BEGIN_TEXT)


def settings(root: Path, url: str, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that hurries: no waiting between attempts, no lag behind the clock."""
    document: dict[str, Any] = {
        "pi_web_api": {
            "url": url,
            "auth_type": "anonymous",
            "max_requests_per_second": 100_000,
            "max_in_flight": 4,
            "timeout": "60s",
        },
        "storage": {"root": str(root)},
        "extraction": {"tag_name_filter": "*", "start_date": BEGIN_TEXT, "lag": "0s"},
        "retry": {"max_attempts": 2, "initial_wait": "1ms", "max_wait": "1ms"},
    }
    for section, values in sections.items():
        if isinstance(values, Mapping):
            document[section] = {**document.get(section, {}), **values}
        else:
            document[section] = values
    return document


@dataclass(slots=True)
class Plant:
    """One history, one lake; `sections` are configuration that all its runs share."""

    root: Path
    options: SimulatorOptions
    sections: dict[str, Any] = field(default_factory=dict)
    events: list[RunEvent] = field(default_factory=list)
    requests: list[Simulator] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path, *, tags: int = 12, sections: Mapping[str, Any] | None = None, **options: Any) -> Plant:
        return cls(root, SimulatorOptions(tags=tags, begin=BEGIN_TEXT, **options), dict(sections or {}))

    # --- running ---------------------------------------------------------------

    async def run(
        self,
        now: int,
        *,
        faults: FaultPlan | dict[str, Any] | None = None,
        shard: Shard = Shard(),  # noqa: B008 - a frozen value
        on_step: Callable[[str], None] = lambda _step: None,
        stop: Stop | None = None,
        emit: Callable[[RunEvent], None] | None = None,
        retry_holes: bool = False,
        **sections: Any,
    ) -> RunReport:
        """One run while the server's clock shows `now`. Counts reported must be counts committed."""
        simulator = self.simulator(now, faults)
        before = self.count()
        async with simulator.serve() as url:
            report = await run(
                self.config(url, **sections),
                shard=shard,
                on_step=on_step,
                stop=stop,
                emit=emit or self.events.append,
                retry_holes=retry_holes,
            )
        counts = report.corrections
        assert report.records_written + counts.inserted - counts.deleted == self.count() - before
        return report

    def simulator(
        self,
        now: int,
        faults: FaultPlan | dict[str, Any] | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> Simulator:
        """The plant's server, its clock standing at `now`, or running as `clock` says."""
        plan = FaultPlan.from_dict(faults) if isinstance(faults, dict) else faults or FaultPlan()
        simulator = Simulator(replace(self.options, now=clock or now / SECOND, faults=plan))
        self.requests.append(simulator)
        return simulator

    def config(self, url: str, **sections: Any) -> Config:
        shared = settings(self.root, url, **self.sections)
        for section, values in sections.items():
            shared[section] = {**shared.get(section, {}), **values} if isinstance(values, Mapping) else values
        return from_mapping(shared).config

    # --- what there is ---------------------------------------------------------

    @property
    def timeseries(self) -> Path:
        return self.root / "main" / "bronze" / "pi_timeseries"

    @property
    def tags(self) -> Path:
        return self.root / "main" / "bronze" / "pi_tags"

    @property
    def watermarks(self) -> Path:
        return self.root / "main" / "checkpoints" / "pi_watermarks"

    def count(self) -> int:
        return int(read_table(self.timeseries).num_rows) if is_table(self.timeseries) else 0

    def marks(self, pipeline: str = "default") -> Mapping[str, Mark]:
        return marks_in(self.watermarks, pipeline)

    def holes(self) -> Mapping[str, Sequence[Hole]]:
        """By WebID, what could not be read so far."""
        table = open_lakehouse(self.root).table(PI_WATERMARKS)
        return decode(merge_stream(table.open().read()), "recorded").holes if table.exists() else {}

    def mark(self, index: int) -> Mark:
        return self.marks()[web_id_of(index)]

    def name(self, index: int) -> str:
        return point(self.options, index).name

    def path(self, index: int) -> str:
        return f"\\\\{self.options.server}\\{self.name(index)}"

    def rows(self, indexes: Iterable[int], start: int, end: int) -> list[Row]:
        return expected_rows(self.options, indexes, start, end)

    # --- holding it to account -------------------------------------------------

    def assert_exact(self, start: int, end: int, *, indexes: Iterable[int] | None = None) -> None:
        """The table holds exactly the events of these tags in `[start, end)`, and the watermarks say so."""
        chosen = list(range(self.options.tags) if indexes is None else indexes)
        expected = self.rows(chosen, start, end)
        assert_same_rows(rows_in(self.timeseries), expected)
        self._assert_marks(chosen, start, end, expected)

    def assert_marks(self, indexes: Iterable[int], start: int, end: int) -> None:
        chosen = list(indexes)
        self._assert_marks(chosen, start, end, self.rows(chosen, start, end))

    def _assert_marks(self, indexes: Iterable[int], start: int, end: int, expected: Iterable[Row]) -> None:
        instants = defaultdict(list)
        for row in expected:
            instants[row[0]].append(row[2])
        marks = self.marks()
        for index in indexes:
            mark = marks[web_id_of(index)]
            assert (mark.low, mark.high, mark.status) == (start, end, "ok"), f"{self.name(index)}: {mark}"
            assert mark.rows_total == len(instants[web_id_of(index)])
            assert mark.last_event == max(instants[web_id_of(index)], default=None)

    def assert_exact_but(self, failed: Iterable[int], start: int, end: int, report: RunReport) -> None:
        """Healthy tags are exact to the end; failed ones up to their watermark, and named with a reason."""
        failed = sorted(failed)
        marks = self.marks()
        healthy = [i for i in range(self.options.tags) if i not in failed]
        complete = self.rows(healthy, start, end)
        expected = list(complete)
        for index in failed:
            mark = marks.get(web_id_of(index))
            if mark is not None:
                assert mark.status == "failed", f"{self.name(index)}: {mark}"
                assert mark.last_error
                assert mark.low == start
                assert mark.high < end
                expected += self.rows([index], mark.low, mark.high)
        assert_same_rows(rows_in(self.timeseries), expected)
        self._assert_marks(healthy, start, end, complete)
        assert dict(report.tags_failed).keys() == {self.name(index) for index in failed}
        assert all(reason for _, reason in report.tags_failed)
        assert report.status == ("incomplete" if failed else "succeeded")
        assert report.exit_code == (1 if failed else 0)

    def assert_tags(self, indexes: Iterable[int] | None = None) -> None:
        """pi_tags holds these points once each, with what the server says of them."""
        chosen = range(self.options.tags) if indexes is None else indexes
        wanted = {
            web_id_of(tag.index): (tag.name, self.path(tag.index), tag.type, tag.units, tag.digital_set, tag.step)
            for tag in (point(self.options, index) for index in chosen)
        }
        rows = read_table(self.tags).to_pylist()
        found = {
            row["tag_webid"]: (
                row["name"], row["path"], row["point_type"], row["engineering_units"], row["digital_set"] or "",
                row["step"],
            )
            for row in rows
            if row["deleted_at"] is None
        }  # fmt: skip
        assert len(rows) == len({row["tag_webid"] for row in rows})
        assert found == wanted


def run_sync(plant: Plant, now: int, **options: Any) -> RunReport:
    """For tests that are not coroutines, such as those of hypothesis."""
    return asyncio.run(asyncio.wait_for(plant.run(now, **options), HANGS_AFTER_SECS))
