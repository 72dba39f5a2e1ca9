"""Commits that a catalog decides: whatever is lost, late or left behind, each lands once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from config.errors import CommitConflictError, FencedError, LostStateError, SchemaDriftError, UnknownCommitError
from tests.landing.lake import Killed, Lake, event_rows, kill_at, land
from tests.unity.stand_in import MOST_UNPUBLISHED, StandIn
from writers import PI_TIMESERIES, Commit, CommitKey, CommitTable, Lakehouse
from writers.commit_rules import find_commit
from writers.storage.location import TableLocation
from writers.storage.log_checkpoints import Checkpoint, checkpointed
from writers.unity import managed

ME, OTHER = "osipi/p/recorded/0-of-2", "osipi/p/recorded/1-of-2"
NAME = "main.bronze.pi_timeseries"

Opened = Callable[..., Lakehouse]


def add(table: CommitTable, key: CommitKey, tag: str, *events: int, **options):
    stage = table.stage()
    stage.write(event_rows(tag, list(events)))
    return table.commit(Commit(key, stage.close(), **options))


def stored(lakehouse: Lakehouse) -> list[tuple[str, int]]:
    found = lakehouse.table(PI_TIMESERIES).open().read(["tag_webid", "timestamp"]).read_all()
    return sorted(zip(found["tag_webid"].to_pylist(), found["timestamp"].cast(pa.int64()).to_pylist(), strict=True))


def log_of(catalog: StandIn) -> Path:
    return Path(urlsplit(catalog.tables[NAME].location).path) / "_delta_log"


def actions(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_new_table_says_what_the_catalog_asks_for_and_nothing_else(catalog: StandIn, opened: Opened) -> None:
    catalog.required_properties["some.new.promise"] = "kept"
    opened().table(PI_TIMESERIES).open()
    info, protocol, metadata = actions(log_of(catalog) / f"{0:020}.json")
    assert list(info) == ["commitInfo"]
    assert sorted(protocol["protocol"]["writerFeatures"]) == sorted(catalog.required_protocol["writer-features"])
    configuration = metadata["metaData"]["configuration"]
    assert configuration == {**catalog.required_properties, "io.unitycatalog.tableId": catalog.tables[NAME].id}
    comments = [f["metadata"]["comment"] for f in json.loads(metadata["metaData"]["schemaString"])["fields"]]
    assert all(comments)


def test_commits_are_published_reported_and_measured(catalog: StandIn, opened: Opened) -> None:
    table = opened().table(PI_TIMESERIES).open()
    add(table, CommitKey(ME, 1), "a", 1, 2)
    add(table, CommitKey(ME, 2), "a", 3)
    assert catalog.tables[NAME].commits == {}
    assert [m["num-rows-inserted"] for m in catalog.metrics] == [2, 1]
    stamps = [actions(log_of(catalog) / f"{v:020}.json")[0]["commitInfo"]["inCommitTimestamp"] for v in range(3)]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("step", ["staged", "ratified", "copied", "published"])
def test_a_run_that_dies_at_any_step_of_a_commit_is_finished_by_the_next(
    catalog: StandIn, opened: Opened, step: str
) -> None:
    add(opened().table(PI_TIMESERIES).open(), CommitKey(ME, 1), "a", 1)
    with pytest.raises(Killed):
        add(opened(on_step=kill_at(step)).table(PI_TIMESERIES).open(), CommitKey(ME, 2), "a", 2)
    landed = step != "staged"
    table = opened().table(PI_TIMESERIES).open()
    assert table.last_sequence(ME) == (2 if landed else 1)
    assert stored(opened()) == [("a", 1), ("a", 2)][: 2 if landed else 1]
    add(table, CommitKey(ME, 3), "a", 3)
    assert catalog.tables[NAME].commits == {}
    assert len(list(log_of(catalog).glob("*.json"))) == catalog.tables[NAME].latest + 1


@pytest.mark.parametrize("step", ["staged", "ratified", "copied", "published"])
@pytest.mark.parametrize("nth", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_data_and_watermarks_stay_together_when_a_run_dies(opened: Opened, step: str, nth: int) -> None:
    """The first commit of a landing is of the data, the second of the watermarks."""
    reached: list[str] = []

    def on_step(name: str) -> None:
        reached.append(name)
        if name == step and reached.count(name) == nth:
            raise Killed(name)

    land(Lake(opened()).opened(), "a", 0, 3)
    with pytest.raises(Killed):
        land(Lake(opened(on_step=on_step)).opened(), "a", 3, 6)
    lake = Lake(opened())
    marks = lake.opened().open()
    assert marks["a"].high == (3 if (step, nth) == ("staged", 1) else 6)
    land(lake.opened(), "a", marks["a"].high, 9)
    assert lake.events() == [("a", t) for t in range(9)]


@pytest.mark.parametrize("fault", ["lose", "drop"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_answer_is_looked_up_before_anything_is_sent_again(
    catalog: StandIn, opened: Opened, fault: str, times: int
) -> None:
    table = opened().table(PI_TIMESERIES).open()
    getattr(catalog, fault).extend(["add-commit"] * times)
    add(table, CommitKey(ME, 1), "a", 1)
    add(table, CommitKey(ME, 2), "a", 2)
    assert stored(opened()) == [("a", 1), ("a", 2)]
    assert catalog.tables[NAME].latest == 2


def test_being_asked_to_wait_is_no_failure(catalog: StandIn, opened: Opened) -> None:
    catalog.throttle += ["load", "stage", "add-commit", "add-commit", "set-latest-backfilled-version", "credentials"]
    add(opened().table(PI_TIMESERIES).open(), CommitKey(ME, 1), "a", 1)
    assert "add-commit" not in catalog.throttle
    assert catalog.asked.count("add-commit") == 3
    assert stored(opened()) == [("a", 1)]


def test_a_lost_answer_is_found_even_when_others_have_gone_on_and_published(catalog: StandIn, opened: Opened) -> None:
    """The catalog has forgotten who won our version; the published file knows."""
    table, other = opened().table(PI_TIMESERIES).open(), opened().table(PI_TIMESERIES)
    load = catalog.load

    def others_first(full: str):
        catalog.load = load  # type: ignore[method-assign]
        add(other.open(), CommitKey(OTHER, 1), "b", 1)
        return load(full)

    # (The stand-in loses the answer of a proposal that it has taken; the look that follows comes late.)
    catalog.lose.append("add-commit")
    answered = catalog.update

    def update(full: str, body):
        catalog.update = answered  # type: ignore[method-assign]
        content = answered(full, body)
        catalog.load = others_first  # type: ignore[method-assign]
        return content

    catalog.update = update  # type: ignore[method-assign]
    receipt = add(table, CommitKey(ME, 1), "a", 1)
    assert receipt.version == 1
    assert catalog.tables[NAME].commits == {}
    assert stored(opened()) == [("a", 1), ("b", 1)]


def test_an_unknown_outcome_is_an_error_of_its_own(catalog: StandIn, opened: Opened) -> None:
    table = opened().table(PI_TIMESERIES).open()
    stage = table.stage()
    stage.write(event_rows("a", [1]))
    files = stage.close()
    catalog.lose.append("add-commit")
    catalog.forbidden.add("load")
    with pytest.raises(UnknownCommitError):
        table.commit(Commit(CommitKey(ME, 1), files))
    catalog.forbidden.clear()
    assert opened().table(PI_TIMESERIES).open().last_sequence(ME) == 1
    assert stored(opened()) == [("a", 1)]


def test_only_a_commit_that_has_read_nothing_calls_itself_blind(catalog: StandIn, opened: Opened) -> None:
    """Other engines let no blind append conflict with what they read."""
    table = opened().table(PI_TIMESERIES).open()
    add(table, CommitKey(ME, 1), "a", 1)
    add(table, CommitKey(ME, 2), "a", 2, conflicts_with_prefix="osipi/p/recorded/")
    add(table, CommitKey(ME, 3), "a", 3, replace_where={})
    entries = [actions(log_of(catalog) / f"{version:020}.json") for version in (1, 2, 3)]
    assert [entry[0]["commitInfo"]["isBlindAppend"] for entry in entries] == [True, False, False]


def test_a_refused_commit_leaves_nothing_behind(catalog: StandIn, opened: Opened) -> None:
    table = opened().table(PI_TIMESERIES).open()
    catalog.forbidden.add("add-commit")
    with pytest.raises(Exception, match="does not let us write") as refused:
        add(table, CommitKey(ME, 1), "a", 1)
    assert "SELECT, MODIFY on the table main.bronze.pi_timeseries" in refused.value.hint  # type: ignore[attr-defined]
    assert list((log_of(catalog) / "_staged_commits").iterdir()) == []


def test_what_others_left_unpublished_is_published_when_the_catalog_takes_no_more(
    catalog: StandIn, opened: Opened
) -> None:
    """A catalog holds back so many commits and no more; here nobody manages to report any."""
    table = opened().table(PI_TIMESERIES).open()
    catalog.forbidden.add("set-latest-backfilled-version")
    for n in range(1, MOST_UNPUBLISHED + 1):
        add(table, CommitKey(ME, n), "a", n)
    assert len(catalog.tables[NAME].commits) == MOST_UNPUBLISHED
    assert stored(opened()) == [("a", n) for n in range(1, MOST_UNPUBLISHED + 1)]
    catalog.forbidden.clear()
    add(table, CommitKey(ME, MOST_UNPUBLISHED + 1), "a", MOST_UNPUBLISHED + 1)
    assert catalog.tables[NAME].commits == {}
    assert len(stored(opened())) == MOST_UNPUBLISHED + 1


def test_a_refusal_is_no_answer_to_what_was_sent_before_it(catalog: StandIn, opened: Opened) -> None:
    """The first request is lost and may still arrive. Of the second the catalog says that it takes no more."""
    table = opened().table(PI_TIMESERIES).open()
    catalog.forbidden.add("set-latest-backfilled-version")
    for n in range(1, MOST_UNPUBLISHED + 1):
        add(table, CommitKey(ME, n), "a", n)
    catalog.drop.append("add-commit")
    with pytest.raises(UnknownCommitError):
        add(table, CommitKey(ME, MOST_UNPUBLISHED + 1), "a", MOST_UNPUBLISHED + 1)


def test_the_staged_file_that_the_catalog_names_is_history_and_no_other(catalog: StandIn, opened: Opened) -> None:
    table = opened().table(PI_TIMESERIES).open()
    catalog.forbidden.add("set-latest-backfilled-version")
    add(table, CommitKey(ME, 1), "a", 1)
    # Somebody's wrong copy, a loser of the race, and a version that was never ratified.
    staged = log_of(catalog) / "_staged_commits"
    (log_of(catalog) / f"{1:020}.json").write_text("not a commit")
    (staged / f"{1:020}.11111111-1111-1111-1111-111111111111.json").write_text("neither")
    (log_of(catalog) / f"{2:020}.json").write_text("nor this")
    assert stored(opened()) == [("a", 1)]


def test_a_second_run_of_a_shard_is_fenced_and_other_shards_go_on(catalog: StandIn, opened: Opened) -> None:
    first, second = opened().table(PI_TIMESERIES).open(), opened().table(PI_TIMESERIES).open()
    shard = opened().table(PI_TIMESERIES).open()
    add(first, CommitKey(ME, 1), "a", 1, metadata={"run_id": "run-7"})
    with pytest.raises(FencedError, match="run-7"):
        add(second, CommitKey(ME, 1), "a", 1)
    add(shard, CommitKey(OTHER, 1), "b", 1)
    assert stored(opened()) == [("a", 1), ("b", 1)]


def test_two_shards_that_race_both_land_everything(catalog: StandIn, opened: Opened) -> None:
    opened().table(PI_TIMESERIES).open()
    failures: list[BaseException] = []

    def run(shard: str) -> None:
        try:
            landing = Lake(opened()).opened(shard)
            for n in range(8):
                land(landing, f"tag of {shard}", 2 * n, 2 * n + 2)
        except BaseException as error:  # noqa: BLE001  the test asserts that there is none
            failures.append(error)

    threads = [Thread(target=run, args=(f"{n}-of-2",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Lake(opened()).events() == sorted((f"tag of {n}-of-2", t) for n in range(2) for t in range(16))


def test_a_checkpoint_spares_readers_the_old_log(
    catalog: StandIn, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed, "_CHECKPOINT_EVERY", 3)
    table = opened().table(PI_TIMESERIES).open()
    for n in range(1, 6):
        add(table, CommitKey(ME, n), "a", n)
    add(table, CommitKey(OTHER, 1), "b", 1, replace_where={})
    for n in range(6, 9):
        add(table, CommitKey(ME, n), "a", n)
    log = log_of(catalog)
    assert len(list(log.glob("*.checkpoint.*.json"))) == 3
    for version in range(8):
        (log / f"{version:020}.json").unlink()
    fresh = opened().table(PI_TIMESERIES).open()
    assert stored(opened()) == [("a", 6), ("a", 7), ("a", 8), ("b", 1)]
    assert fresh.last_sequence(ME) == 8
    with pytest.raises(LostStateError):
        find_commit(fresh, OTHER)
    add(fresh, CommitKey(ME, 9), "a", 9)
    # The table still remembers what vacuum has to spare.
    [newest] = log.glob(f"{9:020}.checkpoint.*.json")
    place = TableLocation.parse(str(log.parent))
    assert sum("remove" in action for action in checkpointed(place, Checkpoint(9, (newest.name,)))) == 5


def test_a_table_that_was_made_anew_is_not_taken_for_the_old_one(catalog: StandIn, opened: Opened) -> None:
    table = opened().table(PI_TIMESERIES).open()
    add(table, CommitKey(ME, 1), "a", 1)
    del catalog.tables[NAME]
    other = opened().table(PI_TIMESERIES).open()
    with pytest.raises(LostStateError, match="made anew"):
        add(table, CommitKey(ME, 2), "a", 2)
    for n in (1, 2, 3):
        add(other, CommitKey(OTHER, n), "b", n)
    with pytest.raises(LostStateError, match="made anew"):
        add(table, CommitKey(ME, 2), "a", 2)
    assert stored(opened()) == [("b", 1), ("b", 2), ("b", 3)]


def test_a_table_that_is_made_anew_after_a_lost_race_is_not_taken_for_the_old_one(
    catalog: StandIn, opened: Opened
) -> None:
    """A rival has won the version; the table is dropped before its commit is read. What lies there now is not ours."""
    table, other = opened().table(PI_TIMESERIES).open(), opened().table(PI_TIMESERIES).open()
    add(other, CommitKey(OTHER, 1), "b", 1)
    loads = iter(range(10))

    def make_anew() -> bool:
        if next(loads) == 1:  # the first load says who has won, the second is for reading the log
            catalog.at_request.clear()
            del catalog.tables[NAME]
            fresh = opened().table(PI_TIMESERIES).open()
            for n in (1, 2):
                add(fresh, CommitKey(OTHER, n), "new", n)
        return False

    catalog.at_request["load"] = make_anew
    with pytest.raises(LostStateError, match="made anew"):
        add(table, CommitKey(ME, 1), "a", 1)
    assert stored(opened()) == [("new", 1), ("new", 2)]


def test_a_table_that_turns_into_one_we_cannot_write_takes_no_more_commits(opened: Opened) -> None:
    table, other = opened().table(PI_TIMESERIES).open(), opened().table(PI_TIMESERIES).open()
    written = other._actions

    def altering(*of_commit) -> list[dict]:
        info, *others = written(*of_commit)
        metadata = other._snapshot.metadata
        properties = {**metadata["configuration"], "delta.enableRowTracking": "true"}
        return [info, {"metaData": {**metadata, "configuration": properties}}, *others]

    other._actions = altering
    add(other, CommitKey(OTHER, 1), "b", 1)
    with pytest.raises(SchemaDriftError, match="tracks its rows"):
        add(table, CommitKey(ME, 1), "a", 1)


def test_a_replacement_is_never_made_over_rows_it_has_not_seen(opened: Opened) -> None:
    table, other = opened().table(PI_TIMESERIES).open(), opened().table(PI_TIMESERIES).open()
    add(other, CommitKey(OTHER, 1), "b", 1)
    with pytest.raises(CommitConflictError):
        add(table, CommitKey(ME, 1), "a", 1, replace_where={"partition_date": "1970-01-01"})
    assert stored(opened()) == [("b", 1)]


def test_a_replacement_of_another_day_does_not_mind(opened: Opened) -> None:
    table, other = opened().table(PI_TIMESERIES).open(), opened().table(PI_TIMESERIES).open()
    day = 86_400_000_000
    add(other, CommitKey(OTHER, 1), "b", day + 1)
    add(table, CommitKey(ME, 1), "a", 1, replace_where={"partition_date": "1970-01-01"})
    assert stored(opened()) == [("a", 1), ("b", day + 1)]
