"""Compacts, clusters and vacuums a table whose commits the storage decides, through delta-rs.

Errors are raised as they come. Invariant: the commits say `dataChange: false`, and no app transaction is changed.
"""

from __future__ import annotations

import math

import pyarrow as pa
from deltalake import ColumnProperties, DeltaTable, PostCommitHookProperties, WriterProperties

from ..maintenance import MaintenanceOptions, MaintenanceReport
from ..tables import TableSpec

# Cleaning up the log may remove versions that are still needed; that is for maintenance to decide.
HOOKS = PostCommitHookProperties(cleanup_expired_logs=False)


def optimize_delta(table: DeltaTable, spec: TableSpec, options: MaintenanceOptions) -> MaintenanceReport:
    """Do what the options say; the handle then stands at the newest version."""
    before = len(table.file_uris())
    written = _written(table)
    for where in _filters(spec, options):
        if options.cluster_by:
            table.optimize.z_order(
                options.cluster_by, where, writer_properties=written, post_commithook_properties=HOOKS
            )
        else:
            table.optimize.compact(where, writer_properties=written, post_commithook_properties=HOOKS)
    removed = (
        [] if options.vacuum_after is None else _vacuum(table, options.vacuum_after.total_seconds(), options.orphans)
    )
    return MaintenanceReport(spec.name, before, len(table.file_uris()), len(removed))


def _written(table: DeltaTable) -> WriterProperties:
    """The defaults of delta-rs, but no statistics of floats: its bounds leave NaN out (log/statistics.py)."""
    schema = pa.schema(table.schema().to_arrow())
    silent = ColumnProperties(statistics_enabled="NONE")
    floats = {field.name: silent for field in schema if pa.types.is_floating(field.type)}
    return WriterProperties(compression="ZSTD", compression_level=4, column_properties=floats)


def _filters(spec: TableSpec, options: MaintenanceOptions) -> list[list[tuple[str, str, str]] | None]:
    """One filter for each named partition: a conflict then costs the work on one partition."""
    if options.partitions is None or not spec.partition_by:
        return [None]
    return [[(spec.partition_by[0], "=", value)] for value in sorted(options.partitions)]


def _vacuum(table: DeltaTable, after_secs: float, orphans: bool) -> list[str]:
    removed: list[str] = table.vacuum(
        retention_hours=math.ceil(after_secs / 3600),
        dry_run=False,
        # The configuration has refused dangerous values; delta-rs would refuse everything below a week.
        enforce_retention_duration=False,
        full=orphans,
        post_commithook_properties=HOOKS,
    )
    return removed
