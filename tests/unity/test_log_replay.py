"""The log of a managed table as values: replay, checkpoints, verdicts."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SchemaDriftError
from writers import PI_TAGS, PI_TIMESERIES, CommitKey, StagedFile
from writers.log.actions import add_action, encode, next_timestamp, remove_action, transaction_action
from writers.log.snapshot import Snapshot, file_key, retention_ms
from writers.storage.location import TableLocation
from writers.storage.log_checkpoints import find_checkpoint, parse
from writers.storage.parquet_read import read_files
from writers.unity.creation import catalog_columns, struct_of, wire_type
from writers.unity.delta_api import LoadedTable
from writers.unity.names import TableName
from writers.unity.ratify import Verdict, verdict

DAY_MS = 86_400_000


def file(name: str) -> StagedFile:
    return StagedFile(name, 1, 1, {"pipeline": name[0]}, "{}", 1)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a1", "a2", "b1", "b2"])), max_size=30))
def test_replay_gives_what_was_added_and_not_removed_and_a_checkpoint_says_the_same(steps) -> None:
    replayed, expected, counts = Snapshot(), set(), 0
    for version, (adding, name) in enumerate(steps):
        add = add_action(file(name))
        counts += 1
        actions = [add if adding else remove_action(add["add"], version), transaction_action(CommitKey("p", counts), 1)]
        replayed.advance(version, parse(encode(actions)))
        (expected.add if adding else expected.discard)(name)
    assert {path for path, _ in replayed.live} == expected
    assert {a["path"] for a in replayed.files({"pipeline": "a"})} == {n for n in expected if n[0] == "a"}
    again = Snapshot()
    again.start(replayed.version, parse(encode(replayed.checkpoint(now_ms=5))))
    assert (again.live.keys(), again.gone.keys()) == (replayed.live.keys(), replayed.gone.keys())
    assert again.last_sequence("p") == (counts or None)


def test_a_version_is_never_skipped() -> None:
    with pytest.raises(ValueError, match="does not follow"):
        Snapshot(version=3).advance(5, [])


def test_a_checkpoint_forgets_what_vacuum_may_take() -> None:
    snapshot = Snapshot()
    old, new = add_action(file("old"))["add"], add_action(file("new"))["add"]
    snapshot.advance(0, [remove_action(old, 1), remove_action(new, 8 * DAY_MS)])
    kept = [a["remove"]["path"] for a in snapshot.checkpoint(9 * DAY_MS) if "remove" in a]
    assert kept == ["new"]


def test_a_file_with_another_deletion_vector_is_another_file() -> None:
    plain = {"path": "x"}
    first = {"path": "x", "deletionVector": {"storageType": "u", "pathOrInlineDv": "ab", "offset": 1}}
    second = {"path": "x", "deletionVector": {"storageType": "u", "pathOrInlineDv": "ab", "offset": 2}}
    assert len({file_key(plain), file_key(first), file_key(second)}) == 3
    snapshot = Snapshot()
    snapshot.advance(0, [{"add": {**plain, "partitionValues": {}, "size": 1}}])
    snapshot.advance(1, [{"remove": plain}, {"add": {**first, "partitionValues": {}, "size": 1}}])
    assert list(snapshot.live) == [file_key(first)]
    taken_back = remove_action(snapshot.live[file_key(first)], 1)["remove"]
    assert file_key(taken_back) == file_key(first)


def test_a_vector_of_deleted_rows_that_cannot_be_read_is_not_ignored() -> None:
    add = {"path": "x", "partitionValues": {}, "deletionVector": {"storageType": "u", "pathOrInlineDv": "ab"}}
    with pytest.raises(SchemaDriftError, match="deleted in a way") as refused:
        list(read_files(TableLocation.parse("/nowhere"), [add], pa.schema([("a", pa.string())])))
    assert "PURGE" in refused.value.hint


def test_files_of_another_place_are_not_looked_for_here() -> None:
    add = {"path": "file:///elsewhere/x.parquet", "partitionValues": {}}
    with pytest.raises(SchemaDriftError, match="clone"):
        list(read_files(TableLocation.parse("/nowhere"), [add], pa.schema([("a", pa.string())])))


@pytest.mark.parametrize(
    ("text", "days"),
    [(None, 7), ("interval 30 days", 30), ("INTERVAL 1 DAY", 1), ("interval 2 weeks", 14), ("gibberish", 7)],
)
def test_retention_is_read_as_delta_spells_it(text: str | None, days: int) -> None:
    assert retention_ms(text) == days * DAY_MS


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_time_in_the_log_always_goes_on(now: int, previous: int) -> None:
    assert next_timestamp(now, previous) > previous
    assert next_timestamp(now, previous) >= now


UUID = "11111111-1111-1111-1111-111111111111"


@pytest.mark.parametrize(
    ("names", "latest", "version", "files"),
    [
        ([], 9, None, 0),
        ([f"{3:020}.checkpoint.parquet", f"{3:020}.json"], 9, 3, 1),
        ([f"{3:020}.checkpoint.parquet", f"{6:020}.checkpoint.{UUID}.json"], 9, 6, 1),
        ([f"{3:020}.checkpoint.parquet", f"{6:020}.checkpoint.{UUID}.parquet"], 5, 3, 1),
        ([f"{6:020}.checkpoint.{1:010}.{2:010}.parquet", f"{3:020}.checkpoint.parquet"], 9, 3, 1),
        ([f"{6:020}.checkpoint.{n:010}.{2:010}.parquet" for n in (1, 2)], 9, 6, 2),
        (["_last_checkpoint", f"{3:020}.crc", f".{4:020}.checkpoint.parquet.crc"], 9, None, 0),
    ],
)
def test_the_newest_whole_checkpoint_is_taken(names: list[str], latest: int, version: int | None, files: int) -> None:
    found = find_checkpoint(names, latest)
    assert (found and found.version) == version
    assert len(found.names if found else ()) == files


@given(st.integers(1, 5), st.integers(0, 8), st.booleans(), st.integers(0, 8))
def test_a_verdict_needs_our_file_or_a_look_into_the_log(version: int, latest: int, ours: bool, published: int) -> None:
    """`published` versions are forgotten by the catalog."""
    names = {v: "theirs" for v in range(1, latest + 1) if v > published}
    if ours and version in names:
        names[version] = "ours"
    found = verdict(version, "ours", LoadedTable("id", "somewhere", latest, names))
    if version > latest:
        assert found is Verdict.AGAIN
    elif version <= published:
        assert found is Verdict.COMPARE
    else:
        assert found is (Verdict.WON if ours else Verdict.LOST)


def test_schemas_are_spelled_as_each_api_wants_them() -> None:
    wire = json.dumps(wire_type(struct_of(PI_TAGS)))
    assert '"key-type": "string"' in wire
    assert '"value-contains-null": true' in wire
    columns = {c["name"]: c for c in catalog_columns(PI_TIMESERIES)}
    assert columns["partition_date"]["partition_index"] == 0
    assert columns["sequence"]["type_text"] == "int"
    assert columns["sequence"]["type_name"] == "INT"
    assert columns["timestamp"]["comment"]
    attributes = next(c for c in catalog_columns(PI_TAGS) if c["name"] == "attributes")
    assert (attributes["type_text"], attributes["type_name"]) == ("map<string,string>", "MAP")


def test_names_are_quoted_where_sql_and_urls_need_it() -> None:
    name = TableName("main", "my-schema", "a`b/c")
    assert name.sql == "main.`my-schema`.`a``b/c`"
    assert name.url == "catalogs/main/schemas/my-schema/tables/a%60b%2Fc"
    assert str(TableName("main", "bronze", "t")) == TableName("main", "bronze", "t").sql == "main.bronze.t"
