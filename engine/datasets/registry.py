"""The datasets there are. A new one is its own file, its table, and one line here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from graphlib import TopologicalSorter

from config import Config, InvalidConfigurationError
from config.problems import Problem, closest
from writers import PI_WATERMARKS, TableSpec

from .asset_framework import ASSETS
from .data_servers import DATA_SERVERS
from .dataset import Dataset, SeriesDataset, SyncedDataset
from .digital_states import DIGITAL_STATES
from .event_frames import EVENT_FRAMES
from .point_attributes import POINT_ATTRIBUTES
from .recorded_values import RECORDED
from .sampled import SAMPLED
from .tag_mirror import TAGS


def wrong_choice(found: str, expected: str, *, suggestion: str = "", hint: str = "") -> InvalidConfigurationError:
    """The error of a choice of datasets."""
    problem = Problem(("extraction", "datasets"), found, expected, suggestion)
    return InvalidConfigurationError("the configuration", [problem], hint=hint)


class Registry:
    """Datasets by name. Iterates them in an order in which each comes after those that it needs."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self._listed = tuple(datasets)
        self._by_name = {one.name: one for one in self._listed}
        if len(self._by_name) < len(self._listed):
            raise ValueError("two datasets of one name")
        order = TopologicalSorter({one.name: one.needs for one in self._listed}).static_order()
        self._order = tuple(map(self.__getitem__, order))

    def __getitem__(self, name: str) -> Dataset:
        try:
            return self._by_name[name]
        except KeyError:
            suggestion = closest(name, self.names)
            raise wrong_choice(repr(name), f"one of {', '.join(self.names)}", suggestion=suggestion) from None

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self._order)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """Every table that these datasets land in, and that of their watermarks."""
        return (*dict.fromkeys(table for one in self._listed for table in one.tables), PI_WATERMARKS)

    @property
    def series(self) -> tuple[SeriesDataset, ...]:
        return tuple(one for one in self if isinstance(one, SeriesDataset))

    @property
    def synced(self) -> tuple[SyncedDataset, ...]:
        return tuple(one for one in self if isinstance(one, SyncedDataset))

    def select(self, names: Collection[str]) -> Registry:
        """The datasets of these names, or of `("all",)`, and those that they need.

        Raises `ConfigurationError` for a name that is not known, and where nothing is chosen.
        """
        if "all" in names:
            return self
        if not names:
            raise wrong_choice("nothing", f"some of {', '.join(self.names)}; or all")
        chosen: set[str] = set()
        waiting = list(names)
        while waiting:
            one = self[waiting.pop()]
            if one.name not in chosen:
                chosen.add(one.name)
                waiting += one.needs
        return Registry(one for one in self._listed if one.name in chosen)

    def chosen_by(self, config: Config) -> Registry:
        """The datasets that a configuration chooses by name, and that its sections want.

        Raises `ConfigurationError` as `select` does, and for a dataset that is named and switched off.
        """
        names = config.extraction.datasets
        unwanted = {one.name for one in self._listed if not one.is_wanted(config)}
        if named := sorted(unwanted.intersection(names)):
            key = self[named[0]].wanted_by
            raise wrong_choice(named[0], f"{key} to be set beside it", hint=f"Set {key}, or leave {named[0]} out.")
        return Registry(one for one in self.select(names)._listed if one.name not in unwanted)  # noqa: SLF001 - its own class


DATASETS = Registry((RECORDED, SAMPLED, TAGS, DIGITAL_STATES, DATA_SERVERS, POINT_ATTRIBUTES, ASSETS, EVENT_FRAMES))
