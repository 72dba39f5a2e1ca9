"""The metrics table: one row a run. Imports nothing of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .commit import Lakehouse
from .journal import add_rows
from .tables import PI_CONNECTOR_METRICS

__all__ = ["add_run", "newest_runs"]


def add_run(lakehouse: Lakehouse, row: Mapping[str, Any]) -> None:
    """Add the row of a run; times are microseconds since 1970. Raises what the destination raises."""
    add_rows(lakehouse, PI_CONNECTOR_METRICS, [row])


def newest_runs(lakehouse: Lakehouse, pipeline: str, *, limit: int) -> list[dict[str, Any]]:
    """Give the rows of a pipeline, newest first; times are microseconds since 1970. None without a table."""
    table = lakehouse.table(PI_CONNECTOR_METRICS)
    if not table.exists():
        return []
    rows = table.open().read().read_all()
    rows = rows.filter(pc.equal(rows["pipeline"], pipeline)).sort_by([("started_at", "descending")]).slice(0, limit)
    place = rows.schema.get_field_index("started_at")
    return [dict(row) for row in rows.set_column(place, "started_at", rows["started_at"].cast(pa.int64())).to_pylist()]
