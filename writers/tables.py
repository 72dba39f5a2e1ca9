"""The tables that land: one Arrow schema, grain and comment each. No I/O.

Invariant: what is written here is what the SQL of a user meets. Timestamps are
`timestamp[us, UTC]`; strings may be dictionary-encoded in memory and are `string` in Delta.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
# Columns of mirrors and keyed records that are written here; everything else comes from the source. A table has one of
# the two that say when a row was written.
OWN = ("first_seen", "last_seen", "last_updated", "deleted_at")


@dataclass(frozen=True, slots=True)
class Grain:
    """What one row of a table stands for. Corrections, digests, windows, counts and rebuilds read it.

    A series has an `owner` (whose row it is), a `time`, and an `ordinal` where several rows may share an instant.
    A table without a time has only a `key`.
    """

    owner: str = ""
    time: str | None = None
    ordinal: str | None = None
    # Columns that hold what the source says. They are hashed in this order; digests are stored, so it may never change.
    truth: tuple[str, ...] = ()
    # Partition column that holds the UTC date of `time`.
    date: str | None = None
    # Columns that tell rows apart. Of a series: owner, time and ordinal.
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.key:
            named = (self.owner or None, self.time, self.ordinal)
            object.__setattr__(self, "key", tuple(name for name in named if name is not None))


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table: its default name, the schema role it lives under, shape, grain, partitions and comments."""

    name: str
    schema_role: str  # which configured schema: "schema", "checkpoint_schema" or "monitoring_schema"
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    grain: Grain = Grain()
    comment: str = ""
    # Columns whose minimum and maximum go into the file statistics that readers skip files by.
    stats_columns: tuple[str, ...] = ()
    # Columns few enough in distinct values that Parquet dictionary encoding pays.
    dictionary_columns: tuple[str, ...] = field(default=())
    # Columns that tables of earlier versions do not have. Added where that is possible, else done without.
    later_columns: tuple[str, ...] = ()
    # Delta properties that the user wants of the table when it is created.
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)

    def with_columns(self, fields: Iterable[pa.Field]) -> TableSpec:
        """The same table with the columns that others have added to it."""
        more = [f for f in fields if f.name not in self.schema.names]
        return replace(self, schema=pa.schema([*self.schema, *more])) if more else self

    def with_properties(self, properties: Mapping[str, Mapping[str, str]]) -> TableSpec:
        """The same table with the properties that the user wants of it, of those given for tables by name."""
        return replace(self, properties={**self.properties, **properties.get(self.name, {})})

    def without(self, names: Collection[str]) -> TableSpec:
        """The same table without some of its columns."""
        return replace(self, schema=pa.schema([f for f in self.schema if f.name not in names])) if names else self


@dataclass(frozen=True, slots=True)
class Names:
    """What the user calls things: catalog, the schema behind each role, and tables that are renamed."""

    catalog: str = "main"
    schema: str = "bronze"
    checkpoint_schema: str = "checkpoints"
    monitoring_schema: str = "monitoring"
    tables: Mapping[str, str] = field(default_factory=dict)  # TableSpec.name -> the configured name

    def parts(self, spec: TableSpec) -> tuple[str, str, str]:
        """Give (catalog, schema, table) of a spec."""
        schema: str = getattr(self, spec.schema_role)
        return self.catalog, schema, self.tables.get(spec.name, spec.name)


def column(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, metadata={"comment": comment})


def text(name: str, comment: str) -> pa.Field:
    return column(name, pa.string(), comment)


def flag(name: str, comment: str) -> pa.Field:
    return column(name, pa.bool_(), comment)


def instant(name: str, comment: str) -> pa.Field:
    return column(name, TIMESTAMP, comment)


_QUALITY = tuple(flag(name, "PI quality flag as sent") for name in ("good", "questionable", "substituted"))
_LANDED = (
    instant("ingestion_timestamp", "When this row was read from the source"),
    column("partition_date", pa.date32(), "UTC date of timestamp"),
)


PI_TIMESERIES = TableSpec(
    name="pi_timeseries",
    schema_role="schema",
    comment="One recorded event of a PI tag; key (tag_webid, timestamp, sequence).",
    partition_by=("partition_date",),
    grain=Grain(
        owner="tag_webid",
        time="timestamp",
        ordinal="sequence",
        truth=(
            "timestamp",
            "sequence",
            "value",
            "value_string",
            "state_code",
            "value_kind",
            "good",
            "questionable",
            "substituted",
            "annotated",
            "units",
        ),
        date="partition_date",
    ),
    stats_columns=("tag_webid", "timestamp", "sequence", "value"),
    dictionary_columns=("tag_webid", "tag_name", "value_string", "value_kind", "units"),
    schema=pa.schema(
        [
            text("tag_webid", "WebID of the PI point; joins pi_tags"),
            text("tag_name", "Name of the PI point when the event was read"),
            instant("timestamp", "When the event was recorded, UTC, truncated to microseconds"),
            column("sequence", pa.int32(), "Ordinal among the events of this tag in this microsecond, in server order"),
            column("value", pa.float64(), "The number, where the event is one"),
            text("value_string", "The text, state name or JSON of an event that is not a plain number"),
            column("state_code", pa.int32(), "Code of a digital or system state"),
            text("value_kind", "number, string, digital, system, boolean, timestamp, blob, array, null or error"),
            *_QUALITY,
            flag("annotated", "Whether the event carries an annotation, as sent"),
            text("units", "Engineering units of the event"),
            *_LANDED,
        ]
    ),
)

PI_SAMPLED = TableSpec(
    name="pi_sampled",
    schema_role="schema",
    comment="One value of a PI tag on a fixed grid, computed by the server; key (series_id, timestamp).",
    partition_by=("partition_date",),
    grain=Grain(
        owner="series_id",
        time="timestamp",
        truth=(
            "timestamp",
            "value",
            "value_string",
            "state_code",
            "value_kind",
            "good",
            "questionable",
            "substituted",
            "percent_good",
            "units",
        ),
        date="partition_date",
    ),
    stats_columns=("series_id", "timestamp", "tag_webid", "kind", "value"),
    dictionary_columns=("series_id", "tag_webid", "tag_name", "kind", "value_string", "value_kind", "units"),
    schema=pa.schema(
        [
            text("series_id", "tag_webid/interval in seconds/kind: what is read, and has a watermark"),
            text("tag_webid", "WebID of the PI point; joins pi_tags"),
            text("tag_name", "Name of the PI point when the value was read"),
            instant("timestamp", "Point of the grid, UTC; of a summary where its interval begins"),
            text("kind", "interpolated, average, minimum, maximum, total, count, ..."),
            column("interval_seconds", pa.int64(), "Distance of the points of the grid; how long a summary reaches"),
            column("value", pa.float64(), "The number, where the value is one"),
            text("value_string", "The text, state name or JSON of a value that is not a plain number"),
            column("state_code", pa.int32(), "Code of a digital or system state"),
            text("value_kind", "As in pi_timeseries"),
            *_QUALITY,
            column("percent_good", pa.float64(), "Of a time-weighted summary: share of its interval with good values"),
            text("units", "Engineering units, where the kind has those of the tag"),
            *_LANDED,
        ]
    ),
)

PI_TAGS = TableSpec(
    name="pi_tags",
    schema_role="schema",
    comment="One PI point as last seen; key tag_webid.",
    grain=Grain(owner="tag_webid"),
    stats_columns=("tag_webid", "name"),
    dictionary_columns=("point_type", "point_class", "engineering_units", "digital_set", "data_server"),
    later_columns=("replaces",),
    schema=pa.schema(
        [
            text("tag_webid", "WebID of the PI point"),
            text("name", "Name of the point"),
            text("path", "Path of the point, \\\\SERVER\\TAG"),
            text("descriptor", "Descriptor of the point"),
            text("point_type", "Float32, Int32, Digital, String, ..."),
            text("point_class", "Point class"),
            text("engineering_units", "Engineering units"),
            text("digital_set", "Digital state set of a digital point"),
            column("span", pa.float64(), "Span of the point"),
            column("zero", pa.float64(), "Zero of the point"),
            flag("step", "Whether values hold until the next one (no interpolation)"),
            flag("future", "Whether the point stores future data"),
            text("data_server", "Name of the PI Data Archive"),
            instant("first_seen", "First run that saw the point"),
            instant("last_seen", "Day of the run that last wrote this row"),
            instant("deleted_at", "When the point was first found missing; null while it exists"),
            column(
                "attributes",
                pa.map_(pa.string(), pa.string()),
                "Further attributes of the point by name, as text: those that extraction.point_attributes chooses",
            ),
            text("replaces", "WebID of the point that had this path before and is gone; null where there was none"),
        ]
    ),
)

PI_DIGITAL_STATES = TableSpec(
    name="pi_digital_states",
    schema_role="schema",
    comment="One state of one digital set as last seen; key (data_server, digital_set, state_code).",
    grain=Grain(key=("data_server", "digital_set", "state_code")),
    stats_columns=("data_server", "digital_set", "state_code"),
    dictionary_columns=("data_server", "digital_set", "set_webid"),
    schema=pa.schema(
        [
            text("data_server", "Name of the PI Data Archive; joins pi_tags"),
            text("digital_set", "Name of the set; joins pi_tags. SYSTEM: states that any point may hold"),
            column("state_code", pa.int32(), "Code of the state in its set; joins pi_timeseries"),
            text("name", "Name of the state now; events keep the name it had when they were read"),
            text("set_webid", "WebID of the set"),
            instant("first_seen", "First run that saw the state"),
            instant("last_seen", "Day of the run that last wrote this row"),
            instant("deleted_at", "When its set was first found without the state; null while it exists"),
        ]
    ),
)

PI_DATA_SERVERS = TableSpec(
    name="pi_data_servers",
    schema_role="schema",
    comment="One PI Data Archive as a PI Web API shows it; key (web_api_host, data_server_webid).",
    grain=Grain(key=("web_api_host", "data_server_webid")),
    schema=pa.schema(
        [
            text("web_api_host", "Host of the PI Web API that shows the server"),
            text("data_server_webid", "WebID of the server, without a path in it"),
            text("name", "Name of the server; joins pi_tags.data_server"),
            text("path", "Path of the server"),
            flag("is_connected", "Whether the PI Web API was connected to it"),
            text("server_version", "Version of the PI Data Archive"),
            instant("first_seen", "First run that saw the server"),
            instant("last_seen", "Day of the run that last wrote this row"),
            instant("deleted_at", "When the PI Web API was first found not to show it; null while it does"),
        ]
    ),
)

PI_WATERMARKS = TableSpec(
    name="pi_watermarks",
    schema_role="checkpoint_schema",
    comment="What is done: events of a tag in [low, high) are in the data table. The widest row of a tag counts.",
    partition_by=("pipeline",),
    stats_columns=("tag_webid",),
    dictionary_columns=("dataset", "status", "last_error"),
    later_columns=(
        "last_event_digest",
        "ahead_from",
        "rows_behind",
        "hole_end",
        "hole_since",
        "hole_attempts",
        "hole_ask_at",
    ),
    schema=pa.schema(
        [
            text("pipeline", "Pipeline that owns the row"),
            text("dataset", "recorded, ...; recorded.holes: a window of a tag that cannot be read"),
            text("tag_webid", "WebID of the PI point; of a sampled series its series_id"),
            instant("low", "Start of the window that is done, inclusive"),
            instant("high", "End of the window that is done, exclusive"),
            instant("last_event_timestamp", "Newest event committed"),
            column("commit_sequence", pa.int64(), "Number of the data commit this row belongs to"),
            column(
                "rows_total",
                pa.int64(),
                "Events of the tag committed by runs so far, ever: corrections add what they insert, take nothing off",
            ),
            text("status", "ok or failed; of a hole: open or closed"),
            text("last_error", "Why the tag is not ok"),
            instant("updated_at", "When this row was written"),
            column("last_event_digest", pa.int64(), "Digest of the events at last_event_timestamp, as committed"),
            instant(
                "ahead_from",
                "Of a point that stores future data: from here on what is done lay ahead when it was read. It may be "
                "forecast anew. Null for other points",
            ),
            column(
                "rows_behind", pa.int64(), "Of rows_total, those landed by runs that read history behind what was done"
            ),
            instant("hole_end", "Of a hole, which begins at low: where it ends, exclusive"),
            instant("hole_since", "Of a hole: when it was found"),
            column("hole_attempts", pa.int32(), "Of a hole: how often it was asked for in vain"),
            instant("hole_ask_at", "Of a hole: when it is asked for again"),
        ]
    ),
)

PI_CONNECTOR_METRICS = TableSpec(
    name="pi_connector_metrics",
    schema_role="monitoring_schema",
    comment="One run of the connector, or one verification, however it ended; what was killed has no row.",
    stats_columns=("pipeline", "started_at"),
    dictionary_columns=("pipeline", "shard", "status", "command", "datasets"),
    later_columns=(
        "command",
        "corrections_inserted",
        "corrections_changed",
        "corrections_deleted",
        "datasets",
        "decoder",
    ),
    schema=pa.schema(
        [
            text("run_id", "Name of the run; the job's run id where a job started it"),
            text("pipeline", "Pipeline that was run"),
            text("shard", "Share of the tags that was run, 0-of-1 for all"),
            instant("started_at", "When the run began"),
            column("duration_seconds", pa.float64(), "How long it took"),
            text("status", "succeeded, incomplete, interrupted or failed"),
            column("tags_requested", pa.int64(), "Tags the configuration selects"),
            column("tags_extracted", pa.int64(), "Tags read to the end of their window"),
            column("tags_failed", pa.int64(), "Tags that could not be read"),
            column("records_written", pa.int64(), "Events committed"),
            column("requests", pa.int64(), "Requests answered or failed, repetitions included"),
            column("retries", pa.int64(), "Requests that were repetitions"),
            column("throttled", pa.int64(), "Requests the server refused as too many"),
            column("bytes_fetched", pa.int64(), "Bytes received from the source"),
            column("commits", pa.int64(), "Commits made"),
            column("freshness_p50_seconds", pa.float64(), "How far the watermarks lay behind, at the end: median tag"),
            column("freshness_p95_seconds", pa.float64(), "The same: 95 % of the tags are no further behind"),
            column("freshness_max_seconds", pa.float64(), "The same: the tag that is furthest behind"),
            text("error", "Why the run did not do everything"),
            text("command", "run, or verify: its tags are those compared, those that agree, the others"),
            column("corrections_inserted", pa.int64(), "Events that came late and were put in, beside those committed"),
            column("corrections_changed", pa.int64(), "Events that had another value, or quality, than before"),
            column("corrections_deleted", pa.int64(), "Events that had gone at the source, and were taken out"),
            text("datasets", "Names of the datasets that were read, or verified, separated by commas"),
            text("decoder", "What decoded the answers: python or native"),
        ]
    ),
)

PI_QUARANTINE = TableSpec(
    name="pi_quarantine",
    schema_role="monitoring_schema",
    comment="One piece of an answer that could not be read; what lies around it is in the data table.",
    stats_columns=("pipeline", "found_at"),
    dictionary_columns=("run_id", "pipeline", "tag_webid", "tag_name", "reason"),
    schema=pa.schema(
        [
            text("run_id", "Run that met it"),
            text("pipeline", "Pipeline of the run"),
            instant("found_at", "When the run met it"),
            text("tag_webid", "WebID of the PI point; joins pi_tags"),
            text("tag_name", "Name of the PI point"),
            instant("window_start", "Where it lies: from here on"),
            instant("window_end", "Where it ends, exclusive; equal to the start: from there on nothing is read"),
            text("reason", "What is wrong with it"),
            text("excerpt", "A short piece of what the server sent, without secrets"),
        ]
    ),
)
