"""What we stage, others must be able to read: checked by readers that are not ours."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_kernel_rust_sharing_wrapper import PythonInterface, ScanBuilder, Table
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from writers import PI_TAGS, PI_TIMESERIES, Commit, CommitKey, open_lakehouse
from writers.storage.location import TableLocation
from writers.storage.parquet_stage import ParquetStage, split_by_partition
from writers.tables import TIMESTAMP

DAY = 86_400_000_000
START = 1_793_664_000_000_000  # 2026-11-03


def make(n: int, *, tags: int = 3, days: int = 1, encoded: bool = True, seed: int = 0) -> pa.RecordBatch:
    """Events of a few tags over a few days, dictionary-encoded as the decoder gives them, or plain."""
    rng = np.random.default_rng(seed)
    ts = START + np.sort(rng.integers(0, days * DAY, n))
    tag = rng.integers(0, tags, n).astype(np.int32)

    def texts(codes: np.ndarray, words: list[str]) -> pa.Array:
        column = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(words))
        return column if encoded else column.dictionary_decode()

    kinds = rng.integers(0, 3, n).astype(np.int32)
    columns = {
        "tag_webid": texts(tag, [f"webid-{seed}-{t}" for t in range(tags)]),
        "tag_name": texts(tag, [f"name {t}" for t in range(tags)]),
        "timestamp": pa.array(ts).cast(TIMESTAMP),
        "sequence": pa.array(rng.integers(0, 2, n).astype(np.int32)),
        "value": pa.array(np.round(rng.normal(size=n), 3), mask=kinds != 0),
        "value_string": texts(kinds, ["", "OPEN", "Zürich"]),
        "state_code": pa.array(kinds, mask=kinds == 0),
        "value_kind": texts(kinds, ["number", "digital", "string"]),
        "good": pa.array(kinds < 2),
        "questionable": pa.array([None] * n, pa.bool_()),
        "substituted": pa.array(kinds > 5),
        "annotated": pa.array(kinds > 5),
        "units": texts(tag, [f"unit {t}" for t in range(tags)]),
        "ingestion_timestamp": pa.array(np.full(n, START)).cast(TIMESTAMP),
        "partition_date": pa.array((ts // DAY).astype(np.int32)).cast(pa.date32()),
    }
    return pa.RecordBatch.from_arrays([columns[f.name] for f in PI_TIMESERIES.schema], names=PI_TIMESERIES.schema.names)


def plain(*batches: pa.RecordBatch) -> pa.Table:
    """Put rows into one comparable form."""
    schema = pa.schema([f.remove_metadata() for f in PI_TIMESERIES.schema])
    table = pa.concat_tables([pa.Table.from_batches([b]).cast(schema) for b in batches])
    return in_order(table)


def in_order(table: pa.Table) -> pa.Table:
    keys = ["timestamp", "tag_webid", "sequence", "value_string", "value"]
    return table.sort_by([(key, "ascending") for key in keys]).combine_chunks()


def read_by_delta_kernel(folder: str) -> pa.Table:
    uri = f"{Path(folder).as_uri()}/"
    engine = PythonInterface(uri)
    scan = ScanBuilder(Table(uri).snapshot(engine)).build()
    return pa.table(pa.RecordBatchReader.from_stream(scan.execute(engine)).read_all())


@pytest.mark.parametrize("encoded", [True, False])
def test_delta_kernel_and_arrow_read_back_what_was_written(tmp_path: Path, encoded: bool) -> None:
    batches = [make(2000, days=3, encoded=encoded, seed=seed) for seed in range(3)]
    table = open_lakehouse(tmp_path).table(PI_TIMESERIES).open()
    stage = table.stage()
    for batch in batches:
        stage.write(batch)
    files = stage.close()
    assert len(files) == 3  # one a day
    table.commit(Commit(CommitKey("me", 1), files))
    wanted = plain(*batches)
    kernel = read_by_delta_kernel(table.uri).select(wanted.schema.names).cast(wanted.schema)
    assert in_order(kernel).equals(wanted)
    assert in_order(table.read().read_all()).equals(wanted)
    arrow = pa.concat_tables(
        pq.ParquetFile(Path(table.uri, f.path))
        .read()
        .append_column(
            "partition_date",
            pa.repeat(pa.scalar(f.partition_values["partition_date"]), f.rows).cast(pa.date32()),
        )
        for f in files
    )
    assert in_order(arrow.select(wanted.schema.names).cast(wanted.schema)).equals(wanted)


def test_maps_are_read_back_too(tmp_path: Path) -> None:
    table = open_lakehouse(tmp_path).table(PI_TAGS).open()
    columns = {
        "tag_webid": pa.array(["w1", "w2"]),
        "attributes": pa.array([[("a", "1"), ("b", None)], None], pa.map_(pa.string(), pa.string())),
    }
    batch = pa.RecordBatch.from_arrays(
        [columns.get(f.name, pa.nulls(2, f.type)) for f in PI_TAGS.schema], names=PI_TAGS.schema.names
    )
    stage = table.stage()
    stage.write(batch)
    table.commit(Commit(CommitKey("me", 1), stage.close()))
    for found in (read_by_delta_kernel(table.uri), table.open().read().read_all()):
        assert found["attributes"].to_pylist() == [[("a", "1"), ("b", None)], None]
        assert found["tag_webid"].to_pylist() == ["w1", "w2"]


def test_only_encodings_that_every_reader_takes(tmp_path: Path) -> None:
    stage = ParquetStage(TableLocation.parse(tmp_path), PI_TIMESERIES)
    stage.write(make(5000, seed=1))
    stage.write(make(5000, seed=2))  # with other dictionaries: no falling back to PLAIN
    [file] = stage.close()
    assert file.path.startswith("partition_date=2026-11-03/part-")
    assert file.path.endswith(".zstd.parquet")
    assert file.size_bytes == (tmp_path / file.path).stat().st_size
    footer = pq.read_metadata(tmp_path / file.path)
    assert footer.num_row_groups == 1
    assert b"ARROW:schema" not in (footer.metadata or {})
    group = footer.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(footer.num_columns)}
    assert "partition_date" not in columns
    for name, column in columns.items():
        assert column.compression == "ZSTD"
        encodings = set(column.encodings)
        if name in PI_TIMESERIES.dictionary_columns:
            assert encodings == {"PLAIN", "RLE", "RLE_DICTIONARY"}  # PLAIN is the dictionary page itself
            # Data page 1: with page 2 levels would not be counted as RLE here.
        elif column.physical_type in {"INT32", "INT64"}:
            assert encodings == {"RLE", "DELTA_BINARY_PACKED"}
        else:
            assert encodings == {"RLE", "PLAIN"}
    # A fallback would show as pages of PLAIN data: the texts would take far more than a code each.
    assert columns["tag_webid"].total_uncompressed_size < 10_000


def test_statistics_are_those_of_the_rows(tmp_path: Path) -> None:
    batch = make(3000, days=2, tags=9)
    stage = ParquetStage(TableLocation.parse(tmp_path), PI_TIMESERIES)
    stage.write(batch)
    for file in stage.close():
        rows = plain(batch).filter(
            pa.compute.equal(plain(batch)["partition_date"].cast(pa.string()), file.partition_values["partition_date"])
        )
        stats = json.loads(file.stats_json)
        assert stats["numRecords"] == rows.num_rows == file.rows
        assert set(stats["nullCount"]) == {"tag_webid", "timestamp", "sequence", "value"}
        assert stats["nullCount"]["value"] == rows["value"].null_count
        for name in ("tag_webid", "sequence", "value"):
            known = [v for v in rows[name].to_pylist() if v is not None]
            assert stats["minValues"][name] == min(known)
            assert stats["maxValues"][name] == max(known)
        ends = [stats[k]["timestamp"] for k in ("minValues", "maxValues")]
        found = rows["timestamp"].to_pylist()
        assert ends == [t.isoformat(timespec="microseconds").replace("+00:00", "Z") for t in (min(found), max(found))]


def test_a_nan_takes_the_bounds_away_and_is_read_back(tmp_path: Path) -> None:
    batch = make(3, tags=1)
    place = batch.schema.get_field_index("value")
    batch = batch.set_column(place, "value", pa.array([1.0, math.nan, -math.inf]))
    table = open_lakehouse(tmp_path).table(PI_TIMESERIES).open()
    stage = table.stage()
    stage.write(batch)
    files = stage.close()
    stats = json.loads(files[0].stats_json)
    assert "value" not in stats["minValues"]
    assert "value" not in stats["maxValues"]
    assert stats["nullCount"]["value"] == 0
    table.commit(Commit(CommitKey("me", 1), files))
    found = read_by_delta_kernel(table.uri)["value"].to_pylist()
    assert sorted(map(str, found)) == ["-inf", "1.0", "nan"]
    # Nor does the footer have any: it would leave the NaN out, and for Spark NaN is greater than any number.
    footer = pq.read_metadata(tmp_path / table.uri / files[0].path)
    assert not footer.row_group(0).column(batch.schema.names.index("value")).is_stats_set


@examples(25)
@given(st.lists(st.integers(0, 4), max_size=60), st.booleans())
def test_a_batch_parts_by_day_without_loss_and_in_order(days: list[int], encoded: bool) -> None:
    column = pa.array(days, pa.int32()).cast(pa.date32())
    batch = pa.RecordBatch.from_arrays(
        [pa.array(range(len(days))), column.dictionary_encode() if encoded else column], names=["n", "partition_date"]
    )
    parts = list(split_by_partition(batch, ["partition_date"])) if days else []
    assert [value for value, _ in parts] == list(dict.fromkeys(value for value, _ in parts))
    for value, rows in parts:
        day = pa.scalar(value).cast(pa.date32()).value
        assert rows["n"].to_pylist() == [n for n, d in enumerate(days) if d == day]
    assert sum(rows.num_rows for _, rows in parts) == len(days)


def test_a_batch_of_one_day_is_passed_on_untouched() -> None:
    batch = make(100)
    [(value, rows)] = split_by_partition(batch, ["partition_date"])
    assert value == "2026-11-03"
    assert rows is batch


def test_few_files_are_open_and_little_waits_however_many_days(tmp_path: Path) -> None:
    stage = ParquetStage(TableLocation.parse(tmp_path), PI_TIMESERIES, open_files=2, stage_bytes=20_000)
    batches = [make(600, days=6, seed=seed) for seed in range(8)]
    for batch in batches:
        stage.write(batch)
        assert len(stage._files) <= 2
        assert sum(w.size_bytes for w in stage._waiting.values()) <= 20_000
    files = stage.close()
    assert stage.rows == sum(f.rows for f in files) == 4800
    assert len({f.partition_values["partition_date"] for f in files}) == 6
    assert len({f.path for f in files}) == len(files) > 6  # closed early, begun anew


def test_what_is_being_encoded_is_never_more_than_two_parts(tmp_path: Path) -> None:
    """Parts that are on their way into a file are memory, too, and are not counted as waiting any more."""
    stage = ParquetStage(TableLocation.parse(tmp_path), PI_TIMESERIES, stage_bytes=1)
    stage.write(make(600, days=6))
    assert (len(stage._files), stage._waiting) == (6, {})
    assert len(stage._running) <= 2
    stage.abort()


def test_nothing_stays_open_or_behind_after_an_abort(tmp_path: Path) -> None:
    stage = ParquetStage(TableLocation.parse(tmp_path), PI_TIMESERIES, open_files=1, stage_bytes=1000)
    stage.write(make(500, days=3))
    assert list(tmp_path.rglob("*.parquet"))
    stage.abort()
    assert list(tmp_path.rglob("*.parquet")) == []
    assert stage.close() == ()


def test_a_column_that_is_missing_is_our_bug_and_says_so(tmp_path: Path) -> None:
    stage = ParquetStage(TableLocation.parse(tmp_path), PI_TIMESERIES)
    with pytest.raises(KeyError, match="units"):
        stage.write(make(5).drop_columns(["units"]))
