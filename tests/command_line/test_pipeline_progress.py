"""The progress and the health of a pipeline, from its watermarks and its logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import StorageError
from engine.commands.status.health import Health, health_of
from engine.commands.status.pipeline_progress import LastRun, Shards, last_runs, progress_of, run_lines, shards_of
from engine.telemetry.freshness import BUCKETS, freshness
from writers import Watermark
from writers.log.entries import LogEntry, parse_entry
from writers.storage.write_probe import probe_writing

NOW = 1_709_640_000_000_000
MINUTE = 60_000_000


def mark(tag: str, minutes_ago: float, **changes) -> Watermark:
    high = NOW - int(minutes_ago * MINUTE)
    return Watermark(tag, **({"low": high - 60 * MINUTE, "high": high, "rows_total": 10} | changes))


def marks(*all_of_them: Watermark) -> dict[str, Watermark]:
    return {each.tag_webid: each for each in all_of_them}


def judged(*all_of_them: Watermark, runs: tuple[LastRun, ...] = (), at_work: bool = False, **changes) -> Health:
    return health_of(progress_of(marks(*all_of_them), NOW), NOW, runs, at_work=at_work, **changes)


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
    state = progress_of({}, NOW)
    assert (state.tags, state.low, state.high, state.freshness) == (0, None, None, None)


def test_tags_of_which_nothing_is_read_are_counted_apart():
    never = Watermark("new", 5, 5, status="failed", last_error="gone")
    state = progress_of(marks(mark("a", 1), never), NOW)
    assert (state.tags, state.unread, state.rows) == (2, 1, 10)
    assert state.failing == (never,)
    assert state.high == (NOW - MINUTE, NOW - MINUTE)


def test_tags_behind_are_those_far_from_the_freshest_and_the_worst_comes_first():
    state = progress_of(marks(mark("fresh", 1), mark("late", 62), mark("later", 600), mark("near", 60)), NOW)
    assert [each.tag_webid for each in state.behind] == ["later", "late"]


@pytest.mark.parametrize(
    ("watermarks", "well", "words"),
    [
        ((), False, "nothing has been read yet; `run` begins"),
        ((mark("a", 1), mark("b", 2)), True, "all of 2 tags read up to 2024-03-05 11:58:00Z, 2 min ago"),
        ((mark("a", 1), mark("b", 2, status="stuck")), False, "1 of 2 tags failing"),
        ((mark("a", 1), mark("b", 200)), False, "1 of 2 tags fell behind"),
        ((mark("a", 2000),), False, "nothing newer than 2024-03-04 02:40:00Z, 1 d 9 h ago; do runs still take place?"),
        ((Watermark("a", 5, 5),), False, "nothing of 1 tag has been read yet"),
    ],
)
def test_the_headline_says_what_matters_most(watermarks: tuple[Watermark, ...], well: bool, words: str):
    health = judged(*watermarks)
    assert (health.well, health.headline) == (well, words)


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
    health = judged(mark("a", 1), runs=last)
    assert (health.well, health.headline.startswith(words)) == (words == "all of 1 tag", True)
    assert judged(mark("a", 1), runs=last, at_work=True).well, "a run at work is at it again"


def test_a_pipeline_that_has_an_end_need_not_be_fresh():
    assert judged(mark("a", 2000), open_ended=False, max_age_secs=60).well


@pytest.mark.parametrize(("secs", "well"), [(119, False), (120, True), (1e9, True), (0, False)])
def test_the_worst_tag_is_held_against_the_age_that_is_allowed(secs: float, well: bool):
    health = judged(mark("a", 1), mark("b", 2), max_age_secs=secs)
    assert health.well == well
    assert well or "read up to 2024-03-05 11:58:00Z, 2 min ago; --max-age allows" in health.headline


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shards": Shards(4, ("2-of-4",))}, "3 of 4 shards have run; 2-of-4 never did"),
        ({"shards": Shards(3, ("0-of-3", "2-of-3"))}, "1 of 3 shards has run; 0-of-3 and 2-of-3 never did"),
        ({"holes": 2}, "2 holes in what is read; `status --gaps` names them"),
        ({"never_read": 1}, "1 tag that the configuration selects was never read"),
        ({"unreadable": ["The table has a feature that we cannot write."]}, "The table has a feature"),
    ],
)
def test_all_else_that_is_not_well_is_said_and_counts(changes: dict, words: str):
    health = judged(mark("a", 1), **changes)
    assert not health.well
    assert health.headline.startswith(words)
    assert judged(mark("a", 1)).well


def test_all_problems_are_told_and_the_worst_first():
    failed = (LastRun("r", "0-of-1", NOW, 0, status="failed"),)
    health = judged(mark("a", 1), mark("b", 200), mark("c", 3, status="failed"), runs=failed, holes=1, max_age_secs=60)
    assert [problem.split(";")[0].split(" read up")[0] for problem in health.problems] == [
        "1 of 3 tags failing", "1 of 3 tags fell behind", "the last run failed", "1 hole in what is read",
        "the tag furthest behind is",
    ]  # fmt: skip


def test_a_pipeline_that_never_ran_and_one_that_began_in_vain_are_told_apart():
    assert judged(seen=False).problems == ("it has never run; `run` begins",)
    failed = (LastRun("r", "0-of-1", NOW, 0, status="failed"),)
    assert judged(runs=failed).problems == ("nothing has been read yet; `run` begins", "the last run failed")
    assert judged(retired=3).problems == ("3 tags went away, and no other is selected",)


def test_tags_that_are_read_seldom_are_behind_later():
    seldom = progress_of(marks(mark("fresh", 1), mark("late", 600)), NOW, lambda _web_id: 6 * 60 * MINUTE)
    assert seldom.behind == ()
    assert progress_of(marks(mark("fresh", 1), mark("late", 600)), NOW, lambda _web_id: 60 * MINUTE).behind != ()


def entry(version: int, run: str, rows: int, pipeline: str = "plant", shard: str = "0-of-1") -> LogEntry:
    labels = {"app_id": f"osipi/{pipeline}/recorded/{shard}", "run_id": run}
    return LogEntry(version, {}, labels, at=NOW + version, rows=rows)


def test_commits_add_up_to_runs_newest_first():
    stranger = LogEntry(2, {}, {}, at=NOW + 2, rows=9)
    data = [entry(5, "b", 7), entry(4, "x", 1, pipeline="other"), entry(3, "a", 2), stranger, entry(1, "a", 3)]
    watermarks = [entry(9, "c", 50), entry(8, "b", 50)]
    assert last_runs("plant", data, watermarks, limit=5) == (
        LastRun("c", "0-of-1", NOW + 9, 0),
        LastRun("b", "0-of-1", NOW + 8, 7),
        LastRun("a", "0-of-1", NOW + 3, 5),
    )
    assert [run.run_id for run in last_runs("plant", data, watermarks, limit=1)] == ["c"]


def test_a_run_whose_first_commits_were_not_looked_at_may_have_more_events():
    [run] = last_runs("plant", [entry(9, "a", 2), entry(8, "a", 3)], [], limit=5)
    assert (run.events, run.or_more) == (5, True)


def log_entry(*actions: dict) -> bytes:
    return "\n".join(map(json.dumps, actions)).encode()


INFO = {"timestamp": 1_709_640_000_123, "osipi.run_id": "r", "osipi.app_id": "osipi/plant/recorded/0-of-1"}


def test_an_entry_of_the_log_tells_its_run_its_time_and_its_rows():
    # A tag may be called so that its name in the statistics looks like the count.
    named = {"numRecords": 4, "minValues": {"tag_webid": 'numRecords":99'}}
    adds = [{"add": {"path": "p", "stats": json.dumps(stats)}} for stats in ({"numRecords": 3}, named)]
    found = parse_entry(7, log_entry({"commitInfo": INFO}, *adds, {"add": {"path": "p", "stats": None}}))
    assert (found.version, found.at, found.rows) == (7, 1_709_640_000_123_000, 7)
    assert found.metadata == {"run_id": "r", "app_id": "osipi/plant/recorded/0-of-1"}
    later = parse_entry(8, log_entry({"commitInfo": {"inCommitTimestamp": 5, "operation": "OPTIMIZE"}}))
    assert (later.at, later.rows, later.metadata) == (5000, 0, {})


@pytest.mark.parametrize(
    ("seen", "newest", "count", "never"),
    [
        ((), (), 1, ()),
        (("0-of-1",), (), 1, ()),
        (("0-of-4", "1-of-4", "3-of-4"), (), 4, ("2-of-4",)),
        (("0-of-4", "backfill.1-of-4"), (), 4, ("1-of-4", "2-of-4", "3-of-4")),
        (("0-of-4", "0-of-1"), ("0-of-1",), 1, ()),
        (("0-of-1", "0-of-3"), ("0-of-3", "0-of-1"), 3, ("1-of-3", "2-of-3")),
        (("0-of-2",), ("1-of-2",), 2, ()),  # the lease of one is lost, its row in the metrics is not
        (("repair.0-of-1", "1-of-2"), (), 2, ("0-of-2",)),
    ],
)
def test_shards_that_never_ran_are_those_of_the_newest_division(seen, newest, count: int, never: tuple[str, ...]):
    runs = [LastRun("r", shard, NOW, 0) for shard in newest]
    assert shards_of(seen, runs) == Shards(count, never)


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


def test_a_run_of_a_cluster_is_one_line_with_its_shards_attempts_and_hourly_rows():
    rows = [
        LastRun("7", "1-of-2", NOW + 9, 5, status="succeeded", duration_seconds=3),
        LastRun("7", "0-of-2", NOW + 8, 4, status="incomplete", duration_seconds=7, tags_failed=2, error="two tags"),
        LastRun("7", "0-of-2", NOW + 1, 1, status="failed", duration_seconds=5, tags_failed=9),
        LastRun("6", "0-of-2", NOW, 1, status="succeeded", duration_seconds=1),
    ]
    first, second = run_lines(rows)
    assert first.shards == ("0-of-2", "1-of-2")
    assert (first.run.run_id, first.run.status, first.run.events, first.run.tags_failed) == ("7", "incomplete", 10, 2)
    assert (first.run.ended_at, first.run.duration_seconds, first.run.error) == (NOW + 9, 12, "two tags")
    assert (second.run.run_id, second.shards) == ("6", ("0-of-2",))


@given(
    st.lists(
        st.builds(
            LastRun,
            st.sampled_from("ab"),
            st.sampled_from(["0-of-2", "1-of-2"]),
            st.integers(NOW - 10, NOW),
            st.integers(0, 9),
            status=st.sampled_from(["", "succeeded", "incomplete", "interrupted", "failed"]),
            command=st.sampled_from(["run", "verify"]),
        )
    )
)
def test_lines_of_runs_lose_no_run_and_no_event(rows: list[LastRun]):
    lines = run_lines(rows)
    assert sum(line.run.events for line in lines) == sum(row.events for row in rows)
    assert [(line.run.run_id, line.run.command) for line in lines] == list(
        dict.fromkeys((row.run_id, row.command) for row in rows)
    )
