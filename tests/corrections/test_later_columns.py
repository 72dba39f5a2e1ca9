"""A checkpoint table of an earlier version goes on working; it gets the new column where that is possible."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.table import TableAlterer

from tests.landing.lake import Lake, event_rows, land
from tests.unity.places import stand_in_lakehouse
from writers import PI_WATERMARKS, Move, open_lakehouse
from writers.delta.schema import schema_of

OLD = PI_WATERMARKS.without(PI_WATERMARKS.later_columns)


def old_table(tmp_path: Path, **options) -> DeltaTable:
    place = tmp_path / "main" / "checkpoints" / "pi_watermarks"
    return DeltaTable.create(place, schema_of(OLD), partition_by=["pipeline"], **options)


def land_with_digest(lake: Lake) -> None:
    batch = lake.opened().begin()
    batch.write(event_rows("a", [0, 1]))
    batch.commit([Move("a", 0, 2, 1, 2, last_event_digest=-5)])


def test_a_table_at_a_path_gets_the_column_when_it_is_opened(tmp_path: Path) -> None:
    table = old_table(tmp_path)
    assert "last_event_digest" not in {f.name for f in table.schema().fields}
    lake = Lake(open_lakehouse(tmp_path))
    land_with_digest(lake)
    table.update_incremental()
    [field] = [f for f in table.schema().fields if f.name == "last_event_digest"]
    assert field.nullable
    assert field.metadata["comment"] == PI_WATERMARKS.schema.field("last_event_digest").metadata[b"comment"].decode()
    assert lake.opened().open()["a"].last_event_digest == -5
    versions = table.version()
    lake.opened()
    assert DeltaTable(table.table_uri).version() == versions  # it is added once


def test_rows_written_before_the_column_say_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_table(tmp_path)
    lake = Lake(open_lakehouse(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("writers.delta.table.add_later_columns", lambda *_: False)
        land_with_digest(lake)
    land(lake.opened(), "b", 0, 3)
    marks = lake.opened().open()
    assert (marks["a"].last_event, marks["a"].last_event_digest, marks["b"].high) == (1, None, 3)


def test_who_cannot_add_it_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise DeltaError("a change of the schema is not for you")

    monkeypatch.setattr(TableAlterer, "add_columns", refused)
    old_table(tmp_path)
    lake = Lake(open_lakehouse(tmp_path))
    land_with_digest(lake)
    marks = lake.opened().open()
    assert (marks["a"].high, marks["a"].last_event_digest) == (2, None)


def test_a_managed_table_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in_lakehouse("managed", str(tmp_path), None) as opened:
        with monkeypatch.context() as patch:
            patch.setattr("writers.landing.landing.PI_WATERMARKS", OLD)
            patch.setattr("writers.unity.lakehouse.PI_WATERMARKS", OLD)
            opened().table(OLD).open()
        lake = Lake(opened())
        land_with_digest(lake)
        marks = lake.opened().open()
        assert (marks["a"].high, marks["a"].last_event, marks["a"].last_event_digest) == (2, 1, None)
