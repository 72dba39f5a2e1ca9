"""The tables that land: one Arrow schema, grain and comment each. Imports nothing of ours; no I/O.

Invariant: what is written here is what the SQL of a user meets. Timestamps are
`timestamp[us, UTC]`; strings may be dictionary-encoded in memory and are `string` in Delta.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

__all__ = [
    "DATASETS",
    "PI_CONNECTOR_METRICS",
    "PI_DIGITAL_STATES",
    "PI_QUARANTINE",
    "PI_TAGS",
    "PI_TIMESERIES",
    "PI_WATERMARKS",
    "TIMESTAMP",
    "Names",
    "TableSpec",
]

TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table: its default name, the schema role it lives under, shape, partitions and comments."""

    name: str
    home: str  # which configured schema: "schema", "checkpoint_schema" or "monitoring_schema"
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    comment: str = ""
    # Columns whose minimum and maximum go into the file statistics that readers skip files by.
    stats_columns: tuple[str, ...] = ()
    # Columns few enough in distinct values that Parquet dictionary encoding pays.
    dictionary_columns: tuple[str, ...] = field(default=())
    # Columns that tables of earlier versions do not have. Added where that is possible, else done without.
    later_columns: tuple[str, ...] = ()
    # Delta properties that the user wants of the table when it is created.
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)

    def widened(self, fields: Iterable[pa.Field]) -> TableSpec:
        """The same table with the columns that others have added to it."""
        more = [f for f in fields if f.name not in self.schema.names]
        return replace(self, schema=pa.schema([*self.schema, *more])) if more else self

    def wished(self, properties: Mapping[str, Mapping[str, str]]) -> TableSpec:
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
        home: str = getattr(self, spec.home)
        return self.catalog, home, self.tables.get(spec.name, spec.name)


def _field(name: str, kind: pa.DataType, comment: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"comment": comment})


PI_TIMESERIES = TableSpec(
    name="pi_timeseries",
    home="schema",
    comment="One recorded event of a PI tag; key (tag_webid, timestamp, sequence).",
    partition_by=("partition_date",),
    stats_columns=("tag_webid", "timestamp", "sequence", "value"),
    dictionary_columns=("tag_webid", "tag_name", "value_string", "value_kind", "units"),
    schema=pa.schema(
        [
            _field("tag_webid", pa.string(), "WebID of the PI point; joins pi_tags"),
            _field("tag_name", pa.string(), "Name of the PI point when the event was read"),
            _field("timestamp", TIMESTAMP, "When the event was recorded, UTC, truncated to microseconds"),
            _field("sequence", pa.int32(), "Ordinal among the events of this tag in this microsecond, in server order"),
            _field("value", pa.float64(), "The number, where the event is one"),
            _field("value_string", pa.string(), "The text, state name or JSON of an event that is not a plain number"),
            _field("state_code", pa.int32(), "Code of a digital or system state"),
            _field(
                "value_kind",
                pa.string(),
                "number, string, digital, system, boolean, timestamp, blob, array, null or error",
            ),
            _field("good", pa.bool_(), "PI quality flag as sent"),
            _field("questionable", pa.bool_(), "PI quality flag as sent"),
            _field("substituted", pa.bool_(), "PI quality flag as sent"),
            _field("annotated", pa.bool_(), "Whether the event carries an annotation, as sent"),
            _field("units", pa.string(), "Engineering units of the event"),
            _field("ingestion_timestamp", TIMESTAMP, "When this row was read from the source"),
            _field("partition_date", pa.date32(), "UTC date of timestamp"),
        ]
    ),
)

PI_TAGS = TableSpec(
    name="pi_tags",
    home="schema",
    comment="One PI point as last seen; key tag_webid.",
    stats_columns=("tag_webid", "name"),
    dictionary_columns=("point_type", "point_class", "engineering_units", "digital_set", "data_server"),
    later_columns=("replaces",),
    schema=pa.schema(
        [
            _field("tag_webid", pa.string(), "WebID of the PI point"),
            _field("name", pa.string(), "Name of the point"),
            _field("path", pa.string(), "Path of the point, \\\\SERVER\\TAG"),
            _field("descriptor", pa.string(), "Descriptor of the point"),
            _field("point_type", pa.string(), "Float32, Int32, Digital, String, ..."),
            _field("point_class", pa.string(), "Point class"),
            _field("engineering_units", pa.string(), "Engineering units"),
            _field("digital_set", pa.string(), "Digital state set of a digital point"),
            _field("span", pa.float64(), "Span of the point"),
            _field("zero", pa.float64(), "Zero of the point"),
            _field("step", pa.bool_(), "Whether values hold until the next one (no interpolation)"),
            _field("future", pa.bool_(), "Whether the point stores future data"),
            _field("data_server", pa.string(), "Name of the PI Data Archive"),
            _field("first_seen", TIMESTAMP, "First run that saw the point"),
            _field("last_seen", TIMESTAMP, "Day of the last run that saw the point (rewritten at most daily)"),
            _field("deleted_at", TIMESTAMP, "When the point was first found missing; null while it exists"),
            _field("attributes", pa.map_(pa.string(), pa.string()), "Further point attributes, as text"),
            _field(
                "replaces",
                pa.string(),
                "WebID of the point that had this path before and is gone; null where there was none",
            ),
        ]
    ),
)

PI_DIGITAL_STATES = TableSpec(
    name="pi_digital_states",
    home="schema",
    comment="One state of one digital set as last seen; key (data_server, digital_set, state_code).",
    stats_columns=("data_server", "digital_set", "state_code"),
    dictionary_columns=("data_server", "digital_set", "set_webid"),
    schema=pa.schema(
        [
            _field("data_server", pa.string(), "Name of the PI Data Archive; joins pi_tags"),
            _field(
                "digital_set", pa.string(), "Name of the set; joins pi_tags. SYSTEM: states that any point may hold"
            ),
            _field("state_code", pa.int32(), "Code of the state in its set; joins pi_timeseries"),
            _field("name", pa.string(), "Name of the state now; events keep the name it had when they were read"),
            _field("set_webid", pa.string(), "WebID of the set"),
            _field("first_seen", TIMESTAMP, "First run that saw the state"),
            _field("last_seen", TIMESTAMP, "Day of the last run that saw the state (rewritten at most daily)"),
            _field("deleted_at", TIMESTAMP, "When its set was first found without the state; null while it exists"),
        ]
    ),
)

PI_WATERMARKS = TableSpec(
    name="pi_watermarks",
    home="checkpoint_schema",
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
            _field("pipeline", pa.string(), "Pipeline that owns the row"),
            _field("dataset", pa.string(), "recorded, ...; recorded.holes: a window of a tag that cannot be read"),
            _field("tag_webid", pa.string(), "WebID of the PI point"),
            _field("low", TIMESTAMP, "Start of the window that is done, inclusive"),
            _field("high", TIMESTAMP, "End of the window that is done, exclusive"),
            _field("last_event_timestamp", TIMESTAMP, "Newest event committed"),
            _field("commit_sequence", pa.int64(), "Number of the data commit this row belongs to"),
            _field(
                "rows_total",
                pa.int64(),
                "Events of the tag committed by runs so far, ever: corrections add what they insert, take nothing off",
            ),
            _field("status", pa.string(), "ok or failed; of a hole: open or closed"),
            _field("last_error", pa.string(), "Why the tag is not ok"),
            _field("updated_at", TIMESTAMP, "When this row was written"),
            _field("last_event_digest", pa.int64(), "Digest of the events at last_event_timestamp, as committed"),
            _field(
                "ahead_from",
                TIMESTAMP,
                "Of a point that stores future data: from here on what is done lay ahead when it was read, and may be "
                "forecast anew; null for others",
            ),
            _field(
                "rows_behind", pa.int64(), "Of rows_total, those landed by runs that read history behind what was done"
            ),
            _field("hole_end", TIMESTAMP, "Of a hole, which begins at low: where it ends, exclusive"),
            _field("hole_since", TIMESTAMP, "Of a hole: when it was found"),
            _field("hole_attempts", pa.int32(), "Of a hole: how often it was asked for in vain"),
            _field("hole_ask_at", TIMESTAMP, "Of a hole: when it is asked for again"),
        ]
    ),
)

PI_CONNECTOR_METRICS = TableSpec(
    name="pi_connector_metrics",
    home="monitoring_schema",
    comment="One run of the connector, or one verification, however it ended; what was killed has no row.",
    stats_columns=("pipeline", "started_at"),
    dictionary_columns=("pipeline", "shard", "status", "command"),
    later_columns=("command", "corrections_inserted", "corrections_changed", "corrections_deleted"),
    schema=pa.schema(
        [
            _field("run_id", pa.string(), "Name of the run; the job's run id where a job started it"),
            _field("pipeline", pa.string(), "Pipeline that was run"),
            _field("shard", pa.string(), "Share of the tags that was run, 0-of-1 for all"),
            _field("started_at", TIMESTAMP, "When the run began"),
            _field("duration_seconds", pa.float64(), "How long it took"),
            _field("status", pa.string(), "succeeded, incomplete, interrupted or failed"),
            _field("tags_requested", pa.int64(), "Tags the configuration selects"),
            _field("tags_extracted", pa.int64(), "Tags read to the end of their window"),
            _field("tags_failed", pa.int64(), "Tags that could not be read"),
            _field("records_written", pa.int64(), "Events committed"),
            _field("requests", pa.int64(), "Requests answered or failed, repetitions included"),
            _field("retries", pa.int64(), "Requests that were repetitions"),
            _field("throttled", pa.int64(), "Requests the server refused as too many"),
            _field("bytes_fetched", pa.int64(), "Bytes received from the source"),
            _field("commits", pa.int64(), "Commits made"),
            _field("freshness_p50_seconds", pa.float64(), "How far the watermarks lay behind, at the end: median tag"),
            _field("freshness_p95_seconds", pa.float64(), "The same: 95 % of the tags are no further behind"),
            _field("freshness_max_seconds", pa.float64(), "The same: the tag that is furthest behind"),
            _field("error", pa.string(), "Why the run did not do everything"),
            _field("command", pa.string(), "run, or verify: its tags are those compared, those that agree, the others"),
            _field("corrections_inserted", pa.int64(), "Events that came late and were put in, beside those committed"),
            _field("corrections_changed", pa.int64(), "Events that had another value, or quality, than before"),
            _field("corrections_deleted", pa.int64(), "Events that had gone at the source, and were taken out"),
        ]
    ),
)

PI_QUARANTINE = TableSpec(
    name="pi_quarantine",
    home="monitoring_schema",
    comment="One piece of an answer that could not be read; what lies around it is in the data table.",
    stats_columns=("pipeline", "found_at"),
    dictionary_columns=("run_id", "pipeline", "tag_webid", "tag_name", "reason"),
    schema=pa.schema(
        [
            _field("run_id", pa.string(), "Run that met it"),
            _field("pipeline", pa.string(), "Pipeline of the run"),
            _field("found_at", TIMESTAMP, "When the run met it"),
            _field("tag_webid", pa.string(), "WebID of the PI point; joins pi_tags"),
            _field("tag_name", pa.string(), "Name of the PI point"),
            _field("window_start", TIMESTAMP, "Where it lies: from here on"),
            _field(
                "window_end", TIMESTAMP, "Where it ends, exclusive; equal to the start: from there on nothing is read"
            ),
            _field("reason", pa.string(), "What is wrong with it"),
            _field("excerpt", pa.string(), "A short piece of what the server sent, without secrets"),
        ]
    ),
)

DATASETS = (PI_TIMESERIES, PI_TAGS, PI_DIGITAL_STATES, PI_WATERMARKS)
