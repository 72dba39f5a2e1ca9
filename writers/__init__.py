"""What lands: table schemas, Parquet files, commits, watermarks. May import `config`, never `engine`.

The way in is `open_lakehouse`; everything after that goes through the ports of `writers.commit`.
Invariant: rows and the watermarks that account for them become visible exactly once (`Landing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import deltalake

from config.errors import ConfigurationError

from .commit import CommitKey, CommitReceipt, CommitTable, Lakehouse, LastCommit, Lease, LiveFile, Stage, StagedFile
from .correction import CorrectionCounts, Replacement
from .digest import Digest, digests, row_hashes
from .handover import HandingOver
from .holes import Hole, HoleChange, Holes
from .journal import add_rows
from .landing import Landing
from .landing_batch import LandingBatch, LandingReceipt
from .maintenance import Upkeep, UpkeepReport, check_columns, look_after
from .marks import Marks
from .memory import MemoryLakehouse
from .metrics import add_run, newest_runs
from .mirror import SyncReceipt
from .rebuild import RebuildReport, rebuild_watermarks
from .repairing import Repairing
from .states import sets_seen_today, sync_states
from .tables import (
    DATASETS,
    PI_CONNECTOR_METRICS,
    PI_DIGITAL_STATES,
    PI_QUARANTINE,
    PI_TAGS,
    PI_TIMESERIES,
    PI_WATERMARKS,
    Names,
    TableSpec,
)
from .tag_owners import Held, TagOwners, refuse
from .tags import Replaced, missing_tags, newly_replaced, replaced_tags, sync_tags
from .watermark import NEVER, Move, Moves, Watermark
from .windows import window_digests

__all__ = [
    "DATASETS",
    "NEVER",
    "PI_CONNECTOR_METRICS",
    "PI_DIGITAL_STATES",
    "PI_QUARANTINE",
    "PI_TAGS",
    "PI_TIMESERIES",
    "PI_WATERMARKS",
    "CommitKey",
    "CommitReceipt",
    "CommitTable",
    "CorrectionCounts",
    "Digest",
    "HandingOver",
    "Held",
    "Hole",
    "HoleChange",
    "Holes",
    "Lakehouse",
    "Landing",
    "LandingBatch",
    "LandingReceipt",
    "LastCommit",
    "Lease",
    "LiveFile",
    "Marks",
    "MemoryLakehouse",
    "Move",
    "Moves",
    "Names",
    "RebuildReport",
    "Repairing",
    "Replaced",
    "Replacement",
    "Stage",
    "StagedFile",
    "SyncReceipt",
    "TableSpec",
    "TagOwners",
    "Upkeep",
    "UpkeepReport",
    "Watermark",
    "add_rows",
    "add_run",
    "check_columns",
    "digests",
    "look_after",
    "missing_tags",
    "newest_runs",
    "newly_replaced",
    "open_lakehouse",
    "rebuild_watermarks",
    "refuse",
    "replaced_tags",
    "row_hashes",
    "sets_seen_today",
    "sync_states",
    "sync_tags",
    "window_digests",
]

# Older ones accept app transactions and drop them silently: two runs would not notice each other.
_DELTALAKE_FLOOR = (1, 6)


def open_lakehouse(
    root: str | Path,
    *,
    names: Names | None = None,
    properties: Mapping[str, Mapping[str, str]] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Lakehouse:
    """Open tables at `<root>/<catalog>/<schema>/<table>`; touches nothing yet.

    `properties`: of tables that have to be created, by `TableSpec.name`.

    Raises `ConfigurationError` for a kind of storage or a version of deltalake that cannot be used.
    """
    version = tuple(int(part) for part in deltalake.__version__.split(".")[:2])
    if version < _DELTALAKE_FLOOR:
        raise ConfigurationError(
            f"deltalake {deltalake.__version__} is too old: it loses the marks that keep commits exactly once.",
            hint="Install deltalake 1.6 or newer in this environment (a job's own library wins over the runtime's).",
        )
    from .delta_lakehouse import DeltaLakehouse
    from .storage import Place

    return DeltaLakehouse(Place.parse(root, storage_options), names or Names(), properties or {})
