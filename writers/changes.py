"""The feed of changes that a table may keep: rows that tell what a commit did. Pure.

Imports ports only. A reader of the feed takes a commit without change files by its added and removed
files, one with change files by these alone. Invariant: change files tell every row that the commit
adds, alters or takes out, freshly appended ones included; rows that were only carried over are not told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .tables import TableSpec

__all__ = ["DELETED", "FOLDER", "INSERTED", "UPDATED_FROM", "UPDATED_TO", "Kinds", "change_spec", "keeps_feed", "told"]

FOLDER = "_change_data/"
_KIND = "_change_type"
# Words of the protocol.
INSERTED, UPDATED_FROM, UPDATED_TO, DELETED = "insert", "update_preimage", "update_postimage", "delete"

Kinds = npt.NDArray[np.str_]


def keeps_feed(configuration: Mapping[str, str | None]) -> bool:
    return (configuration.get("delta.enableChangeDataFeed") or "").lower() == "true"


def change_spec(spec: TableSpec) -> TableSpec:
    """The shape of change files: the columns of the table, and what became of the row."""
    wider = spec.widened([pa.field(_KIND, pa.string(), nullable=False)])
    return replace(wider, dictionary_columns=(*spec.dictionary_columns, _KIND), stats_columns=())


def told(rows: pa.RecordBatch, kinds: str | Kinds, columns: Sequence[str]) -> pa.RecordBatch:
    """Rows as change files of a table with these columns hold them; what they lack is null.

    `kinds`: what became of all of them, or of each.
    """
    known = dict(zip(rows.schema.names, rows.columns, strict=True))
    found = {name: known.get(name, pa.nulls(rows.num_rows)) for name in columns}
    label = pa.repeat(kinds, rows.num_rows) if isinstance(kinds, str) else pa.array(kinds, pa.string())
    return pa.RecordBatch.from_pydict({**found, _KIND: label})
