"""A mirror writes what changed: nothing for nothing, new rows in new files, and only files that hold a changed row."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SchemaDriftError
from tests.contract.conftest import of_whole_runs
from tests.crash.process import forked
from tests.examples import examples
from tests.memory_lakehouse import MemoryLakehouse, OpenMemoryTable
from tests.mirrors.things import DAY, NOON, SPEC, THINGS, commits, files_of, stored, table_of, things, with_file_rows
from tests.variants import first_of
from writers import open_lakehouse
from writers.mirrors import mirror as module
from writers.mirrors.mirror import Listing, Mirror, SyncReceipt, sync
from writers.ports import Lakehouse

MANY = {("a", n): f"text {n}" for n in range(100)}


def brought(
    lakehouse: Lakehouse, wanted: dict, *, now: int = NOON, mirror: Mirror = THINGS, on_step=lambda _step: None
) -> SyncReceipt:
    return sync(lakehouse, mirror, Listing(things(wanted), now, complete=True), on_step=on_step)


def merged_in_memory(
    mirror: Mirror, current: pa.Table, seen: pa.Table, *, now: int
) -> tuple[pa.Table | None, SyncReceipt]:
    """What the table shall hold; None if it holds that already. As `sync`, without a table."""
    current = current.select(mirror.spec.schema.names).cast(mirror.spec.schema)
    seen = module._of_source(mirror, seen)
    kept = current.select(mirror.kept_columns)
    listing = Listing(seen, now, complete=True)
    found = module.difference(mirror, kept, module._hashes(mirror, current), listing, module._hashes(mirror, seen))
    if not found.written.any():
        return None, found.receipt
    stays = ~found.written[: current.num_rows]
    unseen = current.filter(pa.array(~stays & (found.seen_at[: current.num_rows] < 0)))
    written, _ = module._rows_to_write(mirror, found, seen, unseen, current.num_rows)
    rows = pa.concat_tables([current.filter(pa.array(stays)), written])
    return rows.sort_by([(name, "ascending") for name in mirror.spec.grain.key]), found.receipt


def texts(lakehouse: Lakehouse) -> dict:
    """Of the things that are there."""
    return {key: text for key, (text, gone) in stored(lakehouse).items() if gone is None}


def test_what_is_as_it_was_is_not_committed_on_any_day(destination) -> None:
    assert brought(destination.lakehouse(), MANY) == SyncReceipt(100, 0, 0)
    before = files_of(destination.lakehouse())
    assert len(before) == 10
    for days in (0, 1, 30):
        assert brought(destination.lakehouse(), MANY, now=NOON + days * DAY) == SyncReceipt(0, 0, 0)
    assert commits(destination.lakehouse()) == 1
    assert files_of(destination.lakehouse()) == before


@of_whole_runs
def test_only_files_that_hold_a_changed_row_are_replaced(destination) -> None:
    brought(destination.lakehouse(), MANY)
    before = files_of(destination.lakehouse())
    changed = MANY | {("a", 3): "new", ("a", 7): None, ("a", 55): "newer"}
    del changed["a", 51]
    assert brought(destination.lakehouse(), changed, now=NOON + 1) == SyncReceipt(0, 3, 1)
    assert len(before - files_of(destination.lakehouse())) == 2
    assert texts(destination.lakehouse()) == changed
    assert stored(destination.lakehouse())["a", 51] == ("text 51", NOON + 1)
    kept = files_of(destination.lakehouse())
    assert brought(destination.lakehouse(), {**changed, ("b", 1): "x"}) == SyncReceipt(1, 0, 0)
    assert kept < files_of(destination.lakehouse()), "what is only new is appended"
    assert brought(destination.lakehouse(), {("b", 2): "x"}, now=NOON + 2) == SyncReceipt(1, 0, 1), (
        "site a was not read"
    )
    assert commits(destination.lakehouse()) == 4


def test_a_table_whose_files_cannot_be_removed_is_replaced_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse = MemoryLakehouse()
    brought(lakehouse, MANY)

    def refuse(_self: OpenMemoryTable) -> None:
        raise SchemaDriftError("a feature of the table is not known")

    monkeypatch.setattr(OpenMemoryTable, "allow_removing", refuse)
    before = files_of(lakehouse)
    assert brought(lakehouse, MANY, now=NOON + DAY) == SyncReceipt(0, 0, 0)
    changed = {key: text for key, text in MANY.items() if key != ("a", 1)} | {("a", 200): "x", ("a", 2): "y"}
    assert brought(lakehouse, changed) == SyncReceipt(1, 1, 1)
    assert not before & files_of(lakehouse)
    assert texts(lakehouse) == changed
    assert stored(lakehouse)["a", 1] == ("text 1", NOON)


def test_a_file_of_which_others_have_deleted_rows_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse = MemoryLakehouse()
    brought(lakehouse, {("a", 1): "x", ("a", 2): "y"})
    keyed, table, read = THINGS.keyed(), table_of(lakehouse), OpenMemoryTable.read_file
    assert keyed.read(table).rows["number"].to_pylist() == [1, 2]
    [file] = table.live_files(0, 1)
    marked = replace(file, deletion_vector={"cardinality": 1})
    monkeypatch.setattr(OpenMemoryTable, "live_files", lambda *_: [marked])
    monkeypatch.setattr(OpenMemoryTable, "read_file", lambda *of_file: (batch.slice(1) for batch in read(*of_file)))
    assert keyed.read(table).rows["number"].to_pylist() == [2]


def test_columns_of_others_stay_in_rows_that_do_not_change(tmp_path: Path) -> None:
    from deltalake import DeltaTable, Field
    from deltalake.schema import PrimitiveType

    lakehouse = open_lakehouse(tmp_path)
    brought(lakehouse, {("a", 1): "x", ("a", 2): "y"})
    place = table_of(lakehouse).uri
    DeltaTable(place).alter.add_columns([Field("note", PrimitiveType("string"))])
    DeltaTable(place).update(predicate="number = 1", updates={"note": "'mine'"})
    brought(lakehouse, {("a", 1): "x", ("a", 2): "z"})
    rows = pa.table(DeltaTable(place).to_pyarrow_table()).to_pylist()
    assert {row["number"]: (row["text"], row["note"]) for row in rows} == {1: ("x", "mine"), 2: ("z", None)}


def test_many_small_files_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writers.corrections.by_key._MANY_SMALL_FILES", 4)
    lakehouse, wanted = open_lakehouse(tmp_path), {}
    for n in range(7):
        wanted["a", n] = "x"
        brought(lakehouse, wanted)
    assert len(files_of(lakehouse)) == 2
    assert texts(lakehouse) == wanted


@pytest.mark.parametrize("rows", [1, 3])
def test_a_key_may_be_empty(rows: int) -> None:
    lakehouse, mirror = MemoryLakehouse(), with_file_rows(rows)
    brought(lakehouse, {(None, 1): "x", ("a", 1): "y"}, mirror=mirror)
    assert brought(lakehouse, {(None, 1): "x", ("a", 1): "z"}, mirror=mirror) == SyncReceipt(0, 1, 0)
    assert texts(lakehouse) == {(None, 1): "x", ("a", 1): "z"}


shown = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.integers(0, 12)), st.sampled_from(["x", "y", "", None]), max_size=12
)


@examples(100)
@given(st.lists(shown, min_size=1, max_size=6), st.integers(1, 4), st.booleans())
def test_the_table_is_what_a_dictionary_would_be(rounds: list[dict], rows: int, whole: bool) -> None:
    """Also as the pure merge has it, file by file or as a whole."""
    lakehouse, mirror = MemoryLakehouse(), with_file_rows(rows)
    with pytest.MonkeyPatch.context() as patch:
        if whole:
            patch.setattr(OpenMemoryTable, "allow_removing", _refuse)
        model: dict = {}
        merged = SPEC.schema.empty_table()
        for n, wanted in enumerate(rounds):
            now, before = NOON + n * DAY, dict(model)
            sites = {site for site, _ in wanted}
            model |= {key: (text, None) for key, text in wanted.items()}
            for key, (text, gone) in before.items():
                if key[0] in sites and key not in wanted:
                    model[key] = (text, now if gone is None else gone)
            version = commits(lakehouse)
            receipt = brought(lakehouse, wanted, now=now, mirror=mirror)
            after, pure = merged_in_memory(mirror, merged, things(wanted), now=now)
            merged = merged if after is None else after
            assert receipt == pure
            assert stored(lakehouse) == model
            assert commits(lakehouse) == version + (model != before)
            assert sorted(map(repr, table_of(lakehouse).read().read_all().to_pylist())) == sorted(
                map(repr, merged.to_pylist())
            )
            assert [receipt.added, receipt.missing] == [
                len(model.keys() - before.keys()),
                sum(gone == now for _, gone in model.values()),
            ]


def _refuse(_self: OpenMemoryTable) -> None:
    raise SchemaDriftError("a feature of the table is not known")


# --- processes -------------------------------------------------------------------------


def _process(root: str, wanted: dict, step: str) -> None:
    def on_step(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    brought(open_lakehouse(root), wanted, now=NOON + DAY, on_step=on_step)


@pytest.mark.parametrize("step", first_of(["after_things_staging", "before_things_staging", "after_things_commit"]))
def test_a_killed_sync_is_repeated(tmp_path: Path, step: str) -> None:
    brought(open_lakehouse(tmp_path), MANY)
    changed = MANY | {("a", 3): "new", ("a", 500): "more"}
    del changed["a", 77]
    process = forked(_process, str(tmp_path), changed, step)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    lakehouse = open_lakehouse(tmp_path)
    assert texts(lakehouse) == (changed if step == "after_things_commit" else MANY)
    brought(lakehouse, changed, now=NOON + DAY)
    assert texts(lakehouse) == changed
    assert commits(lakehouse) == 2


def test_syncs_of_several_processes_lose_nothing(tmp_path: Path) -> None:
    """Each has a site of its own, and changes it again and again."""
    brought(open_lakehouse(tmp_path), {("common", n): "x" for n in range(30)}, mirror=with_file_rows(100))
    processes = [forked(_rival, str(tmp_path), site) for site in "abc"]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = texts(open_lakehouse(tmp_path))
    expected = {("common", n): "x" for n in range(30)} | {(site, n): f"{n} of 4" for site in "abc" for n in range(5)}
    assert found == expected


def _rival(root: str, site: str) -> None:
    from config.errors import CommitConflictError

    for turn in range(5):
        while True:
            try:
                brought(
                    open_lakehouse(root), {(site, n): f"{n} of {turn}" for n in range(5)}, mirror=with_file_rows(100)
                )
            except CommitConflictError:
                continue
            break
