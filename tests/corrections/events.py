"""Events as the tests of this folder spell them, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from writers import Digest, row_hash
from writers.tables import PI_TIMESERIES, TIMESTAMP

Flags = tuple[bool | None, bool | None, bool | None, bool | None]
DAY = 86_400_000_000
TRUTH = PI_TIMESERIES.grain.truth


class Event(NamedTuple):
    tag: str
    at: int
    sequence: int = 0
    value: float | None = 1.0
    text: str | None = None
    code: int | None = None
    kind: str | None = "number"
    flags: Flags = (True, False, False, False)
    units: str | None = "bar"
    read_at: int = 7  # no part of the truth


def batch_of(events: Sequence[Event]) -> pa.RecordBatch:
    """Give the rows of these events, strings plain."""
    flags = zip(*(e.flags for e in events), strict=True) if events else [()] * 4
    columns = [
        pa.array([e.tag for e in events], pa.string()),
        pa.array([f"name of {e.tag}" for e in events], pa.string()),
        pa.array([e.at for e in events], pa.int64()).cast(TIMESTAMP),
        pa.array([e.sequence for e in events], pa.int32()),
        pa.array([e.value for e in events], pa.float64()),
        pa.array([e.text for e in events], pa.string()),
        pa.array([e.code for e in events], pa.int32()),
        pa.array([e.kind for e in events], pa.string()),
        *(pa.array(list(flag), pa.bool_()) for flag in flags),
        pa.array([e.units for e in events], pa.string()),
        pa.array([e.read_at for e in events], pa.int64()).cast(TIMESTAMP),
        pa.array([e.at // DAY for e in events], pa.int32()).cast(pa.date32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=PI_TIMESERIES.schema)


def events_of(rows: pa.Table) -> list[Event]:
    """Read rows back, in the order of their keys."""
    return sorted(as_events(rows), key=lambda e: (e[:3], repr(e)))


def as_events(rows: pa.Table) -> list[Event]:
    """Read rows back as they come."""

    def whole(name: str) -> list[int]:
        values: list[int] = rows[name].cast(pa.int64()).to_pylist()
        return values

    flags = zip(*(rows[name].to_pylist() for name in ("good", "questionable", "substituted", "annotated")), strict=True)
    columns = zip(
        rows["tag_webid"].to_pylist(),
        whole("timestamp"),
        whole("sequence"),
        *(rows[name].to_pylist() for name in ("value", "value_string", "state_code", "value_kind")),
        flags,
        rows["units"].to_pylist(),
        whole("ingestion_timestamp"),
        strict=True,
    )
    return [Event(*row) for row in columns]


def row_hashes(batch: pa.RecordBatch) -> row_hash.Hashes:
    """Hash the truth of each event."""
    return row_hash.row_hashes(batch, TRUTH)


def digests(batch: pa.RecordBatch, codes: np.ndarray, owners: int) -> tuple[Digest, ...]:
    """Give the digest of each of so many tags; `codes` says whose a row is."""
    rows, totals = row_hash.sums(row_hashes(batch), codes, owners)
    return tuple(map(Digest, rows.tolist(), totals.tolist()))
