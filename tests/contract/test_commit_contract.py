"""What every destination promises, whoever decides its commits."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread

import pyarrow as pa
import pytest

from config.errors import CommitConflictError, FencedError
from tests.contract.conftest import Destination, on_managed_s3
from writers import PI_TIMESERIES, PI_WATERMARKS, Commit, CommitKey, CommitTable, StagedFile
from writers.commit_rules import find_commit

DAY = 86_400_000_000
ME, OTHER = "osipi/p/recorded/0-of-2", "osipi/p/recorded/1-of-2"

Rows = Callable[..., pa.RecordBatch]


def staged(table: CommitTable, *batches: pa.RecordBatch) -> tuple[StagedFile, ...]:
    stage = table.stage()
    for batch in batches:
        stage.write(batch)
    return stage.close()


def stored(table: CommitTable) -> list[tuple[str, int]]:
    found = table.open().read(["tag_webid", "timestamp"]).read_all()
    return sorted(zip(found["tag_webid"].to_pylist(), found["timestamp"].cast(pa.int64()).to_pylist(), strict=True))


@pytest.fixture
def new_table(destination) -> Callable[[], CommitTable]:
    return lambda: destination.lakehouse().table(PI_TIMESERIES)


def test_a_table_comes_into_being_when_it_is_opened(new_table) -> None:
    assert not new_table().exists()
    new_table().open()
    assert new_table().exists()
    assert stored(new_table()) == []
    assert new_table().open().last_sequence(ME) is None
    assert find_commit(new_table().open(), ME) is None


def test_of_many_that_create_a_table_at_once_one_does_and_none_disturbs_a_commit(
    destination: Destination, new_table, rows: Rows
) -> None:
    """A second creation on top of the first would be a change of metadata, which fails every commit under way."""
    tables = [new_table(), *(destination.beside().table(PI_TIMESERIES) for _ in range(5))]
    barrier = Barrier(len(tables))
    opened: list[CommitTable] = []

    def open_and_commit(number: int) -> None:
        barrier.wait()
        table = tables[number].open()
        table.commit(Commit(CommitKey(f"shard-{number}", 1), staged(table, rows(f"tag-{number}", [number]))))
        opened.append(table)

    threads = [Thread(target=open_and_commit, args=(n,)) for n in range(len(tables))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == len(tables)
    assert stored(new_table()) == [(f"tag-{n}", n) for n in range(len(tables))]


def test_staged_rows_are_invisible_until_they_are_committed(new_table, rows: Rows) -> None:
    table = new_table().open()
    files = staged(table, rows("a", [1, 2]))
    assert stored(new_table()) == []
    receipt = table.commit(Commit(CommitKey(ME, 1), files, metadata={"run_id": "r1", "note": "as given"}))
    assert (receipt.rows, receipt.files) == (2, 1)
    assert receipt.size_bytes == sum(f.size_bytes for f in files)
    assert stored(new_table()) == [("a", 1), ("a", 2)]


@on_managed_s3
def test_a_commit_is_read_back_with_its_number_version_and_metadata(new_table, rows: Rows) -> None:
    table = new_table().open()
    first = table.commit(Commit(CommitKey(ME, 1), staged(table, rows("a", [1])), metadata={"note": "one"}))
    table.commit(Commit(CommitKey(OTHER, 7), staged(table, rows("b", [1])), metadata={"note": "seven"}))
    for reader in (table, new_table().open()):
        assert (reader.last_sequence(ME), reader.last_sequence(OTHER)) == (1, 7)
        last = find_commit(reader, ME)
        assert last is not None
        assert (last.key, last.version, last.metadata["note"]) == (CommitKey(ME, 1), first.version, "one")


def test_the_log_says_who_has_committed_and_what_each_knew(new_table, rows: Rows) -> None:
    table, late = new_table().open(), new_table().open()
    begun = late.version
    first = table.commit(Commit(CommitKey(ME, 1), staged(table, rows("a", [1]))))
    last = late.commit(Commit(CommitKey(OTHER, 1), staged(late, rows("b", [1]))))
    for reader in (late, new_table().open()):
        assert reader.version == last.version
        newest = [entry for entry in reader.entries() if entry.version > begun]
        assert [(e.version, *e.sequences, e.seen) for e in newest] == [
            (last.version, OTHER, begun),
            (first.version, ME, begun),
        ]
        assert not any(entry.is_foreign for entry in newest)
        assert [entry.rows for entry in newest] == [1, 1]
        assert newest[0].at >= newest[1].at > 1_700_000_000_000_000, "microseconds since 1970"


def test_all_who_have_committed_are_known_at_once(new_table, rows: Rows) -> None:
    table, before = new_table().open(), new_table().open()
    for name, sequence in ((ME, 1), (OTHER, 7), (ME, 2)):
        table.commit(Commit(CommitKey(name, sequence), staged(table, rows("a", [sequence]))))
    assert before.last_sequences() == {}
    for reader in (table, new_table().open()):
        assert reader.last_sequences() == {ME: 2, OTHER: 7}


def test_a_handle_commits_again_and_again(new_table, rows: Rows) -> None:
    table = new_table().open()
    versions = [table.commit(Commit(CommitKey(ME, n), staged(table, rows("a", [n])))).version for n in range(1, 6)]
    assert versions == sorted(set(versions))
    assert stored(new_table()) == [("a", n) for n in range(1, 6)]


@on_managed_s3
def test_who_opened_before_another_committed_under_the_same_name_is_fenced(new_table, rows: Rows) -> None:
    late, quick = new_table().open(), new_table().open()
    quick.commit(Commit(CommitKey(ME, 1), staged(quick, rows("a", [1])), metadata={"run_id": "quick-run"}))
    for _ in range(2):  # it stays fenced, however often it tries
        with pytest.raises(FencedError, match="quick-run"):
            late.commit(Commit(CommitKey(ME, 1), staged(late, rows("a", [1]))))
    assert stored(new_table()) == [("a", 1)]


def test_commits_in_between_do_not_hide_that_another_was_there(new_table, rows: Rows) -> None:
    """A handle moves on with every commit of its own; what it then sees must still fence it."""
    late, quick = new_table().open(), new_table().open()
    quick.commit(Commit(CommitKey(ME, 1), staged(quick, rows("a", [1])), metadata={"run_id": "quick-run"}))
    late.commit(Commit(CommitKey(OTHER, 1), staged(late, rows("b", [1]))))
    with pytest.raises(FencedError, match="quick-run"):
        late.commit(Commit(CommitKey(ME, 1), staged(late, rows("a", [1]))))


def test_a_lower_number_is_refused_and_the_last_may_be_repeated(new_table, rows: Rows) -> None:
    table = new_table().open()
    table.commit(Commit(CommitKey(ME, 5), staged(table, rows("a", [1]))))
    table.commit(Commit(CommitKey(ME, 5), staged(table, rows("a", [2]))))
    with pytest.raises(FencedError):
        table.commit(Commit(CommitKey(ME, 4), staged(table, rows("a", [3]))))
    assert stored(new_table()) == [("a", 1), ("a", 2)]


def test_other_shards_do_not_disturb(new_table, rows: Rows) -> None:
    mine, theirs = new_table().open(), new_table().open()
    for n in (1, 2, 3):
        theirs.commit(Commit(CommitKey(OTHER, n), staged(theirs, rows("b", [n]))))
        mine.commit(Commit(CommitKey(ME, n), staged(mine, rows("a", [n]))))
    assert stored(new_table()) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]


@on_managed_s3
def test_of_many_racing_under_one_name_exactly_one_wins(new_table, rows: Rows) -> None:
    new_table().open()
    racers = [new_table().open() for _ in range(6)]
    barrier, outcomes = Barrier(len(racers)), []

    def race(number: int, table: CommitTable) -> None:
        files = staged(table, rows("a", [number]))
        barrier.wait()
        try:
            table.commit(Commit(CommitKey(ME, 1), files, metadata={"run_id": f"racer-{number}"}))
            outcomes.append(number)
        except FencedError as error:
            outcomes.append(error)

    threads = [Thread(target=race, args=item) for item in enumerate(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [o for o in outcomes if isinstance(o, int)]
    assert len(outcomes) == len(racers)
    assert all(f"racer-{winner}" in str(o) for o in outcomes if not isinstance(o, int))
    assert stored(new_table()) == [("a", winner)]


def test_many_racing_under_their_own_names_all_land(new_table, rows: Rows) -> None:
    new_table().open()
    outcomes = []

    def work(number: int) -> None:
        table = new_table().open()
        for n in (1, 2):
            outcomes.append(
                table.commit(Commit(CommitKey(f"shard-{number}", n), staged(table, rows(str(number), [n]))))
            )

    threads = [Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({o.version for o in outcomes}) == 8
    assert stored(new_table()) == sorted((str(s), n) for s in range(4) for n in (1, 2))


@on_managed_s3
def test_a_partition_is_replaced_and_the_others_stay(new_table, rows: Rows) -> None:
    table = new_table().open()
    table.commit(Commit(CommitKey(ME, 1), staged(table, rows("a", [1, DAY + 1]))))
    table.commit(
        Commit(CommitKey(ME, 2), staged(table, rows("b", [2])), replace_where={"partition_date": "1970-01-01"})
    )
    assert stored(new_table()) == [("a", DAY + 1), ("b", 2)]


def test_an_empty_condition_replaces_the_whole_table(new_table, rows: Rows) -> None:
    table = new_table().open()
    table.commit(Commit(CommitKey(ME, 1), staged(table, rows("a", [1, DAY + 1]))))
    table.commit(Commit(CommitKey(ME, 2), staged(table, rows("b", [2])), replace_where={}))
    assert stored(new_table()) == [("b", 2)]
    table.commit(Commit(CommitKey(ME, 3), (), replace_where={}))
    assert stored(new_table()) == []


def test_of_two_replacing_the_same_rows_the_second_must_look_again(new_table, rows: Rows) -> None:
    first = new_table().open()
    first.commit(Commit(CommitKey(ME, 1), staged(first, rows("a", [1]))))
    second = new_table().open()
    first.commit(Commit(CommitKey(ME, 2), staged(first, rows("a", [2])), replace_where={}))
    with pytest.raises(CommitConflictError):
        second.commit(Commit(CommitKey(OTHER, 1), staged(second, rows("a", [3])), replace_where={}))
    second = new_table().open()
    second.commit(Commit(CommitKey(OTHER, 1), staged(second, rows("a", [3])), replace_where={}))
    assert stored(new_table()) == [("a", 3)]


def test_a_commit_without_files_only_moves_the_number(new_table) -> None:
    table = new_table().open()
    receipt = table.commit(Commit(CommitKey(ME, 3), ()))
    assert (receipt.rows, receipt.files, receipt.size_bytes) == (0, 0, 0)
    assert new_table().open().last_sequence(ME) == 3


def test_rows_of_several_days_part_into_files_and_come_back_by_day(new_table, rows: Rows) -> None:
    table = new_table().open()
    files = staged(table, rows("a", [1, DAY + 1, 2, DAY + 2]), rows("b", [2 * DAY]))
    assert sorted(f.partition_values["partition_date"] for f in files) == ["1970-01-01", "1970-01-02", "1970-01-03"]
    assert sum(f.rows for f in files) == 5
    table.commit(Commit(CommitKey(ME, 1), files))
    table = new_table().open()
    day = table.read(["timestamp"], where={"partition_date": "1970-01-02"}).read_all()
    assert day["timestamp"].cast(pa.int64()).to_pylist() == [DAY + 1, DAY + 2]
    assert table.file_count(where={"partition_date": "1970-01-02"}) == 1
    assert table.file_count(where={}) == 3
    assert table.read().schema.names == PI_TIMESERIES.schema.names


def test_dropped_stages_and_discarded_files_leave_nothing(new_table, rows: Rows) -> None:
    table = new_table().open()
    [file] = staged(table, rows("a", [1]))
    assert table.has_file(file)
    table.discard([file])
    table.discard([file])
    assert not table.has_file(file)
    stage = table.stage()
    stage.write(rows("a", [1, DAY]))
    assert stage.rows == 2
    stage.abort()
    stage.abort()
    assert table.stage().close() == ()
    assert stored(new_table()) == []


def test_tags_are_summed_up(new_table, rows: Rows) -> None:
    table = new_table().open()
    table.commit(Commit(CommitKey(ME, 1), staged(table, rows("a", [5, 1]), rows("b", [7]))))
    table.commit(Commit(CommitKey(ME, 2), staged(table, rows("a", [DAY + 9]))))
    found = new_table().open().scan_tags().sort_by("tag_webid")
    assert found["tag_webid"].to_pylist() == ["a", "b"]
    assert found["low"].cast(pa.int64()).to_pylist() == [1, 7]
    assert found["high"].cast(pa.int64()).to_pylist() == [DAY + 9, 7]
    assert found["rows"].to_pylist() == [3, 1]


def test_partition_values_may_hold_any_character(destination) -> None:
    table = destination.lakehouse().table(PI_WATERMARKS).open()
    name = "Werk Süd/1 = 'x' %41"
    schema = PI_WATERMARKS.schema
    columns = [pa.array([name]) if f.name == "pipeline" else pa.nulls(1, f.type) for f in schema]
    table.commit(Commit(CommitKey(ME, 1), staged(table, pa.RecordBatch.from_arrays(columns, schema=schema))))
    table = destination.lakehouse().table(PI_WATERMARKS).open()
    assert table.read(["pipeline"], where={"pipeline": name}).read_all()["pipeline"].to_pylist() == [name]
    assert table.file_count(where={"pipeline": name}) == 1
    assert table.file_count(where={"pipeline": "other"}) == 0


@on_managed_s3
def test_a_lease_keeps_a_second_run_out_and_shards_are_remembered(destination) -> None:
    lakehouse = destination.lakehouse()
    lease = lakehouse.lease("p", "0-of-2", "first-run")
    assert lease.holder() is None
    lease.acquire()
    try:
        lease.renew()
        assert "first-run" in (lakehouse.lease("p", "0-of-2", "x").holder() or "")
        assert lakehouse.lease("p", "1-of-2", "x").holder() is None
        assert lakehouse.shards_seen("p") == ("0-of-2",)
        assert lakehouse.shards_seen("other") == ()
    finally:
        lease.release()
    assert lease.holder() is None
    assert lakehouse.shards_seen("p") == ("0-of-2",)
