"""State that was lost is an error a person reads, never an empty start; and it can be rebuilt."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from config.errors import FencedError, LostStateError, StorageError, UnknownCommitError
from tests.landing.lake import Killed, Lake, event_rows, kill_at, land
from tests.memory_lakehouse import MemoryLakehouse, MemoryLease
from writers import (
    PI_TIMESERIES,
    PI_WATERMARKS,
    Commit,
    CommitKey,
    Landing,
    LandingRun,
    Move,
    Watermark,
    open_lakehouse,
    rebuild_watermarks,
)
from writers.landing.commit_ids import SequenceState, compare_sequences
from writers.watermarks.checkpoint_rows import encode

APP_ID = "osipi/p/recorded/0-of-1"


@pytest.fixture
def lake() -> Lake:
    return Lake(MemoryLakehouse())


def rebuild(lake: Lake, shard: str = "0-of-1", **options):
    return rebuild_watermarks(
        lake.lakehouse,
        PI_TIMESERIES,
        LandingRun(pipeline="p", dataset="recorded", shard=shard, run_id="rebuilder"),
        **options,
    )


@pytest.mark.parametrize(
    ("data", "watermarks", "state"),
    [
        (None, None, SequenceState.EQUAL),
        (None, 0, SequenceState.EQUAL),
        (3, 3, SequenceState.EQUAL),
        (1, None, SequenceState.ROLL_FORWARD),
        (4, 3, SequenceState.ROLL_FORWARD),
        (2, None, SequenceState.LOST),
        (5, 3, SequenceState.LOST),
        (2, 3, SequenceState.LOST),
        (None, 1, SequenceState.LOST),
    ],
)
def test_how_data_and_watermarks_stand(data, watermarks, state) -> None:
    assert compare_sequences(data, watermarks) is state


def test_two_tables_seen_while_a_rival_commits_are_looked_at_again(lake: Lake, monkeypatch) -> None:
    """Snapshots of two tables are not of one moment: a rival that commits twice in between is no lost state."""
    rival = lake.opened(run_id="rival")
    land(rival, "a", 0, 2)
    landing = lake.landing("0-of-1", "me")
    look, looks = type(landing)._refresh, []

    def slowly(self) -> None:
        looks.append(1)
        self._checkpoint = self._checkpoint_table.open()
        if len(looks) == 1:
            land(rival, "a", 2, 4)
            land(rival, "a", 4, 6)
            self._data = self._data_table.open()
        else:
            look(self)

    monkeypatch.setattr(type(landing), "_refresh", slowly)
    assert landing.open()["a"].high == 6
    assert len(looks) == 2


@pytest.mark.parametrize("commits", [1, 3])
def test_a_dropped_checkpoint_table_is_noticed_and_rebuilt(lake: Lake, commits: int) -> None:
    landing = lake.opened()
    for n in range(commits):
        land(landing, "a", 2 * n, 2 * n + 2)
    lake.lakehouse.drop(PI_WATERMARKS)
    with pytest.raises(LostStateError, match="checkpoint table is missing") as caught:
        lake.opened()
    assert "rebuild-watermarks" in caught.value.hint
    assert not lake.lakehouse.table(PI_WATERMARKS).exists()  # looking leaves no empty table behind
    report = rebuild(lake)
    assert (report.tags, report.rows, report.low, report.high) == (1, 2 * commits, 0, 2 * commits - 1)
    marks = lake.opened().open()
    assert marks["a"] == Watermark("a", 0, 2 * commits, 2 * commits - 1, 2 * commits)
    land(lake.opened(), "a", 2 * commits, 2 * commits + 3)
    assert lake.events() == [("a", t) for t in range(2 * commits + 3)]


def test_an_emptied_checkpoint_table_is_noticed(lake: Lake) -> None:
    landing = lake.opened()
    land(landing, "a", 0, 2)
    land(landing, "a", 2, 4)
    lake.lakehouse.drop(PI_WATERMARKS)
    lake.lakehouse.table(PI_WATERMARKS).open()
    with pytest.raises(LostStateError, match="data is at commit 2, the watermarks are at 0"):
        lake.opened()


def test_a_dropped_data_table_is_noticed_and_rebuilding_starts_over(lake: Lake) -> None:
    land(lake.opened(), "a", 0, 2)
    lake.lakehouse.drop(PI_TIMESERIES)
    with pytest.raises(LostStateError, match="data is at commit 0, the watermarks are at 1"):
        lake.opened()
    assert rebuild(lake).tags == 0
    assert lake.opened().open() == {}
    land(lake.opened(), "a", 0, 2)
    assert lake.events() == [("a", 0), ("a", 1)]


def test_a_rebuild_that_dies_halfway_is_noticed_and_repeated(lake: Lake, monkeypatch) -> None:
    land(lake.opened(), "a", 0, 2)
    lake.lakehouse.drop(PI_TIMESERIES)
    table = type(lake.lakehouse.table(PI_TIMESERIES).open())
    land_commit = table.commit

    def dies_at_the_data(self, commit):
        if self.spec is PI_TIMESERIES:
            raise Killed
        return land_commit(self, commit)

    with monkeypatch.context() as patch:
        patch.setattr(table, "commit", dies_at_the_data)
        with pytest.raises(Killed):
            rebuild(lake)
    with pytest.raises(LostStateError):
        lake.opened()
    rebuild(lake)
    assert lake.opened().open() == {}


def test_rebuilding_keeps_other_datasets_and_pipelines(lake: Lake) -> None:
    land(lake.opened(), "a", 0, 2)
    table = lake.lakehouse.table(PI_WATERMARKS).open()
    stage = table.stage()
    for pipeline, dataset in (("p", "frames"), ("q", "recorded")):
        stage.write(encode([Watermark("x", 1, 2)], pipeline=pipeline, dataset=dataset, sequence=1, updated_at=1))
    table.commit(Commit(CommitKey("someone", 1), stage.close()))
    rebuild(lake)
    rows = lake.lakehouse.table(PI_WATERMARKS).open().read(["pipeline", "dataset", "tag_webid"]).read_all()
    found = sorted(tuple(row.values()) for row in rows.to_pylist())
    unknown = ("p", "recorded.holes", "")  # which holes there were
    assert found == [("p", "frames", "x"), ("p", "recorded", "a"), unknown, ("q", "recorded", "x")]


def test_rebuilding_leaves_out_only_what_belongs_to_others_beyond_doubt(lake: Lake) -> None:
    """`kept` and `wanted` are read by two pipelines: one says it by its watermark, the other by its configuration."""
    landing = lake.opened()
    for tag in ("ours", "kept", "wanted", "strange"):
        land(landing, tag, 0, 2)
    lake.lakehouse.drop(PI_WATERMARKS)
    table = lake.lakehouse.table(PI_WATERMARKS).open()
    stage = table.stage()
    for pipeline, tags in (("p", ["kept"]), ("q", ["kept", "wanted", "strange"])):
        marks = [Watermark(tag, 0, 2) for tag in tags]
        stage.write(encode(marks, pipeline=pipeline, dataset="recorded", sequence=1, updated_at=1))
    table.commit(Commit(CommitKey("someone", 1), stage.close()))
    report = rebuild(lake, selected={"wanted"})
    assert (report.tags, report.strangers) == (3, 1)
    assert sorted(lake.opened().open()) == ["kept", "ours", "wanted"]


def test_a_staged_watermark_file_that_vanished_is_lost_state(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    with pytest.raises(Killed):
        land(lake.opened(on_step=kill_at("after_data_commit")), "a", 0, 2)
    for file in tmp_path.rglob("pi_watermarks/**/part-*.parquet"):
        file.unlink()
    with pytest.raises(LostStateError, match="watermarks of commit 1 are gone") as caught:
        lake.opened()
    assert "rebuild-watermarks" in caught.value.hint
    rebuild(lake)
    assert lake.opened().open()["a"].high == 2


def test_a_log_that_lost_the_commit_is_lost_state(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    with pytest.raises(Killed):
        land(lake.opened(on_step=kill_at("after_data_commit")), "a", 0, 2)
    data = lake.lakehouse.table(PI_TIMESERIES).open()
    data._table.create_checkpoint()
    for entry in (Path(data.uri) / "_delta_log").glob("*.json"):
        entry.unlink()
    with pytest.raises(LostStateError, match="no longer holds commit 1"):
        lake.opened()


def test_a_dead_shard_is_finished_by_its_neighbour(lake: Lake) -> None:
    lease = lake.lakehouse.lease("p", "1-of-2", "dead")
    lease.acquire()
    with pytest.raises(Killed):
        land(lake.opened("1-of-2", "dead", on_step=kill_at("after_data_commit")), "b", 0, 2)
    # While it holds its lease it may be alive, between its two commits: it is left alone.
    assert lake.opened("0-of-2").open() == {}
    lease.release()
    marks = lake.opened("0-of-2").open()
    assert marks["b"].high == 2
    assert lake.opened("1-of-2").open()["b"].high == 2


def test_shards_of_another_division_are_refused_while_alive_and_finished_when_dead(lake: Lake) -> None:
    lease = lake.lakehouse.lease("p", "1-of-2", "old-run")
    lease.acquire()
    with pytest.raises(Killed):
        land(lake.opened("1-of-2", "old-run", on_step=kill_at("after_data_commit")), "b", 0, 2)
    for _ in range(2):
        with pytest.raises(FencedError, match="old-run"):
            lake.opened("0-of-1")
    lease.release()
    landing = lake.opened("0-of-1")
    assert landing.open()["b"].high == 2
    land(landing, "b", 2, 4)
    assert lake.events() == [("b", t) for t in range(4)]


def test_rows_of_a_dead_run_whose_watermarks_and_lease_were_dropped_are_no_empty_start(lake: Lake) -> None:
    """Its data is one commit ahead of a table that is new: reading again from the start would double its rows."""
    with pytest.raises(Killed):
        land(lake.opened("1-of-2", on_step=kill_at("after_data_commit")), "b", 0, 2)
    lake.lakehouse.drop(PI_WATERMARKS)
    other = Landing(lake.lakehouse, PI_TIMESERIES, LandingRun(pipeline="q", dataset="recorded", run_id="q-1"))
    other.open()  # makes the table anew
    land(other, "x", 0, 1)
    with pytest.raises(LostStateError, match="the watermarks of commit 1 are gone"):
        lake.opened("0-of-1")


def test_a_silent_run_of_another_division_lands_nothing_more_when_it_wakes(lake: Lake, monkeypatch) -> None:
    """Its successors commit under other names, so only a fence under its own name can stop it."""
    lake.lakehouse.lease("p", "0-of-1", "asleep").acquire()
    asleep = lake.opened("0-of-1", "asleep")
    land(asleep, "a", 0, 3)
    batch = asleep.begin()
    batch.write(event_rows("a", [3, 4]))
    # A holder that is silent for long enough is succeeded.
    monkeypatch.setattr(MemoryLease, "acquire", lambda _lease: None)
    land(lake.opened("0-of-2"), "a", 3, 5)
    with pytest.raises(FencedError):
        batch.commit([Move("a", 3, 5, 4, 2)])
    with pytest.raises(RuntimeError, match="open the landing"):
        asleep.begin()
    assert lake.events() == [("a", t) for t in range(5)]


def test_rebuilding_covers_all_shards_and_refuses_while_one_is_at_work(lake: Lake) -> None:
    for shard, tag in (("0-of-2", "a"), ("1-of-2", "b")):
        lease = lake.lakehouse.lease("p", shard, f"run of {shard}")
        lease.acquire()
        landing = lake.opened(shard)
        land(landing, tag, 0, 2)
        land(landing, tag, 2, 4)
        if shard == "0-of-2":
            lease.release()
    lake.lakehouse.drop(PI_WATERMARKS)
    with pytest.raises(FencedError, match=r"1-of-2.*run of 1-of-2"):
        rebuild(lake, "0-of-2")
    lease.release()
    assert rebuild(lake, "0-of-2").tags == 2
    for shard in ("0-of-2", "1-of-2"):
        assert {m.tag_webid: m.high for m in lake.opened(shard).open().values()} == {"a": 4, "b": 4}


def test_watermarks_alone_stay_where_it_is_unknown_whether_they_landed(tmp_path: Path, monkeypatch) -> None:
    from writers.delta.table import OpenDeltaTable

    lake = Lake(open_lakehouse(tmp_path))
    land(lake.opened(), "a", 0, 2)
    landing = lake.opened()

    def cannot_look(self, base, token):
        raise UnknownCommitError("the log cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(OpenDeltaTable, "_look", cannot_look)
        with pytest.raises(UnknownCommitError):
            landing.begin().commit([Move("a", 2, 9)])
    with pytest.raises(RuntimeError, match="open the landing"):
        landing.begin()
    assert lake.opened().open()["a"] == Watermark("a", 0, 9, 1, 2)


def test_after_a_commit_there_is_nothing_to_abort(tmp_path: Path) -> None:
    """Whatever came of it: the files may be in the log."""
    lake = Lake(open_lakehouse(tmp_path))
    for step in ("nowhere", "after_data_commit"):
        start = len(lake.events())
        batch = lake.opened(on_step=kill_at(step)).begin()
        batch.write(event_rows("a", [start]))
        with pytest.raises(Killed) if step == "after_data_commit" else nullcontext():
            batch.commit([Move("a", start, start + 1, start, 1)])
        batch.abort()
        assert lake.events() == [("a", t) for t in range(start + 1)]


def test_an_unknown_outcome_is_settled_by_the_next_open(tmp_path: Path, monkeypatch) -> None:
    from writers.delta.table import OpenDeltaTable

    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    look = OpenDeltaTable._look

    def cannot_look(self, base, token):
        raise UnknownCommitError("the log cannot be read")

    for table in ("data", "checkpoint"):
        start = lake.opened().open()["a"].high if table == "checkpoint" else 0
        landing.open()
        with monkeypatch.context() as patch:
            name = {"data": "pi_timeseries", "checkpoint": "pi_watermarks"}[table]
            patch.setattr(
                OpenDeltaTable,
                "_look",
                lambda self, base, token, name=name: (cannot_look if self.spec.name == name else look)(
                    self, base, token
                ),
            )
            with pytest.raises(UnknownCommitError):
                land(landing, "a", start, start + 2)
        with pytest.raises(RuntimeError, match="open the landing"):
            landing.begin()
        assert landing.open()["a"].high == start + 2
        assert lake.events() == [("a", t) for t in range(start + 2)]


def test_a_failure_that_surely_did_not_land_cleans_up_and_the_run_may_go_on(tmp_path: Path, monkeypatch) -> None:
    from writers.delta.table import OpenDeltaTable

    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    with monkeypatch.context() as patch:
        patch.setattr(OpenDeltaTable, "_send", lambda *_: OSError("No space left on device (os error 28)"))
        with pytest.raises(StorageError, match="no room left"):
            land(landing, "a", 0, 2)
    assert list(tmp_path.rglob("part-*.parquet")) == []
    land(landing, "a", 0, 2)
    assert lake.events() == [("a", 0), ("a", 1)]


def test_aborted_batches_leave_nothing(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    batch = landing.begin()
    batch.write(event_rows("a", [1, 2]))
    assert batch.rows == 2
    batch.abort()
    landing.begin().commit([Move("a", 0, 1)])
    assert lake.events() == []


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_watermarks_that_another_shard_adds_to_meanwhile_are_put_together_another_time(
    kind: str, tmp_path: Path
) -> None:
    lake = Lake(MemoryLakehouse() if kind == "memory" else open_lakehouse(tmp_path))
    lake.options["many_files"] = 2
    other = lake.opened("1-of-2")
    ends = iter(range(10, 100, 10))

    def come_between(step: str) -> None:
        if step == "after_watermark_commit":
            end = next(ends)
            land(other, "b", end - 10, end)

    ours = lake.opened("0-of-2", on_step=come_between)
    for end in (10, 20, 30):
        land(ours, "a", end - 10, end)
    marks = lake.opened("0-of-2").open()
    assert {tag: (mark.low, mark.high, mark.rows_total) for tag, mark in marks.items()} == {
        "a": (0, 30, 30),
        "b": (0, 30, 30),
    }
