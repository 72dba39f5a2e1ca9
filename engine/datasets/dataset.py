"""A dataset: one kind of data that a run reads from the source and lands in tables.

A dataset is a value that says everything a run needs to know of it: the tables it lands in, which other datasets it
needs first, and how it is asked for and decoded. `registry` lists them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Protocol, TypeVar

from config import Config, ExtractionConfig
from writers import KeyedLanding, Lakehouse, LandingRun, Mirror, SyncMirror, TableSpec, sync_mirror

from ..flow.pipeline import Source
from ..flow.stop import Stop
from ..model import Ask, Micros, Tag
from ..net.client import PIClient
from ..plan.run_scope import RunScope, shard_of
from ..plan.shards import Shard
from .decoding import Decoding
from .request_mode import Mode
from .tags import Inventory

R = TypeVar("R")


class Kind(Enum):
    """How a dataset is kept."""

    SERIES = "windowed series"  # rows are appended window by window; each owner has a watermark
    KEYED = "keyed records"  # rows are inserted, updated and deleted by key
    MIRROR = "mirror"  # the table shows what the source shows; only differences are written


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What every dataset says. `name` is the one in `extraction.datasets`, reports, metrics and watermarks.

    `needs` names datasets that a run must have brought up to date first; choosing this one chooses them, too.
    """

    name: str
    kind: Kind
    tables: tuple[TableSpec, ...]
    needs: tuple[str, ...] = ()
    # Whether a configuration wants it; and the key that says so.
    is_wanted: Callable[[Config], bool] = lambda _config: True
    wanted_by: str = ""

    @property
    def table(self) -> TableSpec:
        """The main table."""
        return self.tables[0]


class SeriesSource(Source, Protocol):
    """A source of windowed series that can be read by the pipeline."""

    @property
    def mode(self) -> Mode: ...

    def waited_secs(self) -> float:
        """How long requests have waited for their turn so far, all together."""


class OpenSeries(Protocol):
    """Opens the source of a windowed series, and finds out how the server is to be asked.

    `wanted` is `extraction.request_mode`; `sample` a little of what will be asked; `decoding` is how answers are decoded.
    """

    async def __call__(
        self,
        client: PIClient,
        base_url: str,
        wanted: str,
        decoding: Decoding,
        *,
        now: Callable[[], Micros],
        sample: Sequence[Ask] = (),
    ) -> SeriesSource: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesDataset(Dataset):
    """A windowed series: planned in windows, read by the pipeline, landed with watermarks.

    `series_of` gives the series that are read of the run's tags, in place of the tags; the tags themselves by default.
    """

    kind: Kind = Kind.SERIES
    open: OpenSeries
    series_of: Callable[[Config, Inventory], Inventory] = lambda _config, inventory: inventory

    @staticmethod
    def replaced(points: Mapping[str, str], tags: Sequence[Tag]) -> Mapping[str, str]:
        """Which series continue others, as `points` continue others: by WebID, or by id of the series."""
        return {
            tag.web_id: tag.web_id.replace(tag.sampling.web_id, points[tag.sampling.web_id], 1)
            for tag in tags
            if tag.sampling is not None and tag.sampling.web_id in points
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What bringing a dataset up to date has changed: rows that are new, that have changed, that are gone.

    `unread` names parts that could not be read, with the reason; their rows stay as they were. `warnings` are for
    the report. A dataset with more to tell those that need it gives a subclass.
    """

    added: int = 0
    changed: int = 0
    missing: int = 0
    unread: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncContext:
    """What a run gives a dataset to bring itself up to date.

    `writer` is the one thread that touches tables; `results` are those of the datasets that came before. `full`:
    everything is to be compared. `scope`: what is read of a dataset with a history. `on_progress` gets what has been
    read, and the share of all that is done, if it is known. `sync_mirror` writes what differs of a mirror, or only
    compares. `on_undecided` gets rows of a mirror, by the first column of the key, of which the source neither shows nor
    denies that they exist.
    """

    client: PIClient
    base_url: str
    mode: Mode
    config: Config
    run_id: str
    lakehouse: Lakehouse
    shard: Shard
    inventory: Inventory
    writer: Executor
    stop: Stop
    full: bool = False
    scope: RunScope = RunScope.ALL
    on_progress: Callable[[str, float | None], None] = lambda _text, _share: None
    on_step: Callable[[str], None] = lambda _step: None
    sync_mirror: SyncMirror = sync_mirror
    on_undecided: Callable[[Mirror, Collection[str]], None] = lambda _mirror, _keys: None
    results: Mapping[str, SyncResult] = field(default_factory=dict)

    @property
    def extraction(self) -> ExtractionConfig:
        return self.config.extraction

    def keyed_landing(self, name: str, table: TableSpec) -> KeyedLanding:
        """Where keyed records of the dataset of this name are committed, with the watermarks of their sources."""
        run = LandingRun(
            pipeline=self.config.pipeline,
            dataset=name,
            shard=shard_of(self.scope, str(self.shard)),
            run_id=self.run_id,
            on_step=self.on_step,
        )
        return KeyedLanding(self.lakehouse, table, run)

    async def blocking(self, call: Callable[[], R]) -> R:
        """Call something that touches tables."""
        return await asyncio.get_running_loop().run_in_executor(self.writer, call)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncedDataset(Dataset):
    """Keyed records or a mirror: `sync` reads what the source shows and writes what differs.

    `sync` gives None where there was nothing to do. `beside_values`: values are read meanwhile, and trouble is a
    warning; else values wait for it, and trouble ends the run. `must_be_whole`: a part that is unread makes the run
    incomplete.
    """

    kind: Kind = Kind.MIRROR
    sync: Callable[[SyncContext], Awaitable[SyncResult | None]]
    beside_values: bool = False
    must_be_whole: bool = False
    # A backfill reads what comes before what is done, under a lease of its own.
    has_history: bool = False
    # How often a run that follows does it; without one, as often as it looks for tags.
    interval_of: Callable[[Config], timedelta] | None = None
