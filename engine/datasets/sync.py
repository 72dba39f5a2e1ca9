"""Brings the mirrors and keyed records of a run up to date: some before values are read, the others beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from config.errors import ExtractError

from ..plan.run_scope import RunScope
from ..telemetry.events import DatasetProgress, DatasetSynced, Emit
from .dataset import SyncContext, SyncedDataset, SyncResult
from .registry import Registry
from .tags import Inventory


class DatasetSync:
    """The mirrors and keyed records that a run has chosen, and what it gives them."""

    def __init__(self, chosen: Registry, context: SyncContext, emit: Emit, *, follows: bool = False) -> None:
        has_values = bool(chosen.series)
        beside = [one for one in chosen.synced if one.beside_values and has_values]
        self._before = [one for one in chosen.synced if one not in beside]
        # Those that a run that follows does in an interval of their own.
        self.periodic = [one for one in beside if follows and one.interval_of is not None]
        self._beside = [one for one in beside if one not in self.periodic]
        self._behind = [one for one in chosen.synced if one.has_history]
        self._chosen = chosen
        self._context = context
        self._emit = emit

    async def before_values(self, inventory: Inventory) -> Mapping[str, SyncResult]:
        """Bring up to date what values wait for; all, where no values are read. Gives the results by name.

        Raises what source and destination raise.
        """
        results: dict[str, SyncResult] = {}
        for one in self._before:
            await self._sync(one, inventory, results)
        return results

    async def beside_values(self, inventory: Inventory, results: Mapping[str, SyncResult]) -> None:
        """Bring the others up to date, but not `periodic` ones. Raises nothing that source or destination raise."""
        results = dict(results)
        for one in self._beside:
            await self.beside(one, inventory, results)

    async def beside(self, one: SyncedDataset, inventory: Inventory, results: dict[str, SyncResult]) -> None:
        """Bring one up to date, beside values. Raises nothing that source or destination raise."""
        try:
            await self._sync(one, inventory, results)
        except ExtractError as error:
            self._emit(
                DatasetSynced(
                    one.name, self._landed(one), problem=str(error), failed=one.must_be_whole, goes_on=self._goes_on
                )
            )

    async def behind(self, inventory: Inventory) -> None:
        """Read what comes before what is done of datasets with a history. Raises nothing that source or destination raise."""
        for one in self._behind:
            await self.beside(one, inventory, {})

    async def _sync(self, one: SyncedDataset, inventory: Inventory, results: dict[str, SyncResult]) -> None:
        result = await one.sync(
            replace(
                self._context,
                inventory=inventory,
                results=results,
                on_progress=lambda text, share: self._emit(DatasetProgress(one.name, text, share)),
            )
        )
        if result is None:
            return
        results[one.name] = result
        self._emit(
            DatasetSynced(
                one.name,
                self._landed(one),
                added=result.added,
                changed=result.changed,
                missing=result.missing,
                unread=result.unread,
                failed=one.must_be_whole and bool(result.unread),
                goes_on=self._goes_on,
            )
        )

    @property
    def _goes_on(self) -> bool:
        """A backfill comes after the forward run."""
        return self._context.scope is RunScope.BACKFILL

    def _landed(self, one: SyncedDataset) -> str:
        """What a report calls that in which it has landed: its table, or itself where it has several or shares one."""
        shares = any(one.table in self._chosen[name].tables for name in one.needs)
        return one.name if shares or len(one.tables) > 1 else one.table.name
