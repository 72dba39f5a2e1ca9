"""Rows that other engines have deleted are gone for us: our reading against delta-rs, byte for byte."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyroaring
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from tests.landing.lake import Lake, land
from writers.log.deletion_vectors import decode_base85, deleted_rows, inline_or_path, slice_of_file
from writers.storage.location import TableLocation
from writers.storage.parquet_read import read_files

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def encode_base85(content: bytes) -> str:
    found = ""
    for (word,) in struct.iter_unpack(">I", content):
        found += "".join(ALPHABET[word // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return found


def serialized(rows, *, runs: bool) -> bytes:
    bitmap = pyroaring.BitMap64(rows)
    if runs:
        bitmap.run_optimize()
    return struct.pack("<I", 1681511377) + bitmap.serialize()


def inline(content: bytes, cardinality: int) -> dict:
    padded = content + bytes(-len(content) % 4)
    size = len(content)
    return {
        "storageType": "i",
        "pathOrInlineDv": encode_base85(padded),
        "sizeInBytes": size,
        "cardinality": cardinality,
    }


def in_file(folder: Path, content: bytes, cardinality: int) -> dict:
    """Two vectors in one file; ours is the second."""
    uuid = uuid4()
    block = struct.pack(">i", len(content)) + content + struct.pack(">I", zlib.crc32(content))
    (folder / f"deletion_vector_{uuid}.bin").write_bytes(b"\x01" + block + block)
    return {
        "storageType": "u",
        "pathOrInlineDv": encode_base85(uuid.bytes),
        "offset": 1 + len(block),
        "sizeInBytes": len(content),
        "cardinality": cardinality,
    }


def read_all(folder: Path, vector: dict) -> list[int]:
    content = (folder / inline_or_path(vector)).read_bytes()
    return deleted_rows(slice_of_file(content, vector), vector).tolist()


ROWS = st.lists(
    st.one_of(
        st.builds(lambda n: [n], st.integers(0, 2**34)),
        st.builds(lambda start, many: list(range(start, start + many)), st.integers(0, 2**20), st.integers(0, 9000)),
        st.builds(
            lambda start, many: list(range(start, start + 2 * many, 2)), st.integers(0, 2**20), st.integers(0, 9000)
        ),
    ),
    max_size=5,
)


@given(ROWS, st.booleans())
def test_every_kind_of_container_is_read(pieces, runs) -> None:
    rows = sorted({row for piece in pieces for row in piece})
    content = serialized(rows, runs=runs)
    vector = inline(content, len(rows))
    found = inline_or_path(vector)
    assert found == content
    assert deleted_rows(content, vector).tolist() == rows


@given(st.binary(max_size=64).filter(lambda b: len(b) % 4 == 0))
def test_base_85_comes_back(content: bytes) -> None:
    assert decode_base85(encode_base85(content)) == content


@pytest.mark.parametrize("damage", ["checksum", "size", "magic", "cardinality", "letters", "kind"])
def test_damage_is_an_error_and_never_a_row(damage: str, tmp_path: Path) -> None:
    content = serialized([1, 2], runs=False)
    if damage == "magic":
        content = bytes(4) + content[4:]
    vector = in_file(tmp_path, content, 3 if damage == "cardinality" else 2)
    [file] = tmp_path.iterdir()
    if damage == "checksum":
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    if damage == "size":
        vector["sizeInBytes"] += 1
    if damage == "letters":
        vector["pathOrInlineDv"] = "~" * 20
    if damage == "kind":
        vector["storageType"] = "x"
    with pytest.raises(ValueError, match="deletion vector"):
        read_all(tmp_path, vector)


@pytest.mark.parametrize("where", ["inline", "file"])
@pytest.mark.parametrize("runs", [False, True])
def test_we_and_delta_rs_see_the_same_rows(tmp_path: Path, where: str, runs: bool) -> None:
    rows = 200_000
    write_deltalake(
        str(tmp_path),
        pa.table({"n": pa.array(np.arange(rows))}),
        configuration={"delta.enableDeletionVectors": "true"},
    )
    gone = sorted({0, rows - 1, *range(70_000, 90_000), *range(131_072, 150_000, 2)})
    log = tmp_path / "_delta_log"
    [add] = [a["add"] for line in (log / f"{0:020}.json").read_text().splitlines() if "add" in (a := json.loads(line))]
    content = serialized(gone, runs=runs)
    vector = inline(content, len(gone)) if where == "inline" else in_file(tmp_path, content, len(gone))
    remove = {"path": add["path"], "dataChange": True, "deletionTimestamp": 1}
    deleted = {**add, "deletionVector": vector}
    (log / f"{1:020}.json").write_text("\n".join(json.dumps(a) for a in ({"remove": remove}, {"add": deleted})))
    theirs = QueryBuilder().register("t", DeltaTable(str(tmp_path))).execute("SELECT n FROM t ORDER BY n")
    batches = read_files(TableLocation.parse(tmp_path), [deleted], pa.schema([("n", pa.int64())]))
    ours = pa.Table.from_batches(batches)["n"].to_pylist()
    assert ours == pa.table(theirs.read_all())["n"].to_pylist()
    assert len(ours) == rows - len(gone)


def test_rows_deleted_from_a_managed_table_are_gone_and_can_be_replaced(catalog, opened) -> None:
    """Somebody deletes the watermarks of a tag, so that it is read again."""
    lake = Lake(opened())
    landing = lake.opened()
    land(landing, "a", 0, 3)
    table = catalog.tables["main.checkpoints.pi_watermarks"]
    folder = Path(urlsplit(table.location).path)
    published = folder / "_delta_log" / f"{1:020}.json"
    lines = [json.loads(line) for line in published.read_text().splitlines()]
    for action in lines:
        if "add" in action:
            action["add"]["deletionVector"] = in_file(folder, serialized([0], runs=False), 1)
    published.write_text("\n".join(map(json.dumps, lines)))
    assert lake.landing().open() == {}
    checkpoint = opened().table(landing._checkpoint.spec).open()
    assert checkpoint.read().read_all().num_rows == 0
