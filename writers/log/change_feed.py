"""The change data feed that a table may keep: rows that say what a commit did.

A reader of the feed takes a commit without change files by its added and removed files, one with change files by these
alone. Invariant: change files hold every row that the commit adds, changes or deletes, freshly appended ones included.
Rows that were only carried over into a new file are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..tables import TableSpec

FOLDER = "_change_data/"
_KIND = "_change_type"
# Change types of the protocol.
INSERTED, UPDATED_FROM, UPDATED_TO, DELETED = "insert", "update_preimage", "update_postimage", "delete"

Kinds = npt.NDArray[np.str_]


def keeps_feed(configuration: Mapping[str, str | None]) -> bool:
    return (configuration.get("delta.enableChangeDataFeed") or "").lower() == "true"


def change_spec(spec: TableSpec) -> TableSpec:
    """Return the spec of change files: the columns of the table, and the change type of the row."""
    wider = spec.with_columns([pa.field(_KIND, pa.string(), nullable=False)])
    return replace(wider, dictionary_columns=(*spec.dictionary_columns, _KIND), stats_columns=())


def change_rows(rows: pa.RecordBatch, kinds: str | Kinds, columns: Sequence[str]) -> pa.RecordBatch:
    """Return the rows as change files of a table with these columns hold them; missing columns are null.

    `kinds`: the change type of all of them, or of each.
    """
    known = dict(zip(rows.schema.names, rows.columns, strict=True))
    found = {name: known.get(name, pa.nulls(rows.num_rows)) for name in columns}
    label = pa.repeat(kinds, rows.num_rows) if isinstance(kinds, str) else pa.array(kinds, pa.string())
    return pa.RecordBatch.from_pydict({**found, _KIND: label})
