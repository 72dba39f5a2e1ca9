"""Everything that is written: table schemas, Parquet files, commits, watermarks.

Start with `open_lakehouse`; everything after that goes through the ports of `writers.ports`.
Invariant: rows and the watermarks that account for them are visible exactly once (`Landing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import deltalake

from config.errors import ConfigurationError

from .corrections.by_key import KeyedTable
from .corrections.correction import CorrectionCounts, Replacement
from .corrections.windows import window_digests
from .landing.append_rows import add_rows, add_run, newest_runs
from .landing.batch import LandingBatch, LandingReceipt
from .landing.handover import Handover
from .landing.keyed import KeyedBatch, KeyedLanding, KeyedReceipt
from .landing.landing import Landing
from .landing.landing_run import LandingRun
from .landing.rebuild import RebuildReport, clear_watermarks, rebuild_watermarks
from .landing.repair import RepairLanding
from .landing.tag_owners import Held, TagOwners, refuse
from .maintenance import MaintenanceOptions, MaintenanceReport, check_columns, optimize_table
from .mirrors.check import MirrorCheck, RowsFound, TableCheck
from .mirrors.data_servers import sync_data_servers
from .mirrors.digital_states import note_sets_read, sets_seen_today, sync_states
from .mirrors.mirror import Listing, Mirror, SyncMirror, SyncReceipt
from .mirrors.mirror import sync as sync_mirror
from .mirrors.seen import HeldRows, SeenRows
from .mirrors.tags import Replaced, missing_tags, newly_replaced, replaced_tags, sync_point_attributes, sync_tags
from .ports import (
    AccessChecked,
    Commit,
    CommitKey,
    CommitReceipt,
    CommitTable,
    Lakehouse,
    LastCommit,
    Lease,
    LiveFile,
    OpenTable,
    Stage,
    StagedFile,
    StateFile,
)
from .row_hash import Digest
from .tables import (
    PI_CONNECTOR_METRICS,
    PI_DATA_SERVERS,
    PI_DIGITAL_STATES,
    PI_QUARANTINE,
    PI_SAMPLED,
    PI_TAGS,
    PI_TIMESERIES,
    PI_WATERMARKS,
    Names,
    TableSpec,
)
from .watermarks.holes import Hole, HoleChange, Holes
from .watermarks.model import NEVER, Move, Moves, Watermark
from .watermarks.store import WatermarkStore

# Older versions accept app transactions and drop them silently: two runs would not notice each other.
_DELTALAKE_FLOOR = (1, 6)


def open_lakehouse(
    root: str | Path,
    *,
    names: Names | None = None,
    properties: Mapping[str, Mapping[str, str]] | None = None,
    storage_options: Mapping[str, str] | None = None,
    fsync: bool = False,
) -> Lakehouse:
    """Open the lakehouse whose tables are at `<root>/<catalog>/<schema>/<table>`; reads and writes nothing yet.

    `properties`: of tables that have to be created, by `TableSpec.name`. `fsync`: in a folder of this machine, a commit
    counts as done once its files and its entry in the log are on the disk.

    Raises `ConfigurationError` for a kind of storage or a version of deltalake that cannot be used.
    """
    version = tuple(int(part) for part in deltalake.__version__.split(".")[:2])
    if version < _DELTALAKE_FLOOR:
        raise ConfigurationError(
            f"deltalake {deltalake.__version__} is too old: it loses the marks that keep commits exactly once.",
            hint="Install deltalake 1.6 or newer in this environment (a job's own library wins over the runtime's).",
        )
    from .delta.lakehouse import DeltaLakehouse
    from .storage.location import TableLocation

    return DeltaLakehouse(TableLocation.parse(root, storage_options, fsync=fsync), names or Names(), properties or {})
