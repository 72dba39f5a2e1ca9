"""Where values go: names of tables, the store, and how large the portions are. Data only."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, ByteSize, Field

from .fields import Bytes, Count, Location, ObjectName, OptionText, PositiveDuration, Properties, Section, TextList
from .problems import ExpectedError

__all__ = ["Performance", "Storage", "TableProperties", "Tables", "UnityCatalog"]


def _a_day_at_least(value: timedelta) -> timedelta:
    if value < timedelta(days=1):
        raise ExpectedError("a duration of at least 1d: whoever reads or writes now may still need the files")
    return value


Retention = Annotated[PositiveDuration, AfterValidator(_a_day_at_least)]


class Tables(Section):
    """Names of the tables, without catalog and schema."""

    timeseries: ObjectName = "pi_timeseries"
    """Recorded events."""
    tags: ObjectName = "pi_tags"
    """PI points and their attributes."""
    digital_states: ObjectName = "pi_digital_states"
    """Digital state sets."""
    asset_hierarchy: ObjectName = "pi_asset_hierarchy"
    """Elements of the asset framework."""
    asset_attributes: ObjectName = "pi_asset_attributes"
    """Attributes of elements."""
    event_frames: ObjectName = "pi_event_frames"
    """Event frames."""
    event_frame_attributes: ObjectName = "pi_event_frame_attributes"
    """Attribute values of event frames."""
    watermarks: ObjectName = "pi_watermarks"
    """How far each tag is read, and the holes in it; lives in the checkpoint schema."""
    metrics: ObjectName = "pi_connector_metrics"
    """One row a run; lives in the monitoring schema."""
    quarantine: ObjectName = "pi_quarantine"
    """Pieces of answers that could not be read; lives in the monitoring schema."""


class TableProperties(Section):
    """Delta properties of the tables that are created, such as delta.enableChangeDataFeed; those that are there stay."""

    all: Properties = Field(default_factory=dict)
    """Of every table; a table's own go before them."""
    timeseries: Properties = Field(default_factory=dict)
    """Of recorded events."""
    tags: Properties = Field(default_factory=dict)
    """Of PI points."""
    digital_states: Properties = Field(default_factory=dict)
    """Of digital state sets."""
    asset_hierarchy: Properties = Field(default_factory=dict)
    """Of elements."""
    asset_attributes: Properties = Field(default_factory=dict)
    """Of attributes of elements."""
    event_frames: Properties = Field(default_factory=dict)
    """Of event frames."""
    event_frame_attributes: Properties = Field(default_factory=dict)
    """Of attribute values of event frames."""
    watermarks: Properties = Field(default_factory=dict)
    """Of the watermarks."""
    metrics: Properties = Field(default_factory=dict)
    """Of the run metrics."""
    quarantine: Properties = Field(default_factory=dict)
    """Of the quarantine."""


class UnityCatalog(Section):
    """Catalog, schemas and tables to write to."""

    catalog: ObjectName = "main"
    """Catalog of all tables."""
    schema_name: ObjectName = Field(default="bronze", alias="schema")
    """Schema of the data tables."""
    tables: Tables = Field(default_factory=Tables)
    """Names of the tables."""
    table_properties: TableProperties = Field(default_factory=TableProperties)
    """Delta properties of the tables, in a catalog or at a path, that are created."""
    checkpoint_schema: ObjectName = "checkpoints"
    """Schema of the watermarks."""
    monitoring_schema: ObjectName = "monitoring"
    """Schema of run metrics and quarantine."""
    table_type: Literal["managed", "external"] | None = None
    """Kind of table to create in the catalog."""
    location: Location | None = None
    """Where external tables are created."""


class Storage(Section):
    """Tables at a path, without a catalog."""

    root: Location | None = None
    """Folder or URL (s3://, abfss://, gs://, /Volumes/..); tables live at <root>/<catalog>/<schema>/<table>."""
    options: dict[str, OptionText] = Field(default_factory=dict)
    """Options of the object store, such as AWS_ENDPOINT_URL; shown masked."""


class Performance(Section):
    """Sizes of buffers and commits."""

    fetchers: Count | None = None
    """Requests prepared and decoded at one time. Left out: as many as may be in flight."""
    buffer_bytes: Bytes = ByteSize(256 * 1024 * 1024)
    """Decoded values that may wait for the writer, in bytes or as 256MiB; beyond it reading waits."""
    values_per_answer: Count = 25_000
    """Events one request is planned to bring."""
    commit_rows: Count = 1_000_000
    """Rows after which a commit is made."""
    commit_seconds: PositiveDuration = timedelta(seconds=60)
    """Age of the oldest uncommitted row after which a commit is made."""
    backfill_commit_rows: Count = 8_000_000
    """The same for history that is read with mode full: fewer, larger files."""
    backfill_commit_seconds: PositiveDuration = timedelta(minutes=5)
    """The same for history that is read with mode full; what is not committed is read again after a kill."""
    optimize_after_write: bool = False
    """Compact the dates a run has written to at its end; not with --follow. `maintain` compacts everything."""
    zorder_columns: TextList = ()
    """Columns to cluster by when compacting."""
    vacuum_after: Retention = timedelta(days=7)
    """`maintain` removes files that left a table this long ago; at least 1d. Longer runs need longer."""
    spark_partitions: Count | None = None
    """Accepted for configurations written for Spark."""
