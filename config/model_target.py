"""The target: names of tables, the store, and the sizes of buffers and commits. Data only."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, ByteSize, Field

from .fields import (
    Bytes,
    Count,
    Location,
    ObjectName,
    OptionText,
    PositiveDuration,
    Properties,
    Section,
    TextList,
)
from .problems import ExpectedError


def _a_day_at_least(value: timedelta) -> timedelta:
    if value < timedelta(days=1):
        raise ExpectedError("a duration of at least 1d: runs and queries of now may still need the files")
    return value


Retention = Annotated[PositiveDuration, AfterValidator(_a_day_at_least)]


class TablesConfig(Section):
    """Names of the tables, without catalog and schema."""

    timeseries: ObjectName = "pi_timeseries"
    """Recorded events."""
    sampled: ObjectName = "pi_sampled"
    """Values on a fixed grid."""
    tags: ObjectName = "pi_tags"
    """PI points and their attributes."""
    digital_states: ObjectName = "pi_digital_states"
    """Digital state sets."""
    data_servers: ObjectName = "pi_data_servers"
    """Data servers that the PI Web API shows."""
    asset_hierarchy: ObjectName = "pi_asset_hierarchy"
    """Elements of the asset framework."""
    asset_attributes: ObjectName = "pi_asset_attributes"
    """Attributes of elements."""
    asset_references: ObjectName = "pi_asset_references"
    """Further parents of elements."""
    asset_templates: ObjectName = "pi_asset_templates"
    """Templates of elements and event frames."""
    asset_template_attributes: ObjectName = "pi_asset_template_attributes"
    """Attributes of templates."""
    enumeration_values: ObjectName = "pi_enumeration_values"
    """Values of enumeration sets."""
    asset_categories: ObjectName = "pi_asset_categories"
    """Categories of elements and attributes."""
    units_of_measure: ObjectName = "pi_units_of_measure"
    """Units of measure."""
    event_frames: ObjectName = "pi_event_frames"
    """Event frames."""
    event_frame_attributes: ObjectName = "pi_event_frame_attributes"
    """Attribute values of event frames."""
    event_frame_elements: ObjectName = "pi_event_frame_elements"
    """Elements that event frames refer to."""
    event_frame_annotations: ObjectName = "pi_event_frame_annotations"
    """Annotations of event frames."""
    watermarks: ObjectName = "pi_watermarks"
    """How far each tag is read, and the holes in it; lives in the checkpoint schema."""
    metrics: ObjectName = "pi_connector_metrics"
    """One row a run; lives in the monitoring schema."""
    quarantine: ObjectName = "pi_quarantine"
    """Pieces of answers that could not be read; lives in the monitoring schema."""


class TablePropertiesConfig(Section):
    """Delta properties of new tables, such as delta.enableChangeDataFeed. Those of existing tables stay as they are."""

    all: Properties = Field(default_factory=dict)
    """Of every table. The properties of a single table win over these."""
    timeseries: Properties = Field(default_factory=dict)
    """Of recorded events."""
    sampled: Properties = Field(default_factory=dict)
    """Of values on a fixed grid."""
    tags: Properties = Field(default_factory=dict)
    """Of PI points."""
    digital_states: Properties = Field(default_factory=dict)
    """Of digital state sets."""
    data_servers: Properties = Field(default_factory=dict)
    """Of pi_data_servers."""
    asset_hierarchy: Properties = Field(default_factory=dict)
    """Of elements."""
    asset_attributes: Properties = Field(default_factory=dict)
    """Of attributes of elements."""
    asset_references: Properties = Field(default_factory=dict)
    """Of further parents of elements."""
    asset_templates: Properties = Field(default_factory=dict)
    """Of templates."""
    asset_template_attributes: Properties = Field(default_factory=dict)
    """Of attributes of templates."""
    enumeration_values: Properties = Field(default_factory=dict)
    """Of values of enumeration sets."""
    asset_categories: Properties = Field(default_factory=dict)
    """Of categories."""
    units_of_measure: Properties = Field(default_factory=dict)
    """Of units of measure."""
    event_frames: Properties = Field(default_factory=dict)
    """Of event frames."""
    event_frame_attributes: Properties = Field(default_factory=dict)
    """Of attribute values of event frames."""
    event_frame_elements: Properties = Field(default_factory=dict)
    """Of elements that event frames refer to."""
    event_frame_annotations: Properties = Field(default_factory=dict)
    """Of annotations of event frames."""
    watermarks: Properties = Field(default_factory=dict)
    """Of the watermarks."""
    metrics: Properties = Field(default_factory=dict)
    """Of the run metrics."""
    quarantine: Properties = Field(default_factory=dict)
    """Of the quarantine."""


class UnityCatalogConfig(Section):
    """Catalog, schemas and tables to write to."""

    catalog: ObjectName = "main"
    """Catalog of all tables."""
    schema_name: ObjectName = Field(default="bronze", alias="schema")
    """Schema of the data tables."""
    tables: TablesConfig = Field(default_factory=TablesConfig)
    """Names of the tables."""
    table_properties: TablePropertiesConfig = Field(default_factory=TablePropertiesConfig)
    """Delta properties of the tables, in a catalog or at a path, that are created."""
    checkpoint_schema: ObjectName = "checkpoints"
    """Schema of the watermarks."""
    monitoring_schema: ObjectName = "monitoring"
    """Schema of run metrics and quarantine."""
    table_type: Literal["managed", "external"] | None = None
    """Kind of table to create in the catalog."""
    location: Location | None = None
    """Where external tables are created."""


class StorageConfig(Section):
    """Tables at a path, without a catalog."""

    root: Location | None = None
    """Folder or URL (s3://, abfss://, gs://, /Volumes/..); tables live at <root>/<catalog>/<schema>/<table>."""
    options: dict[str, OptionText] = Field(default_factory=dict)
    """Options of the object store, such as AWS_ENDPOINT_URL; shown masked."""
    fsync: bool = True
    """In a folder of this machine, force what a commit consists of to the disk before it counts as done."""


class PerformanceConfig(Section):
    """Sizes of buffers and commits."""

    decoder: Literal["auto", "python", "native"] = "auto"
    """What decodes answers: native is faster, and needs the package osipi-connector-native; auto takes it if it is there."""
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
    """Has no effect: values are read without Spark."""
