"""Properties of the tables we create: what is harmless is taken, what we could not honour is refused by name."""

from __future__ import annotations

import pytest

import config
from config.properties import properties_of

HERE = "$.unity_catalog.table_properties"


def loaded(properties):
    return config.from_mapping({"unity_catalog": {"table_properties": properties}}, env={}).config


def problem_with(name: str, value: object) -> str:
    with pytest.raises(config.InvalidConfigurationError) as caught:
        loaded({"timeseries": {name: value}})
    [problem] = caught.value.problems
    return str(problem)


def test_a_tables_own_properties_go_before_those_of_all():
    found = properties_of(
        loaded(
            {
                "all": {"delta.logRetentionDuration": "interval 60 days", "team": "process data"},
                "timeseries": {"delta.enableChangeDataFeed": True, "team": "historians"},
                "metrics": {"delta.checkpointInterval": 50},
            }
        ).unity_catalog
    )
    everywhere = {"delta.logRetentionDuration": "interval 60 days", "team": "process data"}
    assert found["pi_timeseries"] == {**everywhere, "team": "historians", "delta.enableChangeDataFeed": "true"}
    assert found["pi_connector_metrics"] == {**everywhere, "delta.checkpointInterval": "50"}
    assert found["pi_watermarks"] == everywhere


def test_a_renamed_table_keeps_its_properties():
    document = {"tables": {"timeseries": "values"}, "table_properties": {"timeseries": {"a": "b"}}}
    catalog = config.from_mapping({"unity_catalog": document}, env={}).config.unity_catalog
    assert properties_of(catalog)["pi_timeseries"] == {"a": "b"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delta.enableChangeDataFeed", True),
        ("delta.enableChangeDataFeed", "false"),
        ("delta.logRetentionDuration", "interval 24 hours"),
        ("delta.logRetentionDuration", "interval 1 day"),
        ("delta.deletedFileRetentionDuration", "interval 2 weeks"),
        ("delta.deletedFileRetentionDuration", "interval 720 hours"),
        ("delta.targetFileSize", 268435456),
        ("delta.targetFileSize", "256mb"),
        ("delta.dataSkippingNumIndexedCols", -1),
        ("delta.enableDeletionVectors", False),
        ("delta.columnMapping.mode", "none"),
        ("delta.appendOnly", "false"),
        ("quality.owner", "process data"),
    ],
)
def test_what_is_harmless_is_taken(name, value):
    [(found, text)] = loaded({"timeseries": {name: value}}).unity_catalog.table_properties.timeseries.items()
    assert (found, text) == (name, str(value).lower())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "delta.enableDeletionVectors",
            True,
            "found something else than false; expected false, or nothing: corrections",
        ),
        ("delta.columnMapping.mode", "name", "expected none, or nothing: column mapping is not written"),
        ("delta.columnMapping.maxColumnId", 9, "column mapping is not written"),
        ("delta.enableRowTracking", True, "rows are not numbered"),
        ("delta.rowTracking.materializedRowIdColumnName", "x", "rows are not numbered"),
        ("delta.enableIcebergCompatV1", True, "metadata for Iceberg"),
        ("delta.enableIcebergCompatV2", True, "metadata for Iceberg"),
        ("delta.enableIcebergCompatV3", True, "metadata for Iceberg"),
        ("delta.universalFormat.enabledFormats", "iceberg", "metadata for Iceberg"),
        ("delta.identity.start", 1, "identity columns are not written"),
        ("delta.feature.identityColumns", "supported", "a feature comes with the property that needs it"),
        ("delta.constraints.positive", "value > 0", "check constraints are not tested"),
        ("delta.enableTypeWidening", True, "types of columns stay as they are"),
        ("delta.enableInCommitTimestamps", True, "the catalog asks for them"),
        ("delta.checkpointPolicy", "v2", "expected classic, or nothing"),
        ("delta.minWriterVersion", 7, "it follows from the other properties"),
        ("delta.appendOnly", True, "every run corrects events"),
        ("delta.setTransactionRetentionDuration", "interval 1 day", "what has landed, however long ago"),
        ("io.unitycatalog.tableId", "x", "the catalog gives it"),
    ],
)
def test_what_would_oblige_us_to_more_is_refused_by_name_with_the_reason(name, value, words):
    problem = problem_with(name, value)
    assert problem.startswith(f"{HERE}.timeseries.{name}: found ")
    assert words in problem


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("delta.enableChangeDataFeed", "yes", "true or false"),
        ("delta.logRetentionDuration", "30 days", "such as interval 30 days"),
        ("delta.logRetentionDuration", "interval 23 hours", "at least a day"),
        ("delta.logRetentionDuration", "interval 0 days", "at least a day"),
        ("delta.deletedFileRetentionDuration", "interval 1 month", "hours, days or weeks"),
        ("delta.targetFileSize", "big", "a size such as 256mb"),
        ("delta.checkpointInterval", 0, "a number of commits"),
        ("delta.dataSkippingNumIndexedCols", -2, "or -1 for all"),
        ("two words", "x", "a name without spaces"),
    ],
)
def test_values_that_no_engine_would_take_are_refused(name, value, expected):
    assert expected in problem_with(name, value)


def test_a_misspelt_property_is_not_taken_for_one_of_the_users_own():
    assert problem_with("delta.enableChangeDataFed", True).endswith("did you mean `delta.enableChangeDataFeed`?")


def test_all_problems_are_told_at_once_and_a_table_that_is_none_is_named():
    with pytest.raises(config.InvalidConfigurationError) as caught:
        loaded({"all": {"delta.appendOnly": True}, "tag": {}, "metrics": {"delta.feature.x": "supported"}})
    assert [str(problem).split(": ")[0] for problem in caught.value.problems] == [
        f"{HERE}.tag",
        f"{HERE}.all.delta.appendOnly",
        f"{HERE}.metrics.delta.feature.x",
    ]
    assert "did you mean `tags`?" in str(caught.value)


def test_values_are_shown_for_they_are_no_secrets():
    shown = config.masked(loaded({"all": {"team": "process data"}}))
    assert shown["unity_catalog"]["table_properties"]["all"] == {"team": "process data"}
