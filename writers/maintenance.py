"""Looking after tables: fewer and larger files, clustered; files that nothing refers to any more removed.

Imports nothing of the engine. Works on tables whose commits the store decides. Invariant: no row changes,
the app transactions stay in the log, and no file younger than the retention is removed: a run at
work, or one that died between its two commits, still needs it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

from config.errors import ConfigurationError

from .commit import CommitTable
from .tables import TableSpec

__all__ = ["Maintainable", "Upkeep", "UpkeepReport", "check_columns", "look_after"]


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What shall be done. `partitions`: these dates alone, None for all; `vacuum_after`: None for not at all."""

    cluster_by: tuple[str, ...] = ()
    partitions: frozenset[str] | None = None
    vacuum_after: timedelta | None = None
    orphans: bool = False  # whether vacuum also removes files that no version of the table ever had


@dataclass(frozen=True, slots=True)
class UpkeepReport:
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

    def look_after(self, wish: Upkeep) -> UpkeepReport:
        """Do it, on a fresh snapshot. Raises `CommitConflictError` (somebody else is at it), `StorageError`."""


def look_after(table: CommitTable, wish: Upkeep) -> UpkeepReport:
    """Look after a table, if it is there and ours to look after."""
    name = table.spec.name
    if not isinstance(table, Maintainable):
        return UpkeepReport(
            name, skipped="the catalog looks after it (predictive optimization, or OPTIMIZE and VACUUM)"
        )
    if not table.exists():
        return UpkeepReport(name, skipped="it does not exist yet")
    return table.look_after(wish)


def check_columns(spec: TableSpec, cluster_by: Collection[str]) -> None:
    """Raise `ConfigurationError` for columns that a table cannot be clustered by."""
    usable = [name for name in spec.schema.names if name not in spec.partition_by]
    wrong = [name for name in cluster_by if name not in usable]
    if wrong:
        raise ConfigurationError(
            f"$.performance.zorder_columns: {spec.name} cannot be clustered by {', '.join(wrong)}",
            hint=f"Choose among {', '.join(usable)}.",
        )
