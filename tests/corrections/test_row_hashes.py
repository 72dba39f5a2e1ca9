"""A digest says the same of the same events, however they are laid out, and other things of others."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corrections.events import TRUTH, Event, batch_of, digests, row_hashes
from writers import Digest
from writers.row_hash import row_hashes as hashes_of
from writers.row_hash import signed
from writers.tables import PI_TIMESERIES

FLOATS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
TEXTS = st.one_of(st.none(), st.text(max_size=3))
FLAGS = st.one_of(st.none(), st.booleans())
EVENTS = st.builds(
    Event,
    tag=st.sampled_from("ab"),
    at=st.integers(-5, 5),
    sequence=st.integers(0, 1),
    value=FLOATS,
    text=TEXTS,
    code=st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    kind=st.sampled_from(["number", "string", None]),
    flags=st.tuples(FLAGS, FLAGS, FLAGS, FLAGS),
    units=TEXTS,
    read_at=st.integers(0, 3),
)


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.cast(PI_TIMESERIES.schema)


def encoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def truth(event: Event) -> tuple[object, ...]:
    value = event.value
    shown = "NaN" if value is not None and math.isnan(value) else value
    return (event.at, event.sequence, shown, event.text, event.code, event.kind, event.flags, event.units)


@given(st.lists(EVENTS, max_size=12), st.integers(0, 12))
def test_rows_are_alike_in_hash_exactly_when_they_are_alike_in_truth(events: list[Event], cut: int) -> None:
    batch = batch_of(events)
    hashes = row_hashes(batch).tolist()
    for row, hashed in zip(events, hashes, strict=True):
        for other, other_hash in zip(events, hashes, strict=True):
            assert (hashed == other_hash) == (truth(row) == truth(other))
    # Neither encoding nor batching changes anything, nor where in an array a batch lies.
    assert row_hashes(encoded(plain(batch))).tolist() == hashes
    assert row_hashes(plain(encoded(batch))).tolist() == hashes
    assert [*row_hashes(batch.slice(0, cut)).tolist(), *row_hashes(batch.slice(cut)).tolist()] == hashes
    assert [*row_hashes(encoded(batch).slice(0, cut)), *row_hashes(encoded(batch).slice(cut))] == hashes


@given(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=5))
def test_a_null_is_one_wherever_a_dictionary_keeps_it(codes: list[int | None]) -> None:
    texts = pa.array(["a", None, "b"], pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), texts)
    names = ["units", "good"]
    flags = pa.array([True] * len(codes))
    dictionary = pa.RecordBatch.from_arrays([column, flags], names=names)
    texts_alone = pa.RecordBatch.from_arrays([column.dictionary_decode(), flags], names=names)
    assert hashes_of(dictionary, names).tolist() == hashes_of(texts_alone, names).tolist()


def test_what_we_say_of_an_event_is_no_part_of_it() -> None:
    batch = batch_of([Event("a", 1, value=2.0)])
    others = batch
    for name in ("tag_webid", "tag_name", "ingestion_timestamp", "partition_date"):
        others = others.drop_columns([name])
    assert row_hashes(others).tolist() == row_hashes(batch).tolist()
    assert set(TRUTH) == set(others.schema.names)


def test_zeros_of_both_signs_are_one_and_so_are_all_kinds_of_nan() -> None:
    values = np.array([0, 1 << 63, 0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000000], np.uint64)
    hashes = [row_hashes(batch_of([Event("a", 1, value=v)]))[0] for v in values.view(np.float64).tolist()]
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3]
    assert len({*hashes, row_hashes(batch_of([Event("a", 1, value=None)]))[0]}) == 4


def test_the_numbers_never_change() -> None:
    """They are stored: a new version must find what an old one wrote."""
    events = [
        Event("a", 1_700_000_000_000_000, value=1.5, units="°C"),
        Event(
            "a", -1, sequence=2, value=None, text="Bad Input", code=307, kind="system", flags=(False, True, None, False)
        ),
        Event("a", 0, value=math.nan),
    ]
    expected = [2848731357104636915, 8347680062664193609, 11106659117621613050]
    assert row_hashes(batch_of(events)).tolist() == expected
    script = (
        "from tests.corrections.events import Event, batch_of, row_hashes;"
        "print(row_hashes(batch_of([Event('a', 1_700_000_000_000_000, value=1.5, units='°C')]))[0])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == [str(expected[0])]


@given(st.lists(EVENTS, max_size=20), st.randoms())
def test_digests_of_tags_do_not_depend_on_the_order(events: list[Event], rng) -> None:
    def found(rows: list[Event]) -> tuple[Digest, ...]:
        return digests(batch_of(rows), np.array(["ab".index(e.tag) for e in rows], np.int64), 3)

    shuffled = list(events)
    rng.shuffle(shuffled)
    whole = found(events)
    assert found(shuffled) == whole
    assert whole[2] == Digest()
    mine = [row_hashes(batch_of([e]))[0] for e in events if e.tag == "a"]
    assert whole[0] == Digest(len(mine), sum(map(int, mine)) % 2**64)
    half = len(events) // 2
    assert tuple(x + y for x, y in zip(found(events[:half]), found(events[half:]), strict=True)) == whole
    assert Digest.of(row_hashes(batch_of(events))) == whole[0] + whole[1]


@pytest.mark.parametrize(
    ("total", "column"), [(0, 0), (1, 1), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1)]
)
def test_a_total_fits_into_a_column_with_a_sign(total: int, column: int) -> None:
    assert Digest(1, total).signed == column
    assert signed(column) == column
