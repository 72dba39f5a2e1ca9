"""Maintains tables: puts small files together, clusters them, and removes files that nothing refers to any more.

Works on tables whose commits the storage decides. Invariant: no row changes, the app transactions stay in the log, and
no file younger than the retention is removed. A run in progress, or one that died between its two commits, still needs it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

from config.errors import ConfigurationError

from .ports import CommitTable
from .tables import TableSpec

LEFT_TO_CATALOG = "the catalog looks after it (predictive optimization, or OPTIMIZE and VACUUM)"
# The open-source server lets no client compact a managed table (OPTIMIZE is refused), and does not do it either.
NOT_COMPACTED = (
    "managed tables keep their files: this server compacts none, and lets no client do it "
    "(tables with unity_catalog.table_type: external are compacted)"
)


@dataclass(frozen=True, slots=True)
class MaintenanceOptions:
    """What shall be done. `partitions`: these dates alone, None for all; `vacuum_after`: None for not at all."""

    cluster_by: tuple[str, ...] = ()
    partitions: frozenset[str] | None = None
    vacuum_after: timedelta | None = None
    orphans: bool = False  # whether vacuum also removes files that no version of the table ever had


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What was done to one table; `skipped` says why nothing was."""

    table: str
    files_before: int = 0
    files_after: int = 0
    files_vacuumed: int = 0
    skipped: str = ""

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.table}: {self.skipped}"
        files = f"{self.files_before:,} file{'' if self.files_before == 1 else 's'}, now {self.files_after:,}"
        return f"{self.table}: {files}" + (f"; {self.files_vacuumed:,} old ones removed" if self.files_vacuumed else "")


@runtime_checkable
class Maintainable(Protocol):
    """A table that is ours to look after. One that lacks this is looked after by its catalog."""

    def optimize_table(self, options: MaintenanceOptions) -> MaintenanceReport:
        """Do it, on a fresh snapshot. Raises `CommitConflictError` (another run is at it), `StorageError`."""


def optimize_table(table: CommitTable, options: MaintenanceOptions) -> MaintenanceReport:
    """Look after a table, if it is there and ours to look after."""
    name = table.spec.name
    if not isinstance(table, Maintainable):
        return MaintenanceReport(name, skipped=LEFT_TO_CATALOG)
    if not table.exists():
        return MaintenanceReport(name, skipped="it does not exist yet")
    return table.optimize_table(options)


def check_columns(spec: TableSpec, cluster_by: Collection[str]) -> None:
    """Raise `ConfigurationError` for columns that a table cannot be clustered by."""
    usable = [name for name in spec.schema.names if name not in spec.partition_by]
    wrong = [name for name in cluster_by if name not in usable]
    if wrong:
        raise ConfigurationError(
            f"$.performance.zorder_columns: {spec.name} cannot be clustered by {', '.join(wrong)}",
            hint=f"Choose among {', '.join(usable)}.",
        )
