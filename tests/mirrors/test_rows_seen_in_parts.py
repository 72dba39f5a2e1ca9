"""Rows that come in pieces, some of them twice, make the same table as the rows at once, in the same one commit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.memory_lakehouse import MemoryLakehouse, OpenMemoryTable
from tests.mirrors.test_writing_by_key import _refuse
from tests.mirrors.things import DAY, NOON, commits, table_of, things, with_file_rows
from writers.mirrors.mirror import Listing, SyncReceipt, sync
from writers.mirrors.seen import HeldRows
from writers.ports import Lakehouse

keys = st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 12))
shown = st.dictionaries(keys, st.sampled_from(["x", "y", None]), max_size=14)
# What a source shows in the end, and pages that repeat a part of it, maybe as it was before.
rounds = st.lists(st.tuples(shown, st.lists(shown, max_size=2), st.booleans()), min_size=1, max_size=4)


def content(lakehouse: Lakehouse) -> list[str]:
    return sorted(map(repr, table_of(lakehouse).read().read_all().to_pylist()))


@examples(60)
@given(rounds, st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_rows_in_pieces_are_the_rows_at_once(
    found: list[tuple[dict, list[dict], bool]], file_rows: int, part_rows: int, whole: bool
) -> None:
    plain, streamed, mirror = MemoryLakehouse(), MemoryLakehouse(), with_file_rows(file_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("writers.mirrors.mirror._PART_ROWS", part_rows)
        if whole:
            patch.setattr(OpenMemoryTable, "allow_removing", _refuse)
        for n, (wanted, earlier, complete) in enumerate(found):
            seen = mirror.collect()
            for page in (*earlier, wanted):
                seen.add(things({key: text for key, text in page.items() if key in wanted}))
            receipts = [
                sync(lakehouse, mirror, Listing(rows, NOON + n * DAY, complete, ["b"]), on_step=lambda _: None)
                for lakehouse, rows in ((plain, things(wanted)), (streamed, seen))
            ]
            assert receipts[0] == receipts[1]
            assert unseen(receipts[0]) == unseen(receipts[1])
            assert content(streamed) == content(plain)
            assert commits(streamed) == commits(plain)
            assert seen.rows.num_rows == len(wanted)


def unseen(receipt: SyncReceipt) -> list[str]:
    assert receipt.unseen is not None
    return sorted(map(repr, receipt.unseen.to_pylist()))


def test_new_rows_are_written_in_the_order_of_their_keys_across_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a reader who looks for some of them skips the other files."""
    monkeypatch.setattr("writers.mirrors.mirror._PART_ROWS", 10)
    lakehouse, mirror = MemoryLakehouse(), with_file_rows(5)
    seen = mirror.collect()
    for first in range(7):
        seen.add(things({("a", n): "x" for n in range(first, 40, 7)}))
    sync(lakehouse, mirror, Listing(seen, NOON), on_step=lambda _: None)
    table = table_of(lakehouse)
    spans = sorted(
        (min(numbers), max(numbers))
        for file in table.live_files(0, 1)
        if (numbers := [n for batch in table.read_file(file, ["number"]) for n in batch.column(0).to_pylist()])
    )
    assert spans == [(n, n + 4) for n in range(0, 40, 5)]


def test_held_rows_are_a_small_part_of_their_size_and_come_back_as_they_were() -> None:
    rows = things({("a", n): f"text {n % 50}" for n in range(20_000)})
    held = HeldRows(rows.schema)
    for first in range(0, rows.num_rows, 5000):
        held.add(rows.slice(first, 5000))
    assert held.num_rows == rows.num_rows
    assert held.size_bytes * 2 < rows.nbytes
    assert pa.concat_tables(held.parts()).equals(rows)
    assert pa.concat_tables(held.parts(["text"])).equals(rows.select(["text"]))
    chosen = np.array([19_999, 0, 5001, 4999])
    assert held.take(chosen).to_pylist() == [rows.slice(n, 1).to_pylist()[0] for n in sorted(chosen.tolist())]
    assert held.take(np.empty(0, np.int64)).num_rows == 0
