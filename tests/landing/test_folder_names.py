"""A folder whose name delta-rs would read as another one is refused before anything is written; others work."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import writers.storage.write_probe
from config.errors import ConfigurationError, StorageError
from writers.storage.location import TableLocation
from writers.storage.write_probe import probe_writing


@pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "a%41b", "a[b", "a]b", "a^b", "a|b", "a\\b"])
def test_a_folder_that_means_another_in_a_url_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="means something else to delta-rs"):
        TableLocation.parse(tmp_path / name / "lake")


@pytest.mark.parametrize("name", ["100%", "a%b%zz", "50% off", "a#b", "a?b", "a b", "ü", "a'b", "a&b=c+d", "{a}"])
def test_any_other_folder_holds_tables_where_it_says(tmp_path: Path, name: str) -> None:
    place = TableLocation.parse(tmp_path / name)
    probe_writing(place.uri)
    place.make_root()
    table = place.child("t").uri
    write_deltalake(table, pa.table({"x": [1]}))
    assert (tmp_path / name / "t" / "_delta_log").is_dir()
    assert DeltaTable(table).to_pyarrow_table().num_rows == 1
    place.create_small("p/f", b"x")
    assert (tmp_path / name / "p" / "f").read_bytes() == b"x"


def test_a_storage_that_lets_a_second_writer_put_the_same_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers.storage.write_probe.TableLocation, "create_small", TableLocation.write_small)
    with pytest.raises(StorageError, match="would be lost"):
        probe_writing(str(tmp_path / "lake"))
    assert list(tmp_path.iterdir()) == []
