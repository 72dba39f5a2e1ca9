"""Who follows the feed of changes of a table has what the table has, whatever was corrected."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import CommitConflictError, ExtractError
from tests.corrections.events import DAY, Event, batch_of, events_of
from tests.corrections.feed import Change, feed_of, followed, followed_by_key
from tests.corrections.test_correcting import KEYED, WINDOWS, fill, inside
from tests.examples import examples
from tests.landing.lake import Lake
from tests.unity.published import as_path_table
from tests.unity.stand_in import TOKEN, StandIn
from writers import (
    PI_TIMESERIES,
    Commit,
    CommitKey,
    CorrectionCounts,
    LandingReceipt,
    MaintenanceOptions,
    Move,
    Replacement,
    open_lakehouse,
)
from writers.delta.schema import schema_of
from writers.delta.table import DeltaCommitTable, OpenDeltaTable
from writers.storage.location import TableLocation
from writers.unity import open_unity

FEED = {"delta.enableChangeDataFeed": "true"}
BEFORE = [Event("a", at) for at in range(4)] + [Event("b", DAY + at) for at in range(3)]


def table_of(lake: Lake) -> DeltaCommitTable:
    return lake.lakehouse.table(PI_TIMESERIES).open()


def fed(folder: Path | str) -> Lake:
    """A lake whose table keeps a feed."""
    return Lake(open_lakehouse(folder, properties={"pi_timeseries": FEED}))


def stored(lake: Lake) -> list[Event]:
    return events_of(table_of(lake).read().read_all())


def mend(
    lake: Lake, windows: Sequence[tuple[str, int, int]], source: Sequence[Event], appended: Sequence[Event] = ()
) -> LandingReceipt:
    """Correct and append in one commit."""
    batch = lake.opened().begin()
    if appended:
        batch.write(batch_of(appended))
    batch.replace([Replacement(*window) for window in windows], batch_of(source))
    tags = sorted({e.tag for e in appended})
    return batch.commit([Move(tag, 2 * DAY, 3 * DAY, 2 * DAY, sum(e.tag == tag for e in appended)) for tag in tags])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = fed(tmp_path)
    fill(lake, [BEFORE])
    return lake


def newest(lake: Lake) -> list[tuple[str, Event]]:
    """What the feed tells of the last commit."""
    table = DeltaTable(table_of(lake).uri)
    return [(change.kind, change.event) for change in feed_of(table.table_uri, table.version())]


def test_each_row_is_told_as_what_became_of_it(lake: Lake) -> None:
    came, edited, late = Event("c", 2 * DAY), Event("a", 2, value=9.0), Event("a", 2, sequence=1)
    receipt = mend(lake, [("a", 1, 4)], [Event("a", 1), edited, late], [came])
    assert receipt.corrections == CorrectionCounts(inserted=1, changed=1, deleted=1, files_rewritten=1)
    assert sorted(newest(lake)) == sorted(
        [
            ("insert", came),
            ("insert", late),
            ("update_preimage", Event("a", 2)),
            ("update_postimage", edited),
            ("delete", Event("a", 3)),
        ]
    )


def test_a_commit_that_only_adds_needs_no_files_to_tell_of_it(lake: Lake) -> None:
    late = Event("a", 2, sequence=1)
    mend(lake, [("a", 2, 3)], [Event("a", 2), late], [Event("c", 2 * DAY)])
    assert sorted(newest(lake)) == [("insert", late), ("insert", Event("c", 2 * DAY))]
    assert list(Path(table_of(lake).uri).glob("_change_data/**/*.parquet")) == []


def test_the_table_itself_is_what_it_would_be_without_a_feed(lake: Lake) -> None:
    mend(lake, [("a", 1, 4)], [Event("a", 1)], [Event("c", 2 * DAY)])
    assert stored(lake) == [Event("a", 0), Event("a", 1), *BEFORE[4:], Event("c", 2 * DAY)]
    last = DeltaTable(table_of(lake).uri)
    entry = Path(table_of(lake).uri, "_delta_log", f"{last.version():020}.json").read_text().splitlines()
    told = [action["cdc"] for action in map(json.loads, entry) if "cdc" in action]
    assert {change["dataChange"] for change in told} == {False}
    assert {change["partitionValues"]["partition_date"] for change in told} == {"1970-01-01", "1970-01-03"}
    assert all(Path(table_of(lake).uri, change["path"]).stat().st_size == change["size"] for change in told)


A = DAY - 5000
_TWICE = Event("a", A, flags=(True, False, False, None))


@examples(25)
@example([[_TWICE._replace(read_at=79)], [_TWICE]], [("a", A, A + 2000)], [_TWICE], False)
@given(st.lists(KEYED, min_size=1, max_size=3), WINDOWS, KEYED, st.booleans())
def test_following_the_feed_gives_the_table(commits, windows, truths, appends) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_followed(fed(folder), folder, commits, windows, truths, appends=appends)


def assert_followed(lake: Lake, folder: str, commits, windows, truths, *, appends: bool) -> None:
    """Rows that were there twice, which no run of ours lands, are told right as well."""
    fill(lake, commits)
    before = stored(lake)
    version = DeltaTable(path_of(lake, f"{folder}/before")).version()
    source = [e for e in truths if inside(e, windows)]
    receipt = mend(lake, windows, source, [Event("b", 2 * DAY), Event("c", 2 * DAY)] if appends else ())
    after, feed = stored(lake), feed_of(path_of(lake, f"{folder}/after"), version + 1)
    assert followed(before, feed) == Counter(after)
    # Of rows that were there twice and say the same, who follows by key may hold another one than the table: read earlier.
    twice = {key for key, count in Counter(e[:3] for e in before).items() if count > 1}
    held = followed_by_key(before, feed)
    assert {key: row for key, row in held.items() if key not in twice} == {
        e[:3]: e for e in after if e[:3] not in twice
    }
    assert {key: row[:-1] for key, row in held.items()} == {e[:3]: e[:-1] for e in after}
    counts = receipt.corrections
    assert sum(change.kind == "update_postimage" for change in feed) == counts.changed
    assert sum(change.kind == "insert" for change in feed) == counts.inserted + 2 * appends


def path_of(lake: Lake, copy: str) -> str:
    """Where delta-rs can read the table: itself, or, of a managed one, a copy of what is published."""
    table = table_of(lake)
    if isinstance(table, DeltaCommitTable):
        return table.uri
    return str(as_path_table(table._place.uri, Path(copy)))


@examples(8)
@given(st.lists(KEYED, min_size=1, max_size=3), WINDOWS, KEYED, st.booleans())
def test_the_same_on_a_managed_table(commits, windows, truths, appends) -> None:
    with tempfile.TemporaryDirectory() as folder, StandIn(f"file://{folder}") as catalog:
        lake = Lake(open_unity(host=catalog.host, token=TOKEN, properties={"pi_timeseries": FEED}))
        assert_followed(lake, folder, commits, windows, truths, appends=appends)


def test_columns_that_others_have_added_are_told_too(tmp_path: Path) -> None:
    place = tmp_path / "main" / "bronze" / "pi_timeseries"
    wider = PI_TIMESERIES.with_columns([pa.field("plant", pa.string()), pa.field("tons", pa.decimal128(9, 2))])
    theirs = DeltaTable.create(place, schema_of(wider), partition_by=["partition_date"], configuration=FEED)
    lake = Lake(open_lakehouse(tmp_path))
    fill(lake, [[Event("a", 1), Event("a", 2)]])
    theirs.update_incremental()
    theirs.update(updates={"plant": "'Ulm'", "tons": "1.25"})
    mend(lake, [("a", 1, 9)], [Event("a", 2, value=7.0), Event("a", 3)], [Event("c", 2 * DAY)])
    version = DeltaTable(place).version()
    rows = pa.table(DeltaTable(place).load_cdf(starting_version=version)).select(["_change_type", "plant", "tons"])
    found = [(row["_change_type"], row["plant"], str(row["tons"])) for row in rows.to_pylist()]
    assert sorted(found, key=repr) == [
        ("delete", "Ulm", "1.25"),
        ("insert", None, "None"),
        ("insert", None, "None"),
        ("update_postimage", None, "None"),
        ("update_preimage", "Ulm", "1.25"),
    ]


def test_a_correction_that_is_computed_again_tells_of_what_it_did_in_the_end(lake: Lake) -> None:
    """Somebody compacts, and somebody turns the feed off and on again, between our look and our commit."""
    meanwhile = [
        lambda: table_of(lake).optimize_table(MaintenanceOptions()),
        lambda: DeltaTable(table_of(lake).uri).alter.set_table_properties({"delta.enableChangeDataFeed": "false"}),
        lambda: DeltaTable(table_of(lake).uri).alter.set_table_properties(FEED),
    ]
    fill_more = lake.opened().begin()
    fill_more.write(batch_of([Event("a", 9)]))
    fill_more.commit([Move("a", 2 * DAY, 2 * DAY + 1, None, 1)])

    def disturb(step: str) -> None:
        if step == "after_staging" and meanwhile:
            meanwhile.pop(0)()

    batch = lake.opened(on_step=disturb).begin()
    batch.write(batch_of([Event("c", 2 * DAY)]))
    batch.replace([Replacement("a", 0, 2)], batch_of([Event("a", 1)]))
    batch.commit([Move("c", 2 * DAY, 3 * DAY, 2 * DAY, 1)])
    assert meanwhile == []
    assert sorted(newest(lake)) == [("delete", Event("a", 0)), ("insert", Event("c", 2 * DAY))]
    assert len(list(Path(table_of(lake).uri).glob("_change_data/**/*.parquet"))) == 2  # of one attempt alone


def test_a_correction_that_gives_up_leaves_no_files_of_changes(lake: Lake, monkeypatch) -> None:
    def loses(*_: object, **__: object) -> None:
        raise CommitConflictError("Another writer was quicker.")

    monkeypatch.setattr(OpenDeltaTable, "_land", loses)
    files = sorted(Path(table_of(lake).uri).rglob("*.parquet"))
    with pytest.raises(CommitConflictError):
        mend(lake, [("a", 0, 2)], [Event("a", 1)], [Event("c", 2 * DAY)])
    assert sorted(Path(table_of(lake).uri).rglob("*.parquet")) == files


def test_storage_that_fails_while_changes_are_written_leaves_nothing(lake: Lake, monkeypatch) -> None:
    opened = TableLocation.open_output

    def fails(self: TableLocation, path: str):
        if path.startswith("_change_data"):
            raise OSError(28, "No space left on device")
        return opened(self, path)

    monkeypatch.setattr(TableLocation, "open_output", fails)
    files = sorted(Path(table_of(lake).uri).rglob("*.parquet"))
    with pytest.raises(ExtractError, match="no room left"):
        mend(lake, [("a", 0, 2)], [Event("a", 1)], [Event("c", 2 * DAY)])
    assert sorted(Path(table_of(lake).uri).rglob("*.parquet")) == files


def test_maintenance_spares_changes_that_are_young_and_removes_those_that_are_old(lake: Lake) -> None:
    mend(lake, [("a", 0, 2)], [Event("a", 1)])
    folder = Path(table_of(lake).uri, "_change_data")
    table_of(lake).optimize_table(MaintenanceOptions(vacuum_after=timedelta(days=1), orphans=True))
    assert list(folder.rglob("*.parquet"))
    table_of(lake).optimize_table(MaintenanceOptions(vacuum_after=timedelta(0), orphans=True))
    assert list(folder.rglob("*.parquet")) == []
    assert stored(lake)[0] == Event("a", 1)


def test_the_feed_is_that_of_whole_files_where_whole_partitions_are_replaced(tmp_path: Path) -> None:
    """Watermarks and tags are replaced, and tell it as everything gone and everything come."""
    lake = fed(tmp_path)
    checkpoint = lake.lakehouse.table(PI_TIMESERIES).open()
    for sequence, at in enumerate((1, 2), 1):
        stage = checkpoint.stage()
        stage.write(batch_of([Event("a", at)]))
        checkpoint.commit(Commit(CommitKey("me", sequence), stage.close(), replace_where={} if sequence > 1 else None))
    version = DeltaTable(checkpoint.uri).version()
    assert feed_of(checkpoint.uri, version) == [
        Change(version, "delete", Event("a", 1)),
        Change(version, "insert", Event("a", 2)),
    ]
