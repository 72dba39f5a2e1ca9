"""The Delta properties that users set on new tables: which ones are allowed, and which table gets which. Pure.

A property can oblige every writer to more than plain Parquet files. Invariant: a property that is not known to be
harmless is refused by name before the table is created.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .model_target import TablesConfig, UnityCatalogConfig
from .problems import Path, Problem, closest

_SWITCHES = frozenset(
    {
        "delta.autoOptimize.autoCompact",
        "delta.autoOptimize.optimizeWrite",
        "delta.checkpoint.writeStatsAsJson",
        "delta.checkpoint.writeStatsAsStruct",
        "delta.enableChangeDataFeed",
        "delta.enableExpiredLogCleanup",
        "delta.tuneFileSizesForRewrites",
    }
)
# With a shorter retention, the next run could not finish what a killed run has left.
_DAYS = re.compile(r"interval ((2[4-9]|[3-9]\d|\d{3,}) hours?|[1-9]\d* (day|week)s?)")
_VALUES = {
    **dict.fromkeys(_SWITCHES, (re.compile("true|false"), "true or false")),
    **dict.fromkeys(
        ("delta.deletedFileRetentionDuration", "delta.logRetentionDuration"),
        (_DAYS, "an interval of hours, days or weeks and of at least a day, such as interval 30 days"),
    ),
    "delta.checkpointInterval": (re.compile(r"[1-9]\d*"), "a number of commits"),
    "delta.dataSkippingNumIndexedCols": (re.compile(r"-1|\d+"), "a number of columns, or -1 for all"),
    "delta.dataSkippingStatsColumns": (re.compile(r".+"), "names of columns"),
    "delta.isolationLevel": (re.compile("Serializable|WriteSerializable"), "Serializable or WriteSerializable"),
    "delta.parquet.compression.codec": (re.compile(r"\w+"), "the name of a codec; our own files are zstd anyway"),
    "delta.targetFileSize": (re.compile(r"(?i)[1-9]\d*([kmg]?b)?"), "a size such as 256mb, or a number of bytes"),
}
# Properties of features that we do not support: the value that turns the feature off, and the reason.
_OFF = {
    "delta.appendOnly": ("false", "every run corrects events that turn out to be provisional"),
    "delta.checkpointPolicy": ("classic", "the catalog asks for v2 where it needs it"),
    "delta.columnMapping.mode": ("none", "column mapping is not written by this version"),
    "delta.enableDeletionVectors": (
        "false",
        "corrections cannot see rows deleted by vectors; managed tables have them",
    ),
    "delta.enableIcebergCompatV1": ("false", "metadata for Iceberg is not written by this version"),
    "delta.enableIcebergCompatV2": ("false", "metadata for Iceberg is not written by this version"),
    "delta.enableIcebergCompatV3": ("false", "metadata for Iceberg is not written by this version"),
    "delta.enableInCommitTimestamps": ("false", "the catalog asks for them where it needs them"),
    "delta.enableRowTracking": ("false", "rows are not numbered by this version"),
    "delta.enableTypeWidening": ("false", "types of columns stay as they are"),
}
# Names, or prefixes of names, that users may not set, and the reason.
_NEVER = {
    "delta.columnMapping.": "column mapping is not written by this version",
    "delta.constraints.": "check constraints are not tested by this version; test the data downstream",
    "delta.coordinatedCommits.": "the catalog decides commits of managed tables by itself",
    "delta.feature.": "a feature comes with the property that needs it",
    "delta.identity.": "identity columns are not written by this version",
    "delta.inCommitTimestamp": "the catalog asks for them where it needs them",
    "delta.minReaderVersion": "it follows from the other properties",
    "delta.minWriterVersion": "it follows from the other properties",
    "delta.rowTracking.": "rows are not numbered by this version",
    "delta.setTransactionRetentionDuration": "runs know by these transactions what has landed, however long ago",
    "delta.universalFormat.": "metadata for Iceberg is not written by this version",
    "io.unitycatalog.": "the catalog gives it",
}


def properties_of(catalog: UnityCatalogConfig) -> dict[str, dict[str, str]]:
    """The properties of each table, by its default name. Its own win over those of all tables."""
    given = catalog.table_properties
    return {field.default: {**given.all, **getattr(given, role)} for role, field in TablesConfig.model_fields.items()}


def problems_with(properties: Mapping[str, str], here: Path) -> Iterator[Problem]:
    for name, value in properties.items():
        problem = _problem((*here, name), name, value)
        if problem is not None:
            yield problem


def _problem(path: Path, name: str, value: str) -> Problem | None:
    if name in _OFF:
        off, why = _OFF[name]
        return None if value == off else Problem(path, f"something else than {off}", f"{off}, or nothing: {why}")
    for beginning, why in _NEVER.items():
        if name.startswith(beginning):
            return Problem(path, "a property that is not given here", f"nothing: {why}")
    if name in _VALUES:
        pattern, expected = _VALUES[name]
        return None if pattern.fullmatch(value) else Problem(path, "something else", expected)
    if name.startswith("delta."):
        known = [*_VALUES, *_OFF]
        guess = closest(name, known)
        return Problem(path, "a property of Delta that we do not know", "one of " + ", ".join(_VALUES), guess)
    if not re.fullmatch(r"[^\x00-\x20\x7f]+", name):
        return Problem(path, "a name with spaces", "a name without spaces")
    return None
