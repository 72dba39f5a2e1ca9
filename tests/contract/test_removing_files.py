"""What every destination promises when single files are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from config.errors import CommitConflictError, FencedError
from tests.corrections.events import DAY, Event, batch_of, digests, events_of, row_hashes
from writers import PI_TIMESERIES, Commit, CommitKey, CommitTable, Digest, LiveFile, StagedFile, window_digests
from writers.commit_rules import find_commit
from writers.ports import ROW

ME, OTHER = "osipi/p/recorded/0-of-2", "osipi/p/recorded/1-of-2"
ALWAYS = -(1 << 62), 1 << 62


@pytest.fixture
def new_table(destination) -> Callable[[], CommitTable]:
    return lambda: destination.lakehouse().table(PI_TIMESERIES)


def staged(table: CommitTable, *events: Event) -> tuple[StagedFile, ...]:
    stage = table.stage()
    if events:
        stage.write(batch_of(events))
    return stage.close()


def add(table: CommitTable, key: CommitKey, *events: Event) -> None:
    table.commit(Commit(key, staged(table, *events)))


def stored(table: CommitTable) -> list[tuple[str, int]]:
    return [e[:2] for e in events_of(table.open().read().read_all())]


def live(table: CommitTable, low: int = ALWAYS[0], high: int = ALWAYS[1]) -> Sequence[LiveFile]:
    return sorted(table.live_files(low, high), key=lambda f: (f.low or 0, f.path))


def test_live_files_are_those_that_may_hold_events_of_a_window(new_table) -> None:
    table = new_table().open()
    assert live(table) == []
    add(table, CommitKey(ME, 1), Event("a", 1_000_000), Event("c", 5_000_001), Event("b", DAY))
    add(table, CommitKey(ME, 2), Event("b", 9_000_000))
    first, second, third = live(table)
    assert (first.rows, first.low_owner, first.high_owner) == (2, "a", "c")
    assert first.low == 1_000_000
    assert 5_000_001 <= first.high < 5_002_000  # statistics may be cut to milliseconds
    assert first.partition_values == {"partition_date": "1970-01-01"}
    assert first.size_bytes > 0
    for (low, high), expected in {
        (0, 1_000_000): [],
        (0, 1_000_001): [first],
        (5_000_001, 5_000_002): [first],
        (6_000_000, 9_000_000): [],
        (6_000_000, 9_000_001): [second],
        (2_000_000, DAY): [first, second],
        (9_000_000, DAY + 1): [second, third],
        (DAY + 1_000_000, 2 * DAY): [],
        ALWAYS: [first, second, third],
    }.items():
        assert live(table, low, high) == expected
    assert live(new_table().open()) == [first, second, third]


def test_rows_of_a_file_come_with_their_places(new_table) -> None:
    table = new_table().open()
    events = [Event("b", 3, text="x", value=None), Event("a", 1), Event("a", 2, units=None)]
    add(table, CommitKey(ME, 1), *events)
    [file] = live(table)
    assert table.columns == tuple(PI_TIMESERIES.schema.names)
    batches = list(table.read_file(file, [*table.columns, ROW]))
    assert np.concatenate([b.column(ROW).to_numpy() for b in batches]).tolist() == [0, 1, 2]
    plain = [b.drop_columns([ROW]).cast(PI_TIMESERIES.schema) for b in batches]
    assert events_of(pa.Table.from_batches(plain)) == sorted(events, key=lambda e: e[:3])
    [times] = table.read_file(file, ["timestamp"], window=(2, 3))
    assert 2 in times.column(0).cast(pa.int64()).to_pylist()


def test_files_are_replaced_in_one_commit_and_the_others_stay(new_table) -> None:
    table = new_table().open()
    add(table, CommitKey(ME, 1), Event("a", 1), Event("a", 2), Event("b", DAY))
    add(table, CommitKey(ME, 2), Event("c", 3))
    first, second, third = live(table)
    receipt = table.commit(
        Commit(CommitKey(ME, 3), staged(table, Event("a", 2)), removes=[first], metadata={"note": "as given"})
    )
    assert (receipt.rows, receipt.files) == (1, 1)
    for reader in (table, new_table().open()):
        assert {second.path, third.path} < {f.path for f in live(reader)}
        last = find_commit(reader, ME)
        assert last is not None
        assert (last.key, last.version, last.metadata["note"]) == (CommitKey(ME, 3), receipt.version, "as given")
    assert stored(new_table()) == [("a", 2), ("b", DAY), ("c", 3)]
    add(table, CommitKey(ME, 4), Event("a", 4))  # appends go on after it
    table.commit(Commit(CommitKey(ME, 5), (), removes=[second]))
    assert stored(new_table()) == [("a", 2), ("a", 4), ("b", DAY)] or stored(new_table()) == [
        ("a", 2),
        ("a", 4),
        ("c", 3),
    ]


def test_appends_of_others_do_not_disturb(new_table) -> None:
    table = new_table().open()
    add(table, CommitKey(ME, 1), Event("a", 1), Event("a", 2))
    [file] = live(table)
    other = new_table().open()
    for n in (1, 2, 3):
        add(other, CommitKey(OTHER, n), Event("b", n))
    table.commit(Commit(CommitKey(ME, 2), staged(table, Event("a", 1)), removes=[file]))
    add(other, CommitKey(OTHER, 4), Event("b", 4))
    assert stored(new_table()) == [("a", 1), ("b", 1), ("b", 2), ("b", 3), ("b", 4)]
    with pytest.raises(FencedError):
        other.commit(Commit(CommitKey(ME, 3), ()))


def test_of_two_that_replace_one_file_the_second_must_look_again(new_table) -> None:
    table = new_table().open()
    add(table, CommitKey(ME, 1), Event("a", 1), Event("b", 2))
    other = new_table().open()
    [file] = live(other)
    table.commit(Commit(CommitKey(ME, 2), staged(table, Event("b", 2)), removes=[file]))
    with pytest.raises(CommitConflictError):
        other.commit(Commit(CommitKey(OTHER, 1), staged(other, Event("a", 1)), removes=[file]))
    assert stored(new_table()) == [("b", 2)]
    [file] = live(other.open())
    other.commit(Commit(CommitKey(OTHER, 1), (), removes=[file]))
    assert stored(new_table()) == []


def test_who_corrects_must_look_again_where_another_may_have_corrected_the_same(new_table) -> None:
    """Also where neither removes a file: both may have found the same event missing."""
    table, other = new_table().open(), new_table().open()
    add(table, CommitKey(ME, 1), Event("a", 1))
    table.commit(
        Commit(CommitKey(ME, 2), staged(table, Event("a", 2)), conflicts_with_prefix="osipi/p/recorded/repair.")
    )
    wrong = staged(other, Event("a", 2))
    with pytest.raises(CommitConflictError):
        other.commit(Commit(CommitKey(OTHER, 1), wrong, conflicts_with_prefix="osipi/p/recorded/"))
    other.discard(wrong)
    other = other.open()
    other.commit(Commit(CommitKey(OTHER, 1), staged(other, Event("a", 3)), conflicts_with_prefix="osipi/p/recorded/"))
    # The first does not mind: of what that one corrects none is of its rows.
    table.commit(
        Commit(CommitKey(ME, 3), staged(table, Event("a", 4)), conflicts_with_prefix="osipi/p/recorded/repair.")
    )
    add(other, CommitKey(OTHER, 2), Event("b", 5))  # what only adds minds nobody, and is minded by nobody
    table.commit(Commit(CommitKey(ME, 4), staged(table, Event("a", 6)), conflicts_with_prefix="osipi/p/recorded/"))
    assert stored(new_table()) == [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 6), ("b", 5)]


def test_who_opened_before_another_committed_under_the_same_name_is_fenced(new_table) -> None:
    table = new_table().open()
    add(table, CommitKey(ME, 1), Event("a", 1))
    late = new_table().open()
    [file] = live(late)
    table.commit(Commit(CommitKey(ME, 2), staged(table, Event("a", 2)), metadata={"run_id": "quick-run"}))
    for _ in range(2):
        with pytest.raises(FencedError, match="quick-run"):
            late.commit(Commit(CommitKey(ME, 2), (), removes=[file]))
    assert stored(new_table()) == [("a", 1), ("a", 2)]


def test_hashes_of_rows_survive_every_destination(new_table) -> None:
    events = [
        Event("a", 1, value=-0.0, units="°C"),
        Event("a", 1, sequence=1, value=float("nan")),
        Event("a", 2, value=None, text="Bad Input", code=-307, kind="system", flags=(False, None, True, False)),
        Event("b", 10**15 + 1, value=5e-324, units=""),
        Event("b", DAY, value=None, text="", kind="string", units=None),
    ]
    batch = batch_of(events)
    table = new_table().open()
    add(table, CommitKey(ME, 1), *events)
    expected = digests(batch, np.array([0, 0, 0, 1, 1]), 2)
    windows = {"a": (1, 3), "b": (0, 10**15 + 2), "c": ALWAYS}
    assert window_digests(new_table().open(), windows) == {"a": expected[0], "b": expected[1], "c": Digest()}
    only = {"a": (1, 2), "b": (DAY, DAY + 1)}
    assert window_digests(table, only) == {
        "a": Digest.of(row_hashes(batch)[:2]),
        "b": Digest.of(row_hashes(batch)[4:]),
    }
    back = table.read().read_all().combine_chunks().to_batches()
    assert sorted(h for b in back for h in row_hashes(b).tolist()) == sorted(row_hashes(batch).tolist())
