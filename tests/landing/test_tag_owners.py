"""A tag of one data table belongs to one pipeline: who came first, who is refused, and how tags go over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from config.errors import ConfigurationError, ExtractError, FencedError
from tests.landing.lake import Killed, kill_at, land
from tests.memory_lakehouse import MemoryLakehouse
from tests.unity.places import stand_in_lakehouse
from tests.variants import crossed, slowly
from writers import (
    PI_TIMESERIES,
    PI_WATERMARKS,
    Commit,
    CommitKey,
    Handover,
    Held,
    Landing,
    LandingRun,
    Move,
    TagOwners,
    Watermark,
    open_lakehouse,
    rebuild_watermarks,
    refuse,
)
from writers.landing.tag_owners import table_name
from writers.watermarks.checkpoint_rows import encode

DATASET = "recorded"
OTHER_TABLE = replace(PI_TIMESERIES, name="pi_other")


@pytest.fixture(params=["memory", "folder", *slowly("managed", "external")])
def open_lake(request, tmp_path) -> Iterator:
    """Opens the lakehouse as a new run does."""
    if request.param == "memory":
        memory = MemoryLakehouse()
        yield lambda: memory
    elif request.param == "folder":
        yield lambda: open_lakehouse(tmp_path)
    else:
        with stand_in_lakehouse(request.param, str(tmp_path), None) as lakehouse:
            yield lakehouse


@pytest.fixture
def lake(open_lake):
    return Pipelines(open_lake)


class Pipelines:
    """Runs of several pipelines on one lakehouse."""

    def __init__(self, opened) -> None:
        self.opened = opened
        self._runs = count(1)

    def owners(self, pipeline: str, *, spec=PI_TIMESERIES, **options) -> TagOwners:
        run_id = f"{pipeline}-{next(self._runs)}"
        return TagOwners(self.opened(), spec, LandingRun(pipeline=pipeline, dataset=DATASET, run_id=run_id, **options))

    def landing(self, pipeline: str, *, spec=PI_TIMESERIES, shard: str = "0-of-1", **options) -> Landing:
        run_id = f"{pipeline}-{next(self._runs)}"
        return Landing(
            self.opened(), spec, LandingRun(pipeline=pipeline, dataset=DATASET, shard=shard, run_id=run_id, **options)
        )

    def start(self, pipeline: str, tags: list[str], *, spec=PI_TIMESERIES, shard: str = "0-of-1", **options):
        """What a run does before it reads: the landing, or who has the tags."""
        landing = self.landing(pipeline, spec=spec, shard=shard)
        marks = landing.open()
        held = self.owners(pipeline, spec=spec, **options).claim(tags, marks, landing.checkpoint)
        return held or landing

    def run(self, pipeline: str, tags: list[str], until: int, **options) -> list[Held] | None:
        """Land an event a microsecond of each tag; or say who has them."""
        landing = self.start(pipeline, tags, **options)
        if not isinstance(landing, Landing):
            return landing
        marks = landing.open()
        for tag in tags:
            land(landing, tag, marks[tag].high if tag in marks else 0, until)
        return None

    def take_over(self, source: str, tags: list[str], to: str, **options):
        run_id = f"{to}-{next(self._runs)}"
        giver = Handover(
            self.opened(), PI_TIMESERIES, LandingRun(pipeline=source, dataset=DATASET, run_id=run_id, **options)
        )
        return giver.hand_over(tags, to)

    def events(self, spec=PI_TIMESERIES) -> list[tuple[str, int]]:
        rows = self.opened().table(spec).open().read(["tag_webid", "timestamp"]).read_all()
        return sorted(zip(rows["tag_webid"].to_pylist(), rows["timestamp"].cast(pa.int64()).to_pylist(), strict=True))

    def rows(self, pipeline: str) -> set[tuple[str, str]]:
        rows = self.opened().table(PI_WATERMARKS).open().read(["dataset", "tag_webid"], where={"pipeline": pipeline})
        return {(row["dataset"], row["tag_webid"]) for row in rows.read_all().to_pylist()}

    def versions(self) -> tuple[int, int]:
        lakehouse = self.opened()
        return tuple(lakehouse.table(spec).open().version for spec in (PI_TIMESERIES, PI_WATERMARKS))

    def add_rows(self, pipeline: str, dataset: str, *marks: Watermark) -> None:
        table = self.opened().table(PI_WATERMARKS).open()
        stage = table.stage()
        stage.write(encode(marks, pipeline=pipeline, dataset=dataset, sequence=0, updated_at=1))
        table.commit(Commit(CommitKey(f"someone-{next(self._runs)}", 1), stage.close()))


def each_once(*tags: str, until: int) -> list[tuple[str, int]]:
    return [(tag, at) for tag in sorted(tags) for at in range(until)]


# --- who came first ------------------------------------------------------------


def test_the_second_pipeline_is_told_who_has_the_tags(lake) -> None:
    assert lake.run("a", ["x", "y"], 3) is None
    before = lake.versions()
    assert lake.run("b", ["w", "x", "y"], 3) == [Held("a", ("x", "y"))]
    assert lake.run("b", ["x"], 3) == [Held("a", ("x",))]
    assert lake.versions() == before  # nothing was claimed, not even what is free
    assert lake.run("b", ["w"], 3) is None
    assert lake.run("a", ["x", "y"], 5) is None
    assert lake.events() == sorted(each_once("x", "y", until=5) + each_once("w", until=3))


def test_a_pipeline_that_died_after_its_claim_keeps_it(lake) -> None:
    assert isinstance(lake.start("a", ["x"]), Landing)
    assert lake.run("b", ["x"], 3) == [Held("a", ("x",))]
    assert lake.run("a", ["x"], 3) is None
    assert lake.events() == each_once("x", until=3)


def test_a_tag_that_only_ever_failed_is_owned_too(lake) -> None:
    landing = lake.start("a", ["x"])
    landing.begin().commit([Move("x", 0, 0, status="failed", last_error="it is forbidden")])
    assert lake.run("b", ["x"], 3) == [Held("a", ("x",))]


def test_failed_rows_of_an_earlier_version_are_owned_where_the_table_is_not_known(lake) -> None:
    landing = lake.landing("a")
    landing.open()
    landing.begin().commit([Move("x", 0, 0, status="failed", last_error="it is forbidden")])
    assert lake.run("b", ["x"], 3) == [Held("a", ("x",))]


def test_tags_that_two_pipelines_have_brought_already_are_refused_to_both(lake) -> None:
    for pipeline in ("a", "b"):  # as earlier versions let them
        landing = lake.landing(pipeline)
        landing.open()
        land(landing, "x", 0, 2)
    assert lake.run("a", ["x"], 4) == [Held("b", ("x",))]
    assert lake.run("b", ["x"], 4) == [Held("a", ("x",))]
    assert lake.take_over("b", ["x"], "a").doubled == ("x",)
    assert lake.run("a", ["x"], 4) is None
    assert lake.run("b", ["x"], 4) == [Held("a", ("x",))]
    assert lake.events() == sorted(each_once("x", until=2) + each_once("x", until=4))


def test_a_steady_run_commits_nothing_to_make_sure(lake) -> None:
    lake.run("a", ["x", "y"], 3)
    lake.run("b", ["z"], 3)
    before = lake.versions()
    assert isinstance(lake.start("a", ["x", "y"]), Landing)
    assert lake.versions() == before


def test_a_claim_says_nothing_about_what_is_done(lake) -> None:
    lake.start("a", ["x"])
    assert lake.landing("a").open() == {}


def test_shards_of_one_pipeline_claim_side_by_side(lake) -> None:
    for shard, tag in (("0-of-2", "x"), ("1-of-2", "y")):
        assert lake.run("a", [tag], 3, shard=shard) is None
    assert lake.run("b", ["x", "y"], 3) == [Held("a", ("x", "y"))]


def test_a_claim_between_the_look_and_the_commit_of_another_wins(lake) -> None:
    """Whatever overlaps: the later one of two is fenced, looks again, and is refused, or claims what is free."""
    began = []

    def come_between(step: str) -> None:
        if step == "before_claim" and not began:
            began.append(lake.start("b", ["y", "z"]))

    assert lake.start("a", ["x", "y"], on_step=come_between) == [Held("b", ("y",))]
    assert isinstance(began[0], Landing)
    assert lake.rows("a") == set()
    began.clear()

    def beside(step: str) -> None:
        if step == "before_claim" and not began:
            began.append(lake.start("d", ["v"]))

    assert isinstance(lake.start("c", ["u"], on_step=beside), Landing)
    assert isinstance(began[0], Landing)


def test_of_many_that_claim_at_once_each_tag_has_one(lake) -> None:
    lake.run("first", ["begun"], 1)
    tags = [f"tag-{n}" for n in range(5)]
    gate, found = threading.Barrier(4), {}

    def claim(pipeline: str) -> None:
        gate.wait()
        found[pipeline] = lake.start(pipeline, tags)

    threads = [threading.Thread(target=claim, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [pipeline for pipeline, held in found.items() if isinstance(held, Landing)]
    assert all(held == [Held(winner, tuple(tags))] for name, held in found.items() if name != winner)


def test_tags_of_others_can_be_left_out_and_the_rest_is_claimed(lake) -> None:
    lake.run("a", ["x"], 3)
    landing = lake.landing("b")
    marks = landing.open()
    held = lake.owners("b").claim(["x", "y"], marks, landing.checkpoint, leave_out=True)
    assert held == [Held("a", ("x",))]
    assert {tag for _, tag in lake.rows("b")} == {"y"}


# --- which table ---------------------------------------------------------------


@pytest.fixture(params=["memory", "folder"])
def two_tables(request, tmp_path) -> Pipelines:
    memory = MemoryLakehouse()
    return Pipelines((lambda: memory) if request.param == "memory" else (lambda: open_lakehouse(tmp_path)))


def test_a_pipeline_that_writes_to_another_data_table_is_in_no_ones_way(two_tables) -> None:
    lake = two_tables
    lake.start("claimed", ["x"], spec=OTHER_TABLE)
    lake.run("landed", ["x"], 3, spec=PI_TIMESERIES)
    assert lake.run("landed too", ["y"], 3, spec=OTHER_TABLE) is None
    assert lake.run("late", ["x"], 3, spec=OTHER_TABLE) == [Held("claimed", ("x",))]
    assert lake.events() == each_once("x", until=3)


def test_a_pipeline_of_an_earlier_version_is_known_by_the_log_of_its_data_table(two_tables) -> None:
    lake = two_tables
    landing = lake.landing("old", spec=OTHER_TABLE)
    landing.open()
    land(landing, "x", 0, 3)
    assert lake.run("new", ["x"], 3) is None
    assert lake.run("late", ["x"], 3, spec=OTHER_TABLE) == [Held("old", ("x",))]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/lake/main/bronze/pi_timeseries", "bronze.pi_timeseries"),
        ("s3://bucket/a.b/main/bronze/pi_timeseries/", "bronze.pi_timeseries"),
        ("main.bronze.pi_timeseries", "bronze.pi_timeseries"),
    ],
)
def test_a_table_has_one_name_however_its_root_is_spelled(uri: str, name: str) -> None:
    assert table_name(uri) == name


# --- going over ----------------------------------------------------------------


def test_tags_go_over_and_are_read_on_where_the_old_pipeline_ended(lake) -> None:
    lake.run("a", ["x", "y", "z"], 3)
    assert lake.take_over("a", ["x", "y", "unknown"], "b").tags == 2
    assert lake.run("b", ["x", "y"], 6) is None
    assert lake.run("a", ["x", "y", "z"], 6) == [Held("b", ("x", "y"))]
    assert lake.run("a", ["z"], 6) is None
    assert lake.events() == each_once("x", "y", "z", until=6)
    assert lake.take_over("a", ["x", "y"], "b").tags == 0  # a job that says so again


def test_tags_go_there_and_back(lake) -> None:
    lake.run("a", ["x"], 2)
    for source, to, until in (("a", "b", 4), ("b", "a", 6), ("a", "b", 8)):
        assert lake.take_over(source, ["x"], to).tags == 1
        assert lake.run(to, ["x"], until) is None
        assert lake.run(source, ["x"], until) == [Held(to, ("x",))]
    assert lake.events() == each_once("x", until=8)


def test_everything_that_is_kept_of_a_tag_goes_over_and_nothing_of_others(lake) -> None:
    lake.run("a", ["x", "y"], 2)
    lake.add_rows("a", "recorded.notes", Watermark("x", 1, 2), Watermark("x", 5, 6), Watermark("y", 1, 2))
    lake.add_rows("a", "recordings", Watermark("x", 1, 2))
    lake.take_over("a", ["x"], "b")
    assert {row for row in lake.rows("b") if "claims" not in row[0]} == {("recorded", "x"), ("recorded.notes", "x")}
    assert {row for row in lake.rows("a") if "claims" not in row[0]} == {
        ("recorded", "y"),
        ("recorded.notes", "y"),
        ("recordings", "x"),
    }
    notes = lake.opened().table(PI_WATERMARKS).open().read(where={"pipeline": "b"}).read_all()
    kept = notes.filter(pc.equal(notes["dataset"].cast(pa.string()), "recorded.notes"))
    assert sorted(kept["low"].cast(pa.int64()).to_pylist()) == [1, 5]


def test_a_claim_goes_over_like_a_watermark(lake) -> None:
    lake.start("a", ["x"])
    assert lake.take_over("a", ["x"], "b").tags == 1
    assert lake.run("b", ["x"], 3) is None
    assert lake.run("a", ["x"], 3) == [Held("b", ("x",))]


@pytest.mark.parametrize("shard", ["0-of-1", "1-of-2", "backfill.0-of-1", "repair.0-of-1"])
def test_nothing_goes_over_while_the_old_pipeline_is_at_work(lake, shard: str) -> None:
    lake.run("a", ["x"], 3)
    lease = lake.opened().lease("a", shard, "busy")
    lease.acquire()
    stop = threading.Event()
    renewing = threading.Thread(target=lambda: [lease.renew() for _ in iter(lambda: stop.wait(0.2), True)])
    renewing.start()
    try:
        with pytest.raises(FencedError, match=r"No tag was taken over from pipeline a: .*busy") as caught:
            lake.take_over("a", ["x"], "b")
    finally:
        stop.set()
        renewing.join()
    assert "Stop the runs of a" in caught.value.hint
    assert lake.run("b", ["x"], 3) == [Held("a", ("x",))]


@pytest.mark.parametrize("shard", ["0-of-1", "backfill.0-of-1", "3-of-4"])
def test_a_run_that_only_seemed_to_be_over_fails_at_its_next_commit(lake, shard: str) -> None:
    """Paused, without a lease: whether it has committed before, or has only just opened."""
    lake.run("a", ["x"], 3)
    paused = lake.landing("a", shard=shard)
    paused.open()
    if shard == "3-of-4":  # known by its lease alone
        lease = lake.opened().lease("a", shard, "gone")
        lease.acquire()
        lease.release()
    lake.take_over("a", ["x"], "b")
    with pytest.raises(FencedError):
        land(paused, "x", 3, 5)
    assert "x" not in paused.open()
    assert lake.run("b", ["x"], 5) is None
    assert lake.events() == each_once("x", until=5)


def test_a_commit_that_was_half_done_is_finished_before_tags_go_over(lake) -> None:
    lake.run("a", ["x"], 3)
    dying = lake.landing("a", on_step=kill_at("after_data_commit"))
    dying.open()
    with pytest.raises(Killed):
        land(dying, "x", 3, 5)
    assert lake.take_over("a", ["x"], "b").tags == 1
    assert lake.run("b", ["x"], 7) is None
    assert lake.events() == each_once("x", until=7)


@pytest.mark.parametrize(
    ("step", "next_is"), crossed(["after_fencing", "before_fencing", "after_handover"], ["old first", "the same"])
)
def test_killed_while_tags_go_over(lake, step: str, next_is: str) -> None:
    lake.run("a", ["x", "y"], 3)
    with pytest.raises(Killed):
        lake.take_over("a", ["x"], "b", on_step=kill_at(step))
    over = step == "after_handover"
    if next_is == "old first":
        assert lake.run("a", ["x", "y"], 5) == ([Held("b", ("x",))] if over else None)
    assert lake.run("b", ["x"], 5) == (None if over else [Held("a", ("x",))])
    assert lake.take_over("a", ["x"], "b").tags == (0 if over else 1)
    assert lake.run("b", ["x"], 7) is None
    assert lake.run("a", ["y"], 7) is None
    assert lake.events() == each_once("x", "y", until=7)


@pytest.mark.parametrize("shard", ["0-of-1", "backfill.0-of-1"])
def test_the_old_pipeline_begins_between_the_fences_and_the_move(lake, shard: str) -> None:
    """It goes on with what it found, or finds the tags gone; never both."""
    lake.run("a", ["x"], 3)
    late: list[Landing] = []

    def begin(step: str) -> None:
        if step == "after_fencing" and not late:
            landing = lake.landing("a", shard=shard)
            landing.open()
            late.append(landing)

    try:
        lake.take_over("a", ["x"], "b", on_step=begin)
    except FencedError:
        land(late[0], "x", 3, 5)  # the move has failed: it is as if it had never begun
        assert lake.run("b", ["x"], 5) == [Held("a", ("x",))]
        lake.take_over("a", ["x"], "b")
    else:
        with pytest.raises(FencedError):
            land(late[0], "x", 3, 5)
    assert lake.run("b", ["x"], 7) is None
    assert lake.events() == each_once("x", until=7)


def test_a_run_that_commits_while_tags_go_over_stops_the_move(lake) -> None:
    lake.run("a", ["x"], 3)
    alive = lake.landing("a")
    alive.open()

    def commit(step: str) -> None:
        if step == "before_fencing":
            land(alive, "x", 3, 5)

    with pytest.raises(FencedError, match="No tag was taken over"):
        lake.take_over("a", ["x"], "b", on_step=commit)
    assert lake.run("b", ["x"], 5) == [Held("a", ("x",))]
    lake.take_over("a", ["x"], "b")
    assert lake.run("b", ["x"], 7) is None
    assert lake.events() == each_once("x", until=7)


def test_a_repair_of_the_old_pipeline_is_fenced_as_well(lake) -> None:
    lake.run("a", ["x"], 3)
    lease = lake.opened().lease("a", "repair.0-of-1", "repair")
    lease.acquire()
    lease.release()
    lake.take_over("a", ["x"], "b")
    assert lake.opened().table(PI_TIMESERIES).open().last_sequence("osipi/a/recorded/repair.0-of-1") == 1


def test_watermarks_that_are_rebuilt_do_not_make_tags_anothers(lake) -> None:
    """What is in the data does not say whose it is: claims do."""
    lake.run("a", ["x"], 3)
    lake.run("b", ["y"], 3)
    rebuild_watermarks(lake.opened(), PI_TIMESERIES, LandingRun(pipeline="a", dataset=DATASET, run_id="rebuild"))
    assert {("recorded", "x"), ("recorded", "y")} <= lake.rows("a")
    assert lake.run("b", ["y"], 5) is None
    assert lake.run("a", ["x"], 5) is None
    assert lake.run("a", ["y"], 5) == [Held("b", ("y",))]
    assert lake.events() == each_once("x", "y", until=5)


def test_tags_that_went_over_stay_over_when_watermarks_are_rebuilt(lake) -> None:
    lake.run("a", ["x", "y"], 3)
    lake.take_over("a", ["x"], "b")
    for pipeline, selected in (("a", {"y"}), ("b", {"x"})):
        rebuild_watermarks(
            lake.opened(),
            PI_TIMESERIES,
            LandingRun(pipeline=pipeline, dataset=DATASET, run_id="rebuild"),
            selected=selected,
        )
    assert lake.run("a", ["y"], 5) is None
    assert lake.run("b", ["x"], 5) is None
    assert lake.events() == each_once("x", "y", until=5)


@pytest.mark.parametrize(
    ("source", "words"), [("b", "that is this pipeline itself"), ("c", "no pipeline of this name")]
)
def test_a_source_that_cannot_be(lake, source: str, words: str) -> None:
    lake.run("a", ["x"], 3)
    with pytest.raises(ConfigurationError, match=words):
        lake.owners("b").check_source(source)


def test_nothing_is_taken_from_a_pipeline_of_another_table(two_tables) -> None:
    two_tables.run("a", ["x"], 3, spec=OTHER_TABLE)
    with pytest.raises(ConfigurationError, match=r"no pipeline of this name has written to"):
        two_tables.owners("b").check_source("a")


def test_a_source_whose_tags_have_all_gone_over_is_fine(lake) -> None:
    lake.run("a", ["x"], 3)
    assert lake.owners("b").check_source("a")
    lake.take_over("a", ["x"], "b")
    assert not lake.owners("b").check_source("a")


# --- what is said --------------------------------------------------------------


def test_the_refusal_names_tags_and_pipelines() -> None:
    held = [Held("a", tuple(f"w{n}" for n in range(7))), Held("c", ("v",))]
    with pytest.raises(ConfigurationError) as caught:
        refuse(held, names=lambda web_id: web_id.upper(), of=20, pipeline="b", table="bronze.pi_timeseries")
    assert caught.value.message == (
        "8 of 20 tags of pipeline b are brought into bronze.pi_timeseries by pipelines a (7), c (1): "
        "V, W0, W1, W2, W3 and 3 more. A second pipeline would bring every event twice."
    )
    assert "run --take-over a" in caught.value.hint
    refuse([], names=str, of=20, pipeline="b", table="t")


def test_a_claim_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch) -> None:
    from writers.delta.table import OpenDeltaTable

    lake = Pipelines(lambda: open_lakehouse(tmp_path))
    landing = lake.landing("a")
    marks = landing.open()
    with monkeypatch.context() as patch:
        patch.setattr(OpenDeltaTable, "_send", lambda *_: OSError("No space left on device (os error 28)"))
        with pytest.raises(ExtractError, match="no room left"):
            lake.owners("a").claim(["x"], marks, landing.checkpoint)
    assert list(tmp_path.rglob("part-*.parquet")) == []
