"""Records by key: what every destination promises of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import CommitConflictError, FencedError, LostStateError, SchemaDriftError
from tests.contract.conftest import of_whole_runs, on_managed_s3
from tests.keyed.records import SPEC, Job, files_of, keys, land, opened, rows_of, stored
from tests.memory_lakehouse import MemoryLakehouse, OpenMemoryTable
from writers import PI_WATERMARKS, KeyedReceipt, Move, open_lakehouse


def counts(receipt: KeyedReceipt) -> tuple[int, int, int, int]:
    return receipt.inserted, receipt.changed, receipt.deleted, receipt.unchanged


@on_managed_s3
def test_the_life_of_records(destination) -> None:
    landing = opened(destination.lakehouse())
    ended, still_open, other = Job("a", 5, 9), Job("b", 7), Job("x", 6, 8, source="t")
    assert counts(land(landing, ended, still_open, to=10)) == (2, 0, 0, 0)
    land(landing, other, to=10, source="t")
    assert stored(destination.lakehouse()) == {"a": ended, "b": still_open, "x": other}

    # Read again, later: what did not change causes no commit of data; the watermark moves all the same.
    again = land(landing, ended, still_open, to=20, read_at=99)
    assert (counts(again), again.data) == ((0, 0, 0, 2), None)
    assert again.watermarks is not None
    nothing = land(landing, ended, to=20)
    assert (nothing.data, nothing.watermarks) == (None, None)

    closed, edited = Job("b", 7, 15), Job("a", 5, 9, name="renamed")
    assert counts(land(landing, closed, edited, Job("c", 18), to=30)) == (1, 2, 0, 0)
    assert counts(land(landing, to=30, gone=["c", "never there"])) == (0, 0, 1, 0)
    assert stored(destination.lakehouse()) == {"a": edited, "b": closed, "x": other}

    # A window that is read again without a record: the record is gone. Others, and other sources, stay.
    assert counts(land(landing, edited, to=30, windows=[(5, 7)])) == (0, 0, 0, 1)
    assert counts(land(landing, to=30, windows=[(7, 8)])) == (0, 0, 1, 0)
    assert stored(destination.lakehouse()) == {"a": edited, "x": other}
    assert counts(land(landing, closed, to=40)) == (1, 0, 0, 0), "a key may come back"
    assert counts(land(landing, closed, to=40, windows=[(None, None)])) == (0, 0, 1, 1)
    assert stored(destination.lakehouse()) == {"b": closed, "x": other}

    marks = opened(destination.lakehouse(), run_id="next").open()
    assert {name: (mark.low, mark.high, mark.rows_total) for name, mark in marks.items()} == {
        "s": (0, 40, 4),
        "t": (0, 10, 1),
    }


@of_whole_runs
def test_only_files_that_hold_a_changed_record_are_replaced(destination) -> None:
    jobs = [Job(f"{n:03}", n, n + 1) for n in range(100)]
    land(opened(destination.lakehouse()), *jobs, to=100)
    before = files_of(destination.lakehouse())
    assert len(before) == 10
    receipt = land(opened(destination.lakehouse()), jobs[3]._replace(name="new"), to=200, gone=["005", "077"])
    assert (counts(receipt), receipt.files_rewritten) == ((0, 1, 2, 0), 2)
    assert len(before - files_of(destination.lakehouse())) == 2
    assert len(stored(destination.lakehouse())) == 98
    grown = files_of(destination.lakehouse())
    land(opened(destination.lakehouse()), Job("more", 150), to=200)
    assert grown < files_of(destination.lakehouse())


def test_the_last_word_of_a_key_counts() -> None:
    lakehouse = MemoryLakehouse()
    landing = opened(lakehouse)
    batch = landing.begin()
    batch.upsert(rows_of([Job("a", 1, name="first"), Job("b", 1)]))
    batch.delete(keys("a", "b"))
    batch.upsert(rows_of([Job("a", 1, name="second"), Job("a", 1, name="third")]))
    assert counts(batch.commit(Move("s", 0, 5))) == (1, 0, 0, 0)
    assert stored(lakehouse) == {"a": Job("a", 1, name="third")}


def test_a_record_without_a_time_is_in_no_window() -> None:
    lakehouse = MemoryLakehouse()
    landing = opened(lakehouse)
    land(landing, Job("a", None), Job("b", 3), to=5)
    assert counts(land(landing, to=5, windows=[(None, 10)])) == (0, 0, 1, 0)
    assert counts(land(landing, to=5, windows=[(None, None)])) == (0, 0, 1, 0)


@of_whole_runs
def test_a_window_that_leaves_a_gap_lands_nothing(destination) -> None:
    landing = opened(destination.lakehouse())
    land(landing, Job("a", 1), to=5)
    batch = landing.begin()
    batch.upsert(rows_of([Job("b", 9)]))
    with pytest.raises(ValueError, match="does not touch"):
        batch.commit(Move("s", 8, 10))
    land(landing, Job("c", 1), to=6)
    assert stored(destination.lakehouse()).keys() == {"a", "c"}


def test_a_table_whose_files_cannot_be_removed_is_replaced_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse = MemoryLakehouse()
    landing = opened(lakehouse)
    land(landing, Job("a", 1), Job("b", 2), to=5)

    def refuse(_self: OpenMemoryTable) -> None:
        raise SchemaDriftError("a feature of the table is not known")

    monkeypatch.setattr(OpenMemoryTable, "allow_removing", refuse)
    assert land(landing, Job("a", 1), to=5).data is None
    assert counts(land(landing, Job("a", 1, 3), Job("c", 1), to=5, gone=["b"])) == (1, 1, 1, 0)
    assert stored(lakehouse) == {"a": Job("a", 1, 3), "c": Job("c", 1)}
    assert counts(land(landing, to=5, windows=[(None, None)])) == (0, 0, 2, 0)
    assert stored(lakehouse) == {}


# --- rivals ----------------------------------------------------------------------------


def test_of_two_writers_of_a_shard_the_second_is_fenced(destination) -> None:
    first, second = opened(destination.lakehouse(), run_id="first"), opened(destination.lakehouse(), run_id="second")
    land(first, Job("a", 1), to=5)
    with pytest.raises(FencedError):
        land(second, Job("a", 1, name="other"), to=5)
    assert stored(destination.lakehouse()) == {"a": Job("a", 1)}
    assert counts(land(opened(destination.lakehouse()), Job("a", 1, 2), to=6)) == (0, 1, 0, 0)


def test_pipelines_that_bring_one_record_at_once_do_not_double_it(destination) -> None:
    first, second = opened(destination.lakehouse(), pipeline="one"), opened(destination.lakehouse(), pipeline="two")
    land(first, Job("a", 1), to=5)
    assert counts(land(second, Job("a", 1, 2), Job("b", 1), to=5)) == (1, 1, 0, 0)
    assert counts(land(first, Job("a", 1, 3), to=5)) == (0, 1, 0, 0)
    assert stored(destination.lakehouse()) == {"a": Job("a", 1, 3), "b": Job("b", 1)}


def test_who_loses_again_and_again_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse = MemoryLakehouse()
    landing = opened(lakehouse)
    land(landing, Job("a", 1), to=5)
    turns = iter(range(100))

    def rival(step: str) -> None:
        if step == "after_staging":
            land(opened(lakehouse, pipeline="rival"), Job("a", 1, name=str(next(turns))), to=5)

    landing._landing.on_step = rival
    with pytest.raises(CommitConflictError):
        land(landing, Job("a", 1, 2), to=6)
    assert next(turns) == 16


def test_a_restored_table_is_noticed(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    lakehouse = open_lakehouse(tmp_path)
    landing = opened(lakehouse)
    land(landing, Job("a", 1), to=5)
    land(landing, Job("b", 2), to=6)
    table = lakehouse.table(SPEC).open()
    DeltaTable(table.uri).restore(table.version - 1)
    with pytest.raises(LostStateError, match="has changed the data by RESTORE"):
        opened(lakehouse)


def test_watermarks_that_were_deleted_are_noticed(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    lakehouse = open_lakehouse(tmp_path)
    land(opened(lakehouse), Job("a", 1), to=5)
    DeltaTable(lakehouse.table(PI_WATERMARKS).open().uri).delete()
    with pytest.raises(LostStateError, match="has changed the watermarks by DELETE"):
        opened(lakehouse)


def test_records_that_another_writer_has_deleted_come_back_when_they_are_read(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    lakehouse = open_lakehouse(tmp_path)
    landing = opened(lakehouse)
    land(landing, Job("a", 1), Job("b", 1), to=5)
    DeltaTable(lakehouse.table(SPEC).open().uri).delete("job_id = 'a'")
    assert counts(land(landing, Job("a", 1), Job("b", 1, 2), to=6)) == (1, 1, 0, 0)
    assert stored(lakehouse) == {"a": Job("a", 1), "b": Job("b", 1, 2)}
