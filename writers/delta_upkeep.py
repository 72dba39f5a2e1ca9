"""Looking after a table whose commits the store decides, through delta-rs. Errors are raised as they come.

Imports nothing of the engine. Invariant: commits of ours that say `dataChange: false`; no app transaction
is touched, so whoever committed before goes on counting from there.
"""

from __future__ import annotations

import math

import pyarrow as pa
from deltalake import ColumnProperties, DeltaTable, PostCommitHookProperties, WriterProperties

from .maintenance import Upkeep, UpkeepReport
from .tables import TableSpec

__all__ = ["HOOKS", "look_after_delta"]

# Cleaning up the log may take versions that are still wanted; that is for maintenance to decide.
HOOKS = PostCommitHookProperties(cleanup_expired_logs=False)


def look_after_delta(table: DeltaTable, spec: TableSpec, wish: Upkeep) -> UpkeepReport:
    """Do what is wished; the handle stands at the newest version then."""
    before = len(table.file_uris())
    written = _written(table)
    for where in _filters(spec, wish):
        if wish.cluster_by:
            table.optimize.z_order(wish.cluster_by, where, writer_properties=written, post_commithook_properties=HOOKS)
        else:
            table.optimize.compact(where, writer_properties=written, post_commithook_properties=HOOKS)
    removed = [] if wish.vacuum_after is None else _vacuum(table, wish.vacuum_after.total_seconds(), wish.orphans)
    return UpkeepReport(spec.name, before, len(table.file_uris()), len(removed))


def _written(table: DeltaTable) -> WriterProperties:
    """As delta-rs does without being asked, but for floats: its bounds of them leave NaN out (statistics.py)."""
    schema = pa.schema(table.schema().to_arrow())
    silent = ColumnProperties(statistics_enabled="NONE")
    floats = {field.name: silent for field in schema if pa.types.is_floating(field.type)}
    return WriterProperties(compression="ZSTD", compression_level=4, column_properties=floats)


def _filters(spec: TableSpec, wish: Upkeep) -> list[list[tuple[str, str, str]] | None]:
    """One partition at a time, where some are named: a conflict costs the work on one."""
    if wish.partitions is None or not spec.partition_by:
        return [None]
    return [[(spec.partition_by[0], "=", value)] for value in sorted(wish.partitions)]


def _vacuum(table: DeltaTable, after_secs: float, orphans: bool) -> list[str]:
    removed: list[str] = table.vacuum(
        retention_hours=math.ceil(after_secs / 3600),
        dry_run=False,
        # The configuration decides, and has refused what is dangerous; delta-rs would refuse all below a week.
        enforce_retention_duration=False,
        full=orphans,
        post_commithook_properties=HOOKS,
    )
    return removed
