"""Tables that are created have the properties the user wants of them; those that are there stay as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from config.errors import ConfigurationError
from tests.landing.lake import Lake, land
from tests.unity.published import as_path_table, folder_of
from tests.unity.stand_in import StandIn
from writers import PI_TAGS, PI_TIMESERIES, Lakehouse, open_lakehouse

NAME = "main.bronze.pi_timeseries"
WISHED = {
    "delta.enableChangeDataFeed": "true",
    "delta.logRetentionDuration": "interval 60 days",
    "delta.targetFileSize": "256mb",
    "quality.owner": "process data",
}
Opened = Callable[..., Lakehouse]


def actions_of(folder: Path, kind: str) -> list[dict]:
    lines = (folder / "_delta_log" / f"{0:020}.json").read_text().splitlines()
    return [action[kind] for action in map(json.loads, lines) if kind in action]


def test_at_a_path(tmp_path: Path) -> None:
    lakehouse = open_lakehouse(tmp_path, properties={"pi_timeseries": WISHED})
    table, other = lakehouse.table(PI_TIMESERIES).open(), lakehouse.table(PI_TAGS).open()
    assert table.properties == WISHED
    assert other.properties == {}
    assert DeltaTable(table.uri).protocol().min_writer_version == 4  # the first that knows of a feed
    again = open_lakehouse(tmp_path, properties={"pi_timeseries": {"quality.owner": "nobody"}})
    assert again.table(PI_TIMESERIES).open().properties == WISHED
    land(Lake(again).opened(), "a", 0, 3)


def test_an_external_table_and_its_entry_in_the_catalog(catalog: StandIn, opened: Opened) -> None:
    lakehouse = opened("external", properties={"pi_timeseries": WISHED})
    assert lakehouse.table(PI_TIMESERIES).open().properties == WISHED
    assert catalog.tables[NAME].properties == WISHED
    land(Lake(lakehouse).opened(), "a", 0, 3)


def test_a_managed_table_names_the_feature_that_a_property_needs(
    catalog: StandIn, opened: Opened, tmp_path: Path
) -> None:
    lakehouse = opened(properties={"pi_timeseries": WISHED})
    table = lakehouse.table(PI_TIMESERIES).open()
    assert WISHED.items() <= table.properties.items()
    assert catalog.required_properties.items() <= table.properties.items()
    folder = folder_of(catalog.tables[NAME].location)
    [protocol], [metadata] = actions_of(folder, "protocol"), actions_of(folder, "metaData")
    assert "changeDataFeed" in protocol["writerFeatures"]
    assert "changeDataFeed" not in protocol["readerFeatures"]
    assert metadata["configuration"].items() <= catalog.tables[NAME].properties.items()
    land(Lake(lakehouse).opened(), "a", 0, 3)
    found = DeltaTable(as_path_table(catalog.tables[NAME].location, tmp_path / "copy"))
    assert found.metadata().configuration["delta.enableChangeDataFeed"] == "true"


def test_what_contradicts_the_catalog_is_refused_before_anything_is_written(
    catalog: StandIn, opened: Opened, tmp_path: Path
) -> None:
    wished = {"pi_timeseries": {"delta.checkpoint.writeStatsAsStruct": "false"}}
    with pytest.raises(
        ConfigurationError, match=r"writeStatsAsStruct is false, and Unity Catalog wants true"
    ) as refused:
        opened(properties=wished).table(PI_TIMESERIES).open()
    assert "table_type: external" in refused.value.hint
    assert list(tmp_path.iterdir()) == []
    assert catalog.tables == {}


def test_what_the_catalog_restricts_is_named_with_the_place_to_take_it_from(catalog: StandIn, opened: Opened) -> None:
    """The server alone knows which properties it takes."""
    catalog.restricted_properties.add("delta.logRetentionDuration")
    with pytest.raises(ConfigurationError, match=r"delta\.logRetentionDuration") as refused:
        opened(properties={"pi_timeseries": WISHED}).table(PI_TIMESERIES).open()
    assert "unity_catalog.table_properties" in refused.value.hint
    assert catalog.tables == {}
