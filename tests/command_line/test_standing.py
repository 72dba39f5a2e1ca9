"""How a pipeline stands, from its watermarks and its logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import StorageError
from engine.commands.standing import LastRun, last_runs, standing
from engine.commands.status import Status
from engine.commands.status_view import headline
from engine.telemetry.freshness import BUCKETS, freshness
from writers import Watermark
from writers.history import Commit, newest_commits, parse_commit
from writers.probe import probe_writing

NOW = 1_709_640_000_000_000
MINUTE = 60_000_000


def mark(tag: str, minutes_ago: float, **changes) -> Watermark:
    high = NOW - int(minutes_ago * MINUTE)
    return Watermark(tag, **({"low": high - 60 * MINUTE, "high": high, "rows_total": 10} | changes))


def marks(*all_of_them: Watermark) -> dict[str, Watermark]:
    return {each.tag_webid: each for each in all_of_them}


def said(*all_of_them: Watermark, runs: tuple[LastRun, ...] = (), **changes) -> tuple[bool, str]:
    holders = changes.pop("holders", {})
    return headline(Status("plant", NOW, standing(marks(*all_of_them), NOW), runs, {}, holders, **changes))


@given(st.lists(st.integers(-(10**13), 10**13), min_size=1, max_size=50))
def test_every_tag_is_in_one_bucket_and_percentiles_are_ages_of_tags(ages: list[int]):
    fresh = freshness([NOW - age for age in ages], NOW)
    assert fresh is not None
    assert sum(tags for _, tags in fresh.histogram) == len(ages)
    seconds = sorted(max(0, age) / 1e6 for age in ages)
    assert fresh.worst == seconds[-1]
    for share, value in ((50, fresh.p50), (95, fresh.p95)):
        assert value in seconds
        assert sum(1 for each in seconds if each <= value) * 100 >= share * len(seconds)
        assert sum(1 for each in seconds if each < value) * 100 < share * len(seconds)


def test_bounds_of_buckets_belong_to_the_older_one():
    for number, (bound, _) in enumerate(BUCKETS):
        fresh = freshness([NOW - bound * 1_000_000], NOW)
        assert fresh.histogram[number + 1][1] == 1


def test_nothing_is_as_fresh_as_it_gets():
    assert freshness([], NOW) is None
    state = standing({}, NOW)
    assert (state.tags, state.low, state.high, state.freshness) == (0, None, None, None)


def test_tags_of_which_nothing_is_read_are_counted_apart():
    never = Watermark("new", 5, 5, status="failed", last_error="gone")
    state = standing(marks(mark("a", 1), never), NOW)
    assert (state.tags, state.unread, state.rows) == (2, 1, 10)
    assert state.troubled == (never,)
    assert state.high == (NOW - MINUTE, NOW - MINUTE)


def test_tags_behind_are_those_far_from_the_freshest_and_the_worst_comes_first():
    state = standing(marks(mark("fresh", 1), mark("late", 62), mark("later", 600), mark("near", 60)), NOW)
    assert [each.tag_webid for each in state.behind] == ["later", "late"]


@pytest.mark.parametrize(
    ("watermarks", "well", "words"),
    [
        ((), False, "nothing has been read yet; `run` begins"),
        ((mark("a", 1), mark("b", 2)), True, "all of 2 tags read up to 2024-03-05 11:58:00Z, 2 min ago"),
        ((mark("a", 1), mark("b", 2, status="stuck")), False, "1 of 2 tags in trouble"),
        ((mark("a", 1), mark("b", 200)), False, "1 of 2 tags fell behind"),
        ((mark("a", 2000),), False, "nothing newer than 2024-03-04 02:40:00Z, 1 d 9 h ago; do runs still take place?"),
        ((Watermark("a", 5, 5),), False, "nothing of 1 tag has been read yet"),
    ],
)
def test_the_headline_says_what_matters_most(watermarks: tuple[Watermark, ...], well: bool, words: str):
    assert said(*watermarks) == (well, f"pipeline plant: {words}")


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([("0-of-1", "failed", "run"), ("0-of-1", "succeeded", "run")], "the last run failed; read up to"),
        ([("0-of-1", "failed", "verify"), ("0-of-1", "succeeded", "run")], "all of 1 tag"),
        ([("0-of-1", "succeeded", "run"), ("0-of-1", "failed", "run")], "all of 1 tag"),
        ([("1-of-2", "succeeded", "run"), ("0-of-2", "incomplete", "run")], "the last run was incomplete; read up to"),
        ([("0-of-1", "succeeded", "run"), ("0-of-2", "failed", "run")], "all of 1 tag"),
        ([("0-of-1", "interrupted", "run")], "all of 1 tag"),
        ([("0-of-1", "", "run")], "all of 1 tag"),  # at work, or killed: nothing is known of it
    ],
)
def test_runs_that_fail_are_not_well_however_fresh_the_tags_are(runs: list[tuple[str, str, str]], words: str):
    last = tuple(LastRun("r", shard, NOW, 0, status=status, command=command) for shard, status, command in runs)
    well, text = said(mark("a", 1), runs=last)
    assert (well, text.startswith(f"pipeline plant: {words}")) == (words == "all of 1 tag", True)
    assert said(mark("a", 1), runs=last, holders={"0-of-1": "somebody"})[0], "a run at work is at it again"


def test_a_pipeline_that_has_an_end_need_not_be_fresh():
    assert said(mark("a", 2000), open_ended=False)[0]


def commit(version: int, run: str, rows: int, pipeline: str = "plant", shard: str = "0-of-1") -> Commit:
    return Commit(version, NOW + version, f"osipi/{pipeline}/recorded/{shard}", run, rows)


def test_commits_add_up_to_runs_newest_first():
    data = [commit(5, "b", 7), commit(4, "x", 1, pipeline="other"), commit(3, "a", 2), commit(1, "a", 3)]
    watermarks = [commit(9, "c", 50), commit(8, "b", 50)]
    assert last_runs("plant", data, watermarks, limit=5) == (
        LastRun("c", "0-of-1", NOW + 9, 0),
        LastRun("b", "0-of-1", NOW + 8, 7),
        LastRun("a", "0-of-1", NOW + 3, 5),
    )
    assert [run.run_id for run in last_runs("plant", data, watermarks, limit=1)] == ["c"]


def test_a_run_whose_first_commits_were_not_looked_at_may_have_more_events():
    [run] = last_runs("plant", [commit(9, "a", 2), commit(8, "a", 3)], [], limit=5)
    assert (run.events, run.or_more) == (5, True)


def log_entry(*actions: dict) -> bytes:
    return "\n".join(map(json.dumps, actions)).encode()


INFO = {"timestamp": 1_709_640_000_123, "osipi.run_id": "r", "osipi.app_id": "osipi/plant/recorded/0-of-1"}


def test_a_commit_tells_its_run_its_time_and_its_rows():
    adds = [{"add": {"path": "p", "stats": json.dumps({"numRecords": n})}} for n in (3, 4)]
    entry = log_entry({"commitInfo": INFO}, *adds, {"add": {"path": "p", "stats": None}})
    assert parse_commit(7, entry) == Commit(7, 1_709_640_000_123_000, "osipi/plant/recorded/0-of-1", "r", 7)
    assert parse_commit(7, log_entry({"commitInfo": {"timestamp": 1, "operation": "OPTIMIZE"}})) is None


def test_only_the_newest_entries_are_read_and_strangers_left_out(tmp_path: Path):
    log = tmp_path / "_delta_log"
    log.mkdir()
    for version in range(5):
        (log / f"{version:020}.json").write_bytes(log_entry({"commitInfo": INFO if version != 3 else {"timestamp": 1}}))
    (log / "_last_checkpoint").write_text("{}")
    (log / f"{4:020}.checkpoint.parquet").write_text("")
    assert [found.version for found in newest_commits(str(tmp_path), limit=3)] == [4, 2]


def test_a_probe_leaves_nothing_behind_and_respects_what_is_there(tmp_path: Path):
    probe_writing(str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    probe_writing(str(tmp_path / "a" / "b"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_a_probe_that_fails_says_why_and_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="in the way"):
        probe_writing(str(tmp_path / "file" / "below"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "file"]
