"""Carries out `maintain`: compacts, clusters and vacuums each table."""

from __future__ import annotations

from dataclasses import asdict

from config import Config
from config.errors import CommitConflictError
from writers import (
    PI_CONNECTOR_METRICS,
    PI_TIMESERIES,
    MaintenanceOptions,
    MaintenanceReport,
    check_columns,
    optimize_table,
)

from ...datasets.registry import DATASETS
from ...run.connect import lakehouse_of
from ..exit_status import CommandResult
from ..options import load_config
from ..terminal import print_json, stdout_console


def main(*, path: str | None, overrides: tuple[str, ...], json_wanted: bool) -> CommandResult:
    reports = _optimize_tables(load_config(path, overrides).config)
    if json_wanted:
        print_json({"tables": [asdict(report) for report in reports]})
    else:
        for report in reports:
            stdout_console().print(str(report), soft_wrap=True)
    return CommandResult()


def _optimize_tables(config: Config) -> list[MaintenanceReport]:
    performance, lakehouse = config.performance, lakehouse_of(config)
    check_columns(PI_TIMESERIES, performance.zorder_columns)
    reports = []
    for spec in (*DATASETS.tables, PI_CONNECTOR_METRICS):
        data = any(spec is one.table for one in DATASETS.series)
        cluster_by = tuple(name for name in performance.zorder_columns if name in spec.schema.names)
        # An orphan of the checkpoint table may be a watermark file that the data commit of a dead run names.
        options = MaintenanceOptions(cluster_by if data else (), vacuum_after=performance.vacuum_after, orphans=data)
        try:
            reports.append(optimize_table(lakehouse.table(spec), options))
        except CommitConflictError as error:
            reports.append(MaintenanceReport(spec.name, skipped=f"not this time: {error.message}"))
    return reports
