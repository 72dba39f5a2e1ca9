"""Whatever dies, races or repeats: the table holds what the watermarks say, each event once."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import FencedError
from tests.crash.process import at_once
from tests.examples import examples
from tests.landing.lake import Killed, Lake, event_rows, kill_at, land
from tests.landing.worker import worker
from tests.memory_lakehouse import MemoryLakehouse
from tests.variants import slowly
from writers import PI_WATERMARKS, Move, open_lakehouse

STEPS = ("before_staging", "after_staging", "after_data_commit", "after_watermark_commit")


def promised(lake: Lake, shard: str = "0-of-1") -> list[tuple[str, int]]:
    """What the watermarks say is in the table (the tests land every microsecond of a window)."""
    marks = lake.opened(shard).open()
    return sorted((m.tag_webid, t) for m in marks.values() for t in range(m.low, m.high))


@pytest.mark.parametrize("kind", ["memory", "folder"])
@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_dies_at_any_step_is_finished_by_the_next(step: str, kind: str, tmp_path: Path) -> None:
    lake = Lake(MemoryLakehouse() if kind == "memory" else open_lakehouse(tmp_path))
    land(lake.opened(), "a", 0, 3)
    with pytest.raises(Killed):
        land(lake.opened(on_step=kill_at(step)), "a", 3, 6)
    marks = lake.opened().open()
    assert marks["a"].high == (6 if step in STEPS[2:] else 3)
    assert marks["a"].rows_total == marks["a"].high
    assert lake.events() == [("a", t) for t in range(marks["a"].high)]
    land(lake.opened(), "a", marks["a"].high, 9)
    assert lake.events() == promised(lake) == [("a", t) for t in range(9)]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.sampled_from([None, *STEPS])), min_size=1, max_size=12
    )
)
def test_crashes_anywhere_and_reruns_leave_data_and_watermarks_equal(work) -> None:
    lake = Lake(MemoryLakehouse())
    for tag, length, crash in work:
        landing = lake.landing(on_step=kill_at(crash or "never"))
        before = landing.open().get(tag)
        start = before.high if before else 0
        try:
            land(landing, tag, start, start + length)
        except Killed:
            after = lake.opened().open().get(tag)
            landed = crash in STEPS[2:] or length == 0
            if crash in STEPS[:2]:
                assert after == before
            elif landed and length:
                assert after is not None
                assert after.high == start + length
        assert lake.events() == promised(lake)


ACTIONS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["open", "land", "land"]), st.sampled_from([None, *STEPS])),
    max_size=25,
)


@given(ACTIONS)
@example([(0, "open", None), (1, "open", None), (0, "land", None), (1, "land", None), (0, "land", None)])
@example([(0, "open", None), (1, "open", None), (0, "land", "after_data_commit"), (1, "land", None), (1, "land", None)])
def test_two_runs_of_one_shard_and_one_of_another_stay_exact(actions) -> None:
    """Runs 0 and 1 share a shard and do not know of each other; run 2 is the other shard."""
    check_interleaving(Lake(MemoryLakehouse()), actions)


@examples(8)
@given(ACTIONS)
def test_the_same_on_delta_tables(actions) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_interleaving(Lake(open_lakehouse(folder)), actions)


def check_interleaving(lake: Lake, actions) -> None:
    shards = ("0-of-2", "0-of-2", "1-of-2")
    alive: dict[int, tuple] = {}
    for runner, action, crash in actions:
        tag = f"tag of {shards[runner]}"
        if action == "open" or runner not in alive:
            landing = lake.landing(shards[runner])
            alive[runner] = (landing, landing.open())
        if action == "open":
            continue
        landing, marks = alive[runner]
        landing.on_step = kill_at(crash or "never")
        start = marks[tag].high if tag in marks else 0
        try:
            land(landing, tag, start, start + 2)
        except (FencedError, Killed):
            del alive[runner]
    lake.opened("0-of-2")  # each shard sees to itself; who died without a lease is seen by no other
    assert lake.events() == promised(lake, "1-of-2") == promised(lake, "0-of-2")


def test_a_window_without_events_moves_the_watermark_alone() -> None:
    lake = Lake(MemoryLakehouse())
    landing = lake.opened()
    land(landing, "a", 0, 2)
    receipt = landing.begin().commit([Move("a", 2, 9)])
    assert receipt.data is None
    assert receipt.rows == 0
    mark = lake.opened().open()["a"]
    assert (mark.low, mark.high, mark.last_event, mark.rows_total) == (0, 9, 1, 2)


def test_a_failed_tag_is_recorded_and_keeps_its_window() -> None:
    lake = Lake(MemoryLakehouse())
    landing = lake.opened()
    land(landing, "a", 0, 2)
    landing.begin().commit([Move("a", 2, 2, status="failed", last_error="no such point")])
    mark = lake.opened().open()["a"]
    assert (mark.low, mark.high, mark.status, mark.last_error) == (0, 2, "failed", "no such point")
    land(lake.opened(), "a", 2, 4)
    mark = lake.opened().open()["a"]
    assert (mark.high, mark.status, mark.last_error) == (4, "ok", None)


def test_the_mapping_of_open_follows_the_commits() -> None:
    landing = Lake(MemoryLakehouse()).landing()
    marks = landing.open()
    land(landing, "a", 5, 9)
    land(landing, "a", 2, 5)
    assert (marks["a"].low, marks["a"].high, marks["a"].rows_total, marks["a"].last_event) == (2, 9, 7, 8)


def test_rows_that_no_move_accounts_for_do_not_land(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    batch = landing.begin()
    batch.write(event_rows("a", [1, 2]))
    with pytest.raises(ValueError, match="2 rows were written and 1 are accounted for"):
        batch.commit([Move("a", 0, 3, 2, 1)])
    assert list(tmp_path.rglob("part-*.parquet")) == []
    land(landing, "a", 0, 3)
    batch = landing.begin()
    batch.write(event_rows("a", [8]))
    with pytest.raises(ValueError, match="does not touch"):
        batch.commit([Move("a", 7, 9, 8, 1)])
    assert lake.events() == [("a", 0), ("a", 1), ("a", 2)]


def test_a_fenced_commit_removes_its_files_and_the_landing_must_be_opened_again(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    late, quick = lake.opened(run_id="late"), lake.opened(run_id="quick")
    land(quick, "a", 0, 2)
    files = sorted(tmp_path.rglob("part-*.parquet"))
    with pytest.raises(FencedError, match="quick"):
        land(late, "a", 0, 2)
    assert sorted(tmp_path.rglob("part-*.parquet")) == files
    with pytest.raises(RuntimeError, match="open the landing"):
        late.begin()
    assert late.open()["a"].high == 2
    land(late, "a", 2, 3)
    assert lake.events() == [("a", 0), ("a", 1), ("a", 2)]


def test_many_small_commits_are_put_together(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    lake.options["many_files"] = 8
    landing = lake.opened()
    for n in range(10):
        land(landing, "ab"[n % 2], n // 2, n // 2 + 1)
    table = lake.lakehouse.table(PI_WATERMARKS).open()
    assert table.file_count(where={"pipeline": "p"}) == 10 - 8 + 1
    assert {m.tag_webid: (m.low, m.high, m.rows_total) for m in lake.opened().open().values()} == {
        "a": (0, 5, 5),
        "b": (0, 5, 5),
    }
    assert lake.events() == promised(lake)


@pytest.fixture(scope="module")
def forks() -> None:
    at_once()


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize(
    "step", ["after_staging", "after_data_commit", *slowly("before_staging", "after_watermark_commit")]
)
async def test_sigkill_at_each_step_then_rerun(step: str, tmp_path: Path) -> None:
    killed = await worker(tmp_path, "killed", until=4, kill=step).end()
    assert killed.code == -signal.SIGKILL
    second = await worker(tmp_path, "second", until=4).end()
    assert second.code == 0, second.output
    lake = Lake(open_lakehouse(tmp_path))
    assert lake.events() == promised(lake) == [("tag of 0-of-1", t) for t in range(8)]


@pytest.mark.usefixtures("forks")
async def test_processes_racing_on_one_shard_and_one_on_another_stay_exact(tmp_path: Path) -> None:
    """They bypass the lease on purpose: the commit alone must hold."""
    racers = [worker(tmp_path, f"racer-{n}", shard="0-of-2") for n in range(3)]
    racers.append(worker(tmp_path, "neighbour", shard="1-of-2"))
    for racer in racers:
        ended = await racer.end()
        assert ended.code == 0, ended.output
    lake = Lake(open_lakehouse(tmp_path))
    expected = sorted((f"tag of {s}", t) for s in ("0-of-2", "1-of-2") for t in range(12))
    assert lake.events() == promised(lake, "0-of-2") == expected
