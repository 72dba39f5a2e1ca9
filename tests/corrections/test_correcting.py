"""After a correction the windows hold what the source holds, and nothing else has changed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pytest
from delta_kernel_rust_sharing_wrapper import PythonInterface, ScanBuilder, Table
from hypothesis import example, given
from hypothesis import strategies as st

from tests.corrections.events import DAY, Event, batch_of, events_of, row_hashes
from tests.examples import examples
from tests.landing.lake import Lake
from tests.memory_lakehouse import MemoryLakehouse
from tests.unity.places import stand_in_lakehouse
from tests.unity.stand_in import TOKEN, StandIn
from tests.unity.test_deletion_vectors import in_file, serialized
from writers import (
    PI_TIMESERIES,
    CorrectionCounts,
    Digest,
    Move,
    Replacement,
    open_lakehouse,
    window_digests,
)
from writers.commit_rules import find_commit
from writers.unity import open_unity

# Ten instants around midnight, so that files are of two days.
TIMES = st.integers(0, 9).map(lambda n: DAY + (n - 5) * 1000)
EVENTS = st.builds(
    Event,
    tag=st.sampled_from("abc"),
    at=TIMES,
    sequence=st.integers(0, 1),
    value=st.sampled_from([1.0, 2.0]),
    text=st.sampled_from([None, "x"]),
    code=st.none(),
    kind=st.just("number"),
    flags=st.just((True, False, False, None)),
    units=st.just("bar"),
    read_at=st.integers(0, 99),
)
KEYED = st.lists(EVENTS, max_size=14, unique_by=lambda e: e[:3])
WINDOWS = st.lists(
    st.tuples(st.sampled_from("abc"), TIMES, TIMES).map(lambda w: (w[0], min(w[1:]), max(w[1:]))),
    min_size=1,
    max_size=4,
)


def truth(event: Event) -> tuple:
    return event[:-1]


def inside(event: Event, windows: Sequence[tuple[str, int, int]]) -> bool:
    return any(event.tag == tag and low <= event.at < high for tag, low, high in windows)


def fill(lake: Lake, commits: Sequence[Sequence[Event]]) -> None:
    """Land these events as they are, doubles included."""
    landing = lake.opened()
    for events in ([], *commits):
        batch = landing.begin()
        batch.write(batch_of(events))
        batch.commit([Move(tag, 0, 2 * DAY, None, sum(e.tag == tag for e in events)) for tag in "abc"])


def stored(lake: Lake) -> list[Event]:
    return events_of(lake.lakehouse.table(PI_TIMESERIES).open().read().read_all())


def paths(lake: Lake) -> dict[str, int]:
    return {f.path: f.rows for f in lake.lakehouse.table(PI_TIMESERIES).open().live_files(-(1 << 62), 1 << 62)}


def version(lake: Lake) -> int:
    last = find_commit(lake.lakehouse.table(PI_TIMESERIES).open(), "osipi/p/recorded/0-of-1")
    return 0 if last is None else last.version


def correct(lake: Lake, windows: Sequence[tuple[str, int, int]], source: Sequence[Event], moves: Sequence[Move] = ()):
    batch = lake.opened().begin()
    batch.replace([Replacement(*w) for w in windows], batch_of(source))
    return batch.commit(moves)


def check(lake: Lake, commits: list[list[Event]], windows: list[tuple[str, int, int]], truths: list[Event]) -> None:
    fill(lake, commits)
    before, files_before, version_before = stored(lake), paths(lake), version(lake)
    totals = {tag: mark.rows_total for tag, mark in lake.opened().open().items()}
    source = [e for e in truths if inside(e, windows)]
    receipt = correct(lake, windows, source)

    after = stored(lake)
    assert [e for e in after if not inside(e, windows)] == [e for e in before if not inside(e, windows)]
    assert [truth(e) for e in after if inside(e, windows)] == sorted(map(truth, source), key=lambda row: row[:3])
    # Rows that were right already are the rows that were there: when they were read is still known.
    there = {truth(e): e.read_at for e in before}
    unique = len({e[:3] for e in before}) == len(before)
    assert not unique or all(e.read_at == there[truth(e)] for e in after if truth(e) in there and inside(e, windows))

    old = {e[:3]: [truth(o) for o in before if o[:3] == e[:3]] for e in before if inside(e, windows)}
    new = {e[:3]: truth(e) for e in source}
    inserted = sum(key not in old for key in new)
    changed = sum(key in old and event not in old[key] for key, event in new.items())
    gone = sum(map(len, old.values())) - sum(key in old for key in new)
    counts = receipt.corrections
    assert (counts.inserted, counts.changed, counts.deleted) == (inserted, changed, gone)
    more = {tag: mark.rows_total - totals[tag] for tag, mark in lake.opened().open().items()}
    assert more == {tag: sum(key[0] == tag and key not in old for key in new) for tag in totals}

    lost = set(files_before) - set(paths(lake))
    assert len(lost) == counts.files_rewritten
    if not (inserted or changed or gone):
        assert (receipt.data, receipt.watermarks, version(lake)) == (None, None, version_before)
    else:
        assert version(lake) == version_before + 1
    again = correct(lake, windows, source)
    assert again.corrections == CorrectionCounts()
    assert again.data is None

    wanted = {tag: (low, high) for tag, low, high in windows}
    hashed = {tag: [e for e in after if inside(e, [(tag, *wanted[tag])])] for tag in wanted}
    expected = {tag: Digest.of(row_hashes(batch_of(events))) for tag, events in hashed.items()}
    assert window_digests(lake.lakehouse.table(PI_TIMESERIES).open(), wanted) == expected


ONE = Event("a", DAY)
AROUND = [("a", DAY - 1000, DAY + 1000)]


@example([[ONE], [ONE]], AROUND, [ONE])  # it was there twice: one of them stays
@example([[ONE]], AROUND, [ONE._replace(value=2.0), ONE._replace(sequence=1)])  # one changed, one new
@examples(300)
@given(st.lists(KEYED, max_size=3), WINDOWS, KEYED)
def test_windows_become_equal_to_the_source_and_the_rest_stays(commits, windows, truths) -> None:
    check(Lake(MemoryLakehouse()), commits, windows, truths)


@examples(12)
@given(st.lists(KEYED, max_size=3), WINDOWS, KEYED)
@example([[Event("a", DAY, value=2.0)], [Event("a", DAY), Event("b", DAY)]], [("a", 0, 2 * DAY)], [Event("a", DAY)])
@example([[Event("a", 5)], [Event("a", DAY)]], [("a", 0, 2 * DAY)], [])
def test_the_same_on_delta_tables(commits, windows, truths) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Lake(open_lakehouse(folder)), commits, windows, truths)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(open_lakehouse(tmp_path))


DAY_ONE = [Event(tag, at) for tag in "ab" for at in range(5)]
DAY_TWO = [Event(tag, DAY + at) for tag in "ab" for at in range(5)]


def test_only_the_file_that_held_a_wrong_row_is_written_again(lake: Lake) -> None:
    fill(lake, [DAY_ONE, DAY_TWO, [Event("c", DAY)]])
    before = paths(lake)
    right = [e._replace(value=9.0) if e.at == DAY + 2 else e for e in DAY_TWO if e.tag == "a"]
    receipt = correct(lake, [("a", DAY, 2 * DAY)], right)
    assert receipt.corrections == CorrectionCounts(changed=1, files_rewritten=1)
    assert receipt.partitions == {"1970-01-02"}
    assert len(set(before) & set(paths(lake))) == 2


def test_a_file_of_which_nothing_is_left_is_removed_and_none_is_added(lake: Lake) -> None:
    fill(lake, [DAY_ONE, DAY_TWO])
    receipt = correct(lake, [("a", 0, DAY), ("b", 0, DAY)], [])
    assert receipt.corrections == CorrectionCounts(deleted=10, files_rewritten=1)
    assert (receipt.data.files, receipt.data.rows) == (0, 0)
    assert [truth(e) for e in stored(lake)] == sorted(map(truth, DAY_TWO), key=lambda row: row[:3])


def test_rows_and_corrections_and_watermarks_land_in_one_commit(lake: Lake) -> None:
    fill(lake, [DAY_ONE])
    before = version(lake)
    batch = lake.opened().begin()
    batch.write(batch_of([Event("a", DAY)]))
    batch.replace([Replacement("a", 3, 6)], batch_of([Event("a", 3), Event("a", 5)]))
    batch.replace([Replacement("b", 0, 2)], batch_of([Event("b", 1)]))
    batch.write(batch_of([Event("a", DAY + 1)]))
    receipt = batch.commit([Move("a", 2 * DAY, 3 * DAY, DAY + 1, 2, last_event_digest=5)])
    assert receipt.corrections == CorrectionCounts(inserted=1, deleted=2, files_rewritten=1)
    assert (receipt.rows, version(lake)) == (2, before + 1)
    marks = lake.opened().open()
    assert (marks["a"].rows_total, marks["a"].last_event_digest, marks["b"].rows_total) == (5 + 2 + 1, 5, 5)
    assert [e.at for e in stored(lake) if e.tag == "a"] == [0, 1, 2, 3, 5, DAY, DAY + 1]


def test_a_correction_without_a_move_says_again_where_its_tag_stands(lake: Lake) -> None:
    fill(lake, [DAY_ONE])
    before = lake.opened().open()["a"]
    correct(lake, [("a", 0, 3)], [Event("a", at) for at in (0, 1)] + [Event("a", 2, sequence=n) for n in (0, 1)])
    after = lake.opened().open()["a"]
    assert (after.low, after.high, after.status, after.rows_total) == (before.low, before.high, "ok", 6)


def test_windows_that_are_right_move_watermarks_alone(lake: Lake) -> None:
    fill(lake, [DAY_ONE])
    before = version(lake)
    receipt = correct(lake, [("a", 0, 5)], DAY_ONE[:5], [Move("a", 2 * DAY, 3 * DAY)])
    assert (receipt.data, version(lake)) == (None, before)
    assert receipt.watermarks is not None
    assert lake.opened().open()["a"].high == 3 * DAY


def test_a_window_that_is_given_twice_is_what_was_said_last(lake: Lake) -> None:
    fill(lake, [DAY_ONE])
    batch = lake.opened().begin()
    batch.replace([Replacement("a", 0, 4)], batch_of([Event("a", 1), Event("a", 3), Event("a", 2)]))
    batch.replace([Replacement("a", 2, 5)], batch_of([Event("a", 4)]))
    batch.commit([])
    assert [e.at for e in stored(lake) if e.tag == "a"] == [1, 4]


def test_what_makes_no_sense_is_refused_and_leaves_nothing(lake: Lake, tmp_path) -> None:
    fill(lake, [DAY_ONE])
    files = sorted(tmp_path.rglob("*.parquet"))
    batch = lake.opened().begin()
    with pytest.raises(ValueError, match="none of the windows"):
        batch.replace([Replacement("a", 0, 4)], batch_of([Event("a", 4)]))
    batch.abort()
    batch = lake.opened().begin()
    batch.replace([Replacement("stranger", 0, 4)], batch_of([]))
    with pytest.raises(ValueError, match="nothing of stranger is done"):
        batch.commit([])
    assert sorted(tmp_path.rglob("*.parquet")) == files


def test_another_engine_reads_a_corrected_table(lake: Lake) -> None:
    fill(lake, [DAY_ONE, DAY_TWO])
    right = [e._replace(value=None, text="Bad", kind="system", code=1) if e.at == 2 else e for e in DAY_ONE]
    correct(lake, [("a", 0, DAY), ("b", 0, DAY)], [e for e in right if e.at != 4])
    table = lake.lakehouse.table(PI_TIMESERIES)
    url = f"file://{table.uri}/"
    interface = PythonInterface(url)
    scan = ScanBuilder(Table(url).snapshot(interface)).build()
    rows = pa.table(scan.execute(interface).read_all())
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        found = connection.sql("SELECT tag_webid, epoch_us(timestamp), value, value_string FROM rows ORDER BY 1, 2")
        expected = [(e.tag, e.at, e.value, e.text) for e in [*right, *DAY_TWO] if e.at != 4]
        assert found.fetchall() == sorted(expected, key=lambda row: row[:2])


@examples(6)
@given(st.lists(KEYED, max_size=3), WINDOWS, KEYED)
def test_the_same_on_a_managed_table(commits, windows, truths) -> None:
    with tempfile.TemporaryDirectory() as folder, stand_in_lakehouse("managed", folder, None) as opened:
        check(Lake(opened()), commits, windows, truths)


def test_rows_that_others_have_deleted_do_not_rise_from_the_dead(tmp_path) -> None:
    """Somebody deletes a row of a managed table by a deletion vector; the rest of its file is then corrected."""
    with StandIn(f"file://{tmp_path}") as catalog:
        lake = Lake(open_unity(host=catalog.host, token=TOKEN))
        fill(lake, [DAY_ONE])
        folder = Path(urlsplit(catalog.tables["main.bronze.pi_timeseries"].location).path)
        published = folder / "_delta_log" / f"{1:020}.json"
        lines = [json.loads(line) for line in published.read_text().splitlines()]
        [add] = [action["add"] for action in lines if "add" in action]
        add["deletionVector"] = vector = in_file(folder, serialized([0, 7], runs=False), 2)
        published.write_text("\n".join(map(json.dumps, lines)))
        left = [e for n, e in enumerate(DAY_ONE) if n not in {0, 7}]
        assert list(map(truth, stored(lake))) == list(map(truth, left))
        receipt = correct(lake, [("a", 2, 4)], [Event("a", 2)])
        assert receipt.corrections == CorrectionCounts(deleted=1, files_rewritten=1)
        assert list(map(truth, stored(lake))) == [truth(e) for e in left if e[:2] != ("a", 3)]
        entry = folder / "_delta_log" / f"{2:020}.json"
        [taken_back] = [a["remove"] for a in map(json.loads, entry.read_text().splitlines()) if "remove" in a]
        assert (taken_back["path"], taken_back["deletionVector"]) == (add["path"], vector)
