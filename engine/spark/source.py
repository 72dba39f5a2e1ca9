"""The Python Data Source `pi_web_api`: Spark reads a PI System into tables that Spark owns, as a batch or a stream.

    spark.dataSource.register(PiWebApiDataSource)
    spark.read.format("pi_web_api").option("config", "plant.yaml").load()

Spark makes these objects anew in processes of its own: for the plan, for the offsets of a stream, for each task. What
it sends between them holds references in place of credentials. Needs PySpark 4.0 or newer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.datasource import DataSource, DataSourceReader, DataSourceStreamReader, InputPartition

from config import Config, put_local_references
from config.errors import ConfigurationError, ExtractError
from writers import PI_TIMESERIES
from writers.tables import TIMESTAMP

from ..clock import monotonic
from ..datasets.tags import Inventory, ask_time, selected_tags
from ..model import Micros
from ..piweb.points import TAGS_SCHEMA
from ..plan.shards import Shard
from ..run.connect import connect
from .micro_batches import Offset, TagWindow, next_end, secs_to_next, shares, tags_after, windows_between, windows_of
from .source_options import SourceOptions, parse_options
from .source_state import LeftOut, SourceState
from .window_reader import read_windows

try:  # Spark 4.2 and newer; older ones read up to the latest offset once, too
    from pyspark.sql.streaming.datasource import SupportsTriggerAvailableNow as _AvailableNow
except ImportError:
    _AvailableNow = object

CHANGE_TYPE, SEQUENCE_BY = "_change_type", "_sequence"
_CHANGES = (
    pa.field(CHANGE_TYPE, pa.string(), metadata={"comment": "insert: read for the first time; upsert: read again"}),
    pa.field(SEQUENCE_BY, TIMESTAMP, metadata={"comment": "End of the micro-batch, UTC: of two rows the later counts"}),
)
_SPARK_TYPES = {
    pa.string(): "STRING",
    TIMESTAMP: "TIMESTAMP",
    pa.int32(): "INT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
}
_log = logging.getLogger("osipi.spark")


class PiWebApiDataSource(DataSource):  # type: ignore[misc]  # PySpark is no dependency of ours
    """The data source `pi_web_api`."""

    @classmethod
    def name(cls) -> str:
        return "pi_web_api"

    def schema(self) -> str:
        with _for_people():
            return ddl_of(schema_of(parse_options(self.options)))

    def reader(self, schema: Any) -> DataSourceReader:  # noqa: ARG002 - Spark's signature
        with _for_people():
            return _BatchReader(parse_options(self.options))

    def streamReader(self, schema: Any) -> DataSourceStreamReader:  # noqa: ARG002, N802 - Spark's signature
        with _for_people():
            options = parse_options(self.options)
            options.check_streamable()
            return _StreamReader(options)


def schema_of(options: SourceOptions) -> pa.Schema:
    """The columns that the options ask for: those of the table of the dataset, and two more with changeRows."""
    if options.dataset == "tags":
        return TAGS_SCHEMA
    return pa.schema([*PI_TIMESERIES.schema, *(_CHANGES if options.change_rows else ())])


def ddl_of(schema: pa.Schema) -> str:
    """A schema as Spark reads it, with the comments of its columns."""

    def comment(field: pa.Field) -> str:
        text: bytes = (field.metadata or {}).get(b"comment", b"")
        return text.decode().replace("\\", "\\\\").replace("'", "\\'")

    return ", ".join(f"`{field.name}` {_SPARK_TYPES[field.type]} COMMENT '{comment(field)}'" for field in schema)


@dataclass
class _Share(InputPartition):  # type: ignore[misc]
    """What one task reads: its windows, its share of the request rate, and where its micro-batch ends."""

    windows: tuple[TagWindow, ...]
    share: Shard
    until: Micros


class _Reader:
    """What batch and stream have in common. Is sent to the tasks."""

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._state = SourceState(options.state_location, options.config)

    def read(self, partition: _Share | None) -> Iterator[pa.RecordBatch]:
        """In a task: the rows of its windows."""
        if partition is None:  # Spark asks so where there is no partition
            return
        leave_out = None if self._options.fail_on_tag_error else self._state.leave_out
        for rows in read_windows(self._options.config, partition.windows, partition.share, leave_out):
            yield with_changes(rows, partition.windows, partition.until) if self._options.change_rows else rows

    def _dealt(self, windows: Sequence[TagWindow], until: Micros) -> list[InputPartition]:
        dealt = shares(windows, self._options.partitions)
        return [_Share(share, Shard(number, len(dealt)), until) for number, share in enumerate(dealt)]

    def _found(self, inventory: Inventory) -> Inventory:
        """The same inventory, with a warning of names that lead to no tag."""
        for warning in inventory.warnings:
            _log.warning("%s", warning)
        unresolved = inventory.require_tags().unresolved
        if unresolved and self._options.fail_on_tag_error:
            some = "; ".join(f"{name}: {why}" for name, why in unresolved[:5])
            raise ConfigurationError(
                f"{len(unresolved)} names of the configuration lead to no tag: {some}",
                hint="Correct them, or set failOnTagError to false and a stateLocation, where they are written down.",
            )
        if unresolved:
            self._state.leave_out([LeftOut(name, why) for name, why in unresolved])
        return inventory


class _BatchReader(_Reader, DataSourceReader):  # type: ignore[misc]
    """A window of the chosen tags, read once."""

    def partitions(self) -> list[InputPartition]:
        if self._options.dataset == "tags":
            return [InputPartition(None)]
        with _for_people():
            inventory = self._found(asyncio.run(_inventory(self._options.config)))
            windows = windows_of(self._options.config.extraction, inventory.tags, inventory.server_now)
            return self._dealt(windows, max((each.end for each in windows), default=0))

    def read(self, partition: InputPartition | None) -> Iterator[pa.RecordBatch]:
        if self._options.dataset != "tags":
            yield from super().read(partition if isinstance(partition, _Share) else None)
            return
        with _for_people():
            rows = self._found(asyncio.run(_inventory(self._options.config))).rows
            yield from rows.cast(TAGS_SCHEMA).to_batches()


class _StreamReader(_Reader, DataSourceStreamReader, _AvailableNow):  # type: ignore[misc]
    """Micro-batches, each from where the one before ended to the server's present, less the lag.

    `_known` is the offset that Spark named last: the next one follows it.
    """

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(options)
        self._known = Offset()
        self._ask_at = 0.0
        self._listed: Inventory | None = None
        self._listed_at = 0.0
        self._ends = False
        self._last: Offset | None = None

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        return Offset().as_json()

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802 - Spark's name
        """Spark 4.2 and newer: the first offset that we give from now on is the last one."""
        self._ends = True

    def latestOffset(self, start: Mapping[str, Any] | None = None, limit: Any = None) -> dict[str, Any]:  # noqa: ARG002, N802
        """The offset to read up to now. Spark 4.0 and 4.1 do not say where the micro-batch starts: `partitions` has."""
        with _for_people():
            if start is not None:
                self._known = Offset.of_json(start)
            if self._ends:
                self._last = self._last or asyncio.run(self._next())
                return self._last.as_json()
            return asyncio.run(self._next()).as_json()

    async def _next(self) -> Offset:
        """The offset after the known one; that itself, while it is too early for one."""
        known, extraction = self._known, self._options.config.extraction
        if known.end is not None and monotonic() < self._ask_at:
            return known
        inventory, now = await self._listed_now()
        end = next_end(extraction, known, now)
        self._ask_at = monotonic() + secs_to_next(extraction, end or known.end or now, now)
        if end is None:
            return known
        before = self._state.tags_of(known.mark)
        tags = tags_after(before, inventory.tags, known.end, complete=inventory.complete)
        return Offset(now, end, self._state.keep_tags(tags))

    def partitions(self, start: Mapping[str, Any], end: Mapping[str, Any]) -> list[InputPartition]:
        """The windows between two offsets. After a start Spark asks with the last offset as both, which says where it is."""
        with _for_people():
            begin, self._known = Offset.of_json(start), Offset.of_json(end)
            if begin == self._known:
                return []
            before, after = self._state.tags_of(begin.mark), self._state.tags_of(self._known.mark)
            windows = windows_between(
                self._options.config.extraction,
                begin,
                self._known,
                before,
                after,
                compares=self._options.change_rows,
            )
            return self._dealt(windows, self._known.end or 0)

    async def _listed_now(self) -> tuple[Inventory, Micros]:
        """The tags, looked for once each discovery_interval, and the server's clock."""
        extraction = self._options.config.extraction
        fresh_until = self._listed_at + extraction.discovery_interval.total_seconds()
        if self._listed is not None and monotonic() < fresh_until:
            async with connect(put_local_references(self._options.config)) as source:
                return self._listed, await ask_time(source.client, extraction)
        self._listed = self._found(await _inventory(self._options.config))
        self._listed_at = monotonic()
        return self._listed, self._listed.server_now


async def _inventory(config: Config) -> Inventory:
    async with connect(put_local_references(config)) as source:
        return await selected_tags(source.client, source.url, config)


def with_changes(rows: pa.RecordBatch, windows: Sequence[TagWindow], until: Micros) -> pa.RecordBatch:
    """The rows with the two columns of changes. What lies before a window's `new_from` was read before."""
    owners = pa.array([each.tag.web_id for each in windows], pa.string())
    starts = pa.array([each.new_from for each in windows], pa.int64()).cast(TIMESTAMP)
    new_from = starts.take(pc.index_in(rows["tag_webid"], value_set=owners))
    kinds = pc.if_else(pc.less(rows["timestamp"], new_from), "upsert", "insert")
    sequence = pa.repeat(pa.scalar(until, pa.int64()).cast(TIMESTAMP), rows.num_rows)
    return pa.RecordBatch.from_arrays(
        [*rows.columns, kinds, sequence], schema=pa.schema([*rows.schema, *_CHANGES]).remove_metadata()
    )


@contextmanager
def _for_people() -> Iterator[None]:
    """Spark shows the text of an error alone: it holds the hint, too."""
    try:
        yield
    except ExtractError as error:
        refused = error
    else:
        return
    raise refused.with_hint()
