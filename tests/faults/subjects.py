"""What the matrix of faults is about: each dataset, how it is chosen, which requests are its own, and what changes.

`content` is what the tables of a dataset say of the source: all rows, without the columns that say when we read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from engine.datasets.registry import DATASETS
from engine.simulator import FaultPlan, Simulator, SimulatorOptions
from engine.simulator.assets.edits import AssetEdit
from tests.exactness.expected import Row, expected_rows
from tests.exactness.plant import BEGIN_TEXT, HOUR, SECOND, micros
from tests.exactness.reading import is_table, read_table

__all__ = [
    "FIRST",
    "LAST",
    "OPTIONS",
    "SUBJECTS",
    "Content",
    "Subject",
    "content",
    "rows_of_table",
    "simulator",
    "truth_of_values",
]

Content = Mapping[str, Counter[Row]]

BEGIN = micros(BEGIN_TEXT)
# The first run ends here, without a fault; the runs under a fault here.
FIRST, LAST = BEGIN + HOUR, BEGIN + 2 * HOUR
OPTIONS: dict[str, Any] = {
    "tags": 4, "begin": BEGIN_TEXT, "interval_secs": 240.0, "types": (("Float64", 1.0), ("Digital", 1.0)),
    "elements": 12, "frames_per_day": 48.0,
}  # fmt: skip
# When we read a row, and which run did.
_OURS = {
    "ingestion_timestamp", "first_seen", "last_seen", "last_updated", "updated_at", "checked_at", "last_changed",
    "replaces",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One dataset of the registry.

    `sections`: the configuration that wants it. `own`: a pattern of the requests that are asked for it alone, over method, path
    and body. `changes`: what is new at the source between the two runs, besides an hour. `from_nothing`: nothing can
    change, so that the runs under a fault are the first. `first`: what is different in the first run.
    """

    name: str
    own: str
    sections: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[Mapping[str, Any], ...] = ()
    asset_changes: tuple[Mapping[str, Any], ...] = ()
    from_nothing: bool = False
    first: Mapping[str, Any] = field(default_factory=dict)

    def change(self, server: Simulator) -> None:
        """Let the source go on to the state of the second run."""
        server.set_clock(LAST * 10)
        if self.changes:
            server.change(*(dict(one) for one in self.changes))
        for edit in self.asset_changes:
            server._site.change_assets(msgspec.convert(dict(edit), AssetEdit))


SUBJECTS: Mapping[str, Subject] = {
    one.name: one
    for one in (
        Subject(name="recorded", own=r"/recorded"),
        Subject(
            name="sampled",
            own=r"/(interpolated|summary)",
            sections={"extraction": {"sampled": {"interval": "20m", "kinds": ["interpolated", "count"]}}},
        ),
        Subject(
            name="tags",
            own=r"^GET \S+/points\b",
            changes=({"action": "create_point", "tag": "New.Point", "type": "Float64"},),
        ),
        Subject(
            name="digital_states",
            own=r"enumeration(sets|values)",
            changes=({"action": "rename_state", "digital_set": "Pump", "code": 0, "name": "Off"},),
        ),
        Subject(name="data_servers", own=r"^GET \S*/dataservers(\?| |$)", from_nothing=True),
        Subject(
            name="point_attributes",
            own=r"/points/[\w-]+/attributes",
            sections={"extraction": {"point_attributes": ["descriptor", "exdesc"]}},
            first={"extraction": {"datasets": ["tags"], "point_attributes": []}},
        ),
        Subject(
            name="assets",
            own=r"asset(servers|databases)|/element|/enumeration|/streamsets|/unitclasses",
            sections={"asset_framework": {"enabled": True}},
            asset_changes=(
                {"action": "create_element", "name": "New", "to": "Site 01", "template": "Pump"},
                {"action": "put_template", "template": "New", "to": "Pump", "description": "d"},
            ),
        ),
        Subject(
            name="event_frames",
            own=r"eventframe",
            sections={"event_frames": {"enabled": True}},
            asset_changes=({"action": "create_frame", "name": "New", "start": "2024-03-05T01:30:00Z"},),
        ),
    )
}


def simulator(now: int, **faults: Any) -> Simulator:
    """The source, whose clock stands."""
    return Simulator(SimulatorOptions(**OPTIONS, now=now / SECOND, faults=FaultPlan.from_dict(faults)))


def content(subject: Subject, root: Path) -> Content:
    """By table, the rows of it."""
    found = {}
    for spec in DATASETS[subject.name].tables:
        path = root / "main" / "bronze" / spec.name
        found[spec.name] = Counter(rows_of_table(read_table(path))) if is_table(path) else Counter()
    return found


def rows_of_table(table: pa.Table) -> list[Row]:
    """What the source says in each row, as text, so that NaN equals NaN."""
    table = table.select(sorted(table.schema.names))
    names = [name for name in table.schema.names if name not in _OURS]
    if {"captured", "value", "value_string"} <= set(names):  # what was not captured is another number each time
        rows = table.to_pylist()
        for row in rows:
            if not row["captured"]:
                row |= {"value": None}
        return [tuple(repr(row[name]) for name in names) for row in rows]
    columns = [table[name].to_pylist() for name in names]
    return [tuple(map(repr, row)) for row in zip(*columns, strict=True)]


def truth_of_values(server: Simulator, until: int) -> list[Row]:
    """The rows that pi_timeseries has to hold, by the closed form."""
    return expected_rows(server.options, range(OPTIONS["tags"]), BEGIN, until)
