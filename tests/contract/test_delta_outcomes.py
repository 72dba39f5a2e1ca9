"""Delta tables: commits whose answer was lost, tables we must not write, storage that fails."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from config.errors import (
    AccessDeniedError,
    CommitConflictError,
    ConfigurationError,
    ExpiredError,
    SchemaDriftError,
    StorageError,
    UnavailableError,
    UnknownCommitError,
)
from writers import PI_TIMESERIES, Commit, CommitKey, open_lakehouse
from writers.delta.table import DeltaCommitTable, OpenDeltaTable
from writers.storage.errors import explain
from writers.storage.location import TableLocation
from writers.storage.parquet_stage import ParquetStage

ROOT = Path(__file__).parents[2]
Rows = Callable[..., pa.RecordBatch]
LOST_ANSWER = OSError("Generic S3 error: error sending request: connection reset")


@pytest.fixture
def table(tmp_path: Path) -> DeltaCommitTable:
    return open_lakehouse(tmp_path).table(PI_TIMESERIES).open()


def staged(table, rows):
    stage = table.stage()
    stage.write(rows)
    return stage.close()


def count(table) -> int:
    return int(table.open().read(["tag_webid"]).read_all().num_rows)


def test_a_lost_answer_of_a_commit_that_landed_is_a_success(table, rows: Rows, monkeypatch) -> None:
    send = OpenDeltaTable._send

    def loses_the_answer(self, *args):
        assert send(self, *args) is None
        return LOST_ANSWER

    monkeypatch.setattr(OpenDeltaTable, "_send", loses_the_answer)
    receipt = table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1]))))
    assert receipt.version == 1
    assert count(table) == 1


def test_a_conflict_with_our_own_first_attempt_is_a_success(table, rows: Rows, monkeypatch) -> None:
    """The storage client sends again by itself; its first attempt had landed, so it meets ourselves."""
    send = OpenDeltaTable._send

    def sends_twice(self, *args):
        assert send(self, *args) is None
        return send(self, *args)

    monkeypatch.setattr(OpenDeltaTable, "_send", sends_twice)
    assert table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1])))).version == 1
    assert count(table) == 1


def test_a_request_that_never_arrived_is_sent_again(table, rows: Rows, monkeypatch) -> None:
    send, failures = OpenDeltaTable._send, [LOST_ANSWER, LOST_ANSWER]
    monkeypatch.setattr(OpenDeltaTable, "_send", lambda self, *args: failures.pop() if failures else send(self, *args))
    assert table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1])))).version == 1
    assert failures == []
    assert count(table) == 1


def test_a_storage_that_keeps_failing_leaves_the_outcome_unknown_and_the_files_in_place(
    table, rows: Rows, monkeypatch
) -> None:
    files = staged(table, rows("a", [1]))
    with monkeypatch.context() as patch:
        patch.setattr(OpenDeltaTable, "_send", lambda *_: LOST_ANSWER)
        with pytest.raises(UnknownCommitError, match="It is unknown whether commit 1 of me reached"):
            table.commit(Commit(CommitKey("me", 1), files))
    assert table.has_file(files[0])


def test_a_log_that_cannot_be_read_after_a_commit_leaves_the_outcome_unknown(table, rows: Rows, monkeypatch) -> None:
    files = staged(table, rows("a", [1]))

    def fails(*_):
        raise LOST_ANSWER

    with monkeypatch.context() as patch:
        patch.setattr(OpenDeltaTable, "_entry", fails)
        with pytest.raises(UnknownCommitError, match="its log cannot be read"):
            table.commit(Commit(CommitKey("me", 1), files))
    assert table.open().last_sequence("me") == 1


def test_a_replace_is_not_sent_again_over_a_snapshot_it_was_not_made_for(table, rows: Rows, monkeypatch) -> None:
    other = DeltaCommitTable(TableLocation(table.uri), PI_TIMESERIES).open()
    other.commit(Commit(CommitKey("other", 1), staged(other, rows("b", [1]))))
    with monkeypatch.context() as patch:
        patch.setattr(OpenDeltaTable, "_send", lambda *_: LOST_ANSWER)
        with pytest.raises(CommitConflictError):
            table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1])), replace_where={}))
    assert count(table) == 1


def test_rows_go_in_beside_what_others_remove_but_not_into_a_table_that_has_become_another(table, rows: Rows) -> None:
    table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1]))))
    DeltaTable(table.uri).delete()
    table.commit(Commit(CommitKey("me", 2), staged(table, rows("a", [1]))))
    another = DeltaTable(table.uri)
    another.delete()
    another.alter.set_table_properties({"delta.logRetentionDuration": "interval 60 days"})
    with pytest.raises(CommitConflictError):
        table.commit(Commit(CommitKey("me", 3), staged(table, rows("a", [1]))))
    assert count(table) == 0


def test_a_handle_is_renewed_in_time_and_stays_fenced(table, rows: Rows, monkeypatch) -> None:
    monkeypatch.setattr("writers.delta.table._REOPEN_AFTER", 3)
    late = DeltaCommitTable(TableLocation(table.uri), PI_TIMESERIES).open()
    table.commit(Commit(CommitKey("me", 1), ()))
    for n in range(8):
        late.commit(Commit(CommitKey("other", n), staged(late, rows("a", [n]))))
    with pytest.raises(Exception, match="has committed to"):
        late.commit(Commit(CommitKey("me", 1), ()))
    assert count(table) == 8


def test_a_handle_that_has_rested_until_its_log_was_cleaned_up_is_told(table, rows: Rows) -> None:
    """Where its entry would go there is room again, below a checkpoint, and nobody would see it."""
    table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1]))))
    other = DeltaCommitTable(TableLocation(table.uri), PI_TIMESERIES).open()
    for n in range(4):
        other.commit(Commit(CommitKey("other", n), staged(other, rows("b", [n]))))
    newest = DeltaTable(table.uri)
    newest.create_checkpoint()
    for version in range(newest.version()):
        Path(table.uri, "_delta_log", f"{version:020}.json").unlink()
    files = staged(table, rows("a", [2]))
    with pytest.raises(StorageError):
        table.commit(Commit(CommitKey("me", 2), files))
    assert count(table) == 5
    assert table.open().commit(Commit(CommitKey("me", 2), files)).version == newest.version() + 1
    assert count(table) == 6


def test_a_new_table_carries_comments_partitions_and_description(table) -> None:
    found = DeltaTable(table.uri)
    fields = {f["name"]: f for f in json.loads(found.schema().to_json())["fields"]}
    assert fields["sequence"]["metadata"]["comment"].startswith("Ordinal among the events")
    assert fields["timestamp"]["type"] == "timestamp"
    assert fields["value_string"]["type"] == "string"
    assert found.metadata().partition_columns == ["partition_date"]
    assert found.metadata().description == PI_TIMESERIES.comment
    assert found.metadata().name == "pi_timeseries"


def _foreign(tmp_path: Path, schema: pa.Schema = PI_TIMESERIES.schema, **options) -> DeltaTable:
    options.setdefault("partition_by", ["partition_date"])
    return DeltaTable.create(tmp_path / "main" / "bronze" / "pi_timeseries", schema, **options)


def _without(name: str) -> pa.Schema:
    return pa.schema([f for f in PI_TIMESERIES.schema if f.name != name])


def _with(field: pa.Field) -> pa.Schema:
    return pa.schema([*[f for f in PI_TIMESERIES.schema if f.name != field.name], field])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda p: _foreign(p, _without("units")), "the column units is missing"),
        (
            lambda p: _foreign(p, _with(pa.field("value", pa.string()))),
            "the column value is string where double is needed",
        ),
        (lambda p: _foreign(p, _with(pa.field("units", pa.string(), nullable=False))), "units does not accept null"),
        (lambda p: _foreign(p, _with(pa.field("plant", pa.string(), nullable=False))), "a column plant of its own"),
        (lambda p: _foreign(p, partition_by=[]), "partitioned by nothing where partition_date is needed"),
        (lambda p: _foreign(p).alter.add_constraint({"sane": "value < 10"}), "the check constraint sane"),
    ],
)
def test_a_table_of_another_shape_is_refused_by_name(tmp_path: Path, make, complaint: str) -> None:
    make(tmp_path)
    with pytest.raises(SchemaDriftError, match=complaint):
        open_lakehouse(tmp_path).table(PI_TIMESERIES).open()


def test_further_columns_of_the_user_do_no_harm(tmp_path: Path, rows: Rows) -> None:
    _foreign(tmp_path, _with(pa.field("plant", pa.string())))
    table = open_lakehouse(tmp_path).table(PI_TIMESERIES).open()
    table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1]))))
    assert count(table) == 1


@pytest.mark.parametrize(
    "feature",
    [
        "rowTracking",
        "domainMetadata",
        "clustering",
        "inCommitTimestamp",
        "typeWidening",
        "identityColumns",
        "allowColumnDefaults",
        "icebergCompatV2",
        "vacuumProtocolCheck",
        "catalogManaged",
        "somethingNew",
    ],
)
def test_a_table_feature_that_we_cannot_write_is_refused_by_name(tmp_path: Path, feature: str) -> None:
    _with_features(tmp_path, feature)
    with pytest.raises(SchemaDriftError, match=feature) as refusal:
        open_lakehouse(tmp_path).table(PI_TIMESERIES).open()
    if feature not in {"catalogManaged", "somethingNew"}:  # delta-rs opens none of these
        assert "DROP FEATURE" in str(refusal.value.hint)


def test_of_features_that_come_together_all_are_named(tmp_path: Path) -> None:
    _with_features(tmp_path, "rowTracking", "domainMetadata")
    with pytest.raises(SchemaDriftError, match="the table feature domainMetadata and rowTracking"):
        open_lakehouse(tmp_path).table(PI_TIMESERIES).open()


def _with_features(tmp_path: Path, *features: str) -> None:
    table = _foreign(tmp_path)
    reader = ["vacuumProtocolCheck", "catalogManaged", "typeWidening", "somethingNew"]
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": [feature for feature in features if feature in reader],
        "writerFeatures": list(features),
    }
    log = tmp_path / "main" / "bronze" / "pi_timeseries" / "_delta_log" / f"{table.version() + 1:020}.json"
    log.write_text(json.dumps({"protocol": protocol}) + "\n")


def test_an_append_only_table_takes_rows_and_refuses_replacement(tmp_path: Path, rows: Rows) -> None:
    _foreign(tmp_path, configuration={"delta.appendOnly": "true"})
    table = open_lakehouse(tmp_path).table(PI_TIMESERIES).open()
    table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1]))))
    with pytest.raises(SchemaDriftError, match="append-only"):
        table.commit(Commit(CommitKey("me", 2), (), replace_where={}))
    assert count(table) == 1


def test_rows_deleted_by_the_user_are_not_read_back(table, rows: Rows) -> None:
    table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1, 2, 3]))))
    DeltaTable(table.uri).delete("sequence = 0 AND timestamp > '1970-01-01T00:00:00.000001Z'")
    assert count(table) == 1
    assert table.open().scan_tags()["rows"].to_pylist() == [1]


def test_files_written_by_others_are_read_too(table, rows: Rows) -> None:
    write_deltalake(table.uri, pa.Table.from_batches([rows("b", [5])]), mode="append")
    table = table.open()
    assert table.read(["tag_webid"]).read_all()["tag_webid"].to_pylist() == ["b"]
    table.commit(Commit(CommitKey("me", 1), staged(table, rows("a", [1]))))
    assert count(table) == 2


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may write anywhere: be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_we_may_not_write_is_one_sentence(tmp_path: Path, nobody: None, request) -> None:
    folder = Path("/proc/self") if os.access("/proc/self", os.X_OK) else tmp_path
    with pytest.raises(StorageError) as caught:
        open_lakehouse(folder / "lake").table(PI_TIMESERIES).open()
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_became_read_only_fails_before_and_after_staging(tmp_path: Path, rows: Rows) -> None:
    tmp_path.chmod(0o755)
    was_root = os.geteuid() == 0
    for parent in tmp_path.parents[:-2] if was_root else ():
        parent.chmod(0o755)
    table = open_lakehouse(tmp_path / "lake").table(PI_TIMESERIES).open()
    files = staged(table, rows("a", [1]))
    for folder in (Path(table.uri), Path(table.uri, "_delta_log"), Path(table.uri, "partition_date=1970-01-01")):
        folder.chmod(0o555)
    if was_root:
        os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match="We may not write to"):
            staged(table, rows("a", [2]))
        with pytest.raises(StorageError, match="We may not write to"):
            table.commit(Commit(CommitKey("me", 1), files))
    finally:
        if was_root:
            os.seteuid(0)
        for folder in Path(table.uri).glob("*"):
            folder.chmod(0o755)
        Path(table.uri).chmod(0o755)
    assert count(table) == 0


def test_a_table_that_we_may_not_read_is_not_taken_for_none(tmp_path: Path) -> None:
    table = open_lakehouse(tmp_path / "lake").table(PI_TIMESERIES)
    assert not table.exists()
    table.open()
    assert table.exists()
    was_root = os.geteuid() == 0
    (tmp_path / "lake").chmod(0o000)
    if was_root:
        os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match="We may not read"):
            table.exists()
    finally:
        if was_root:
            os.seteuid(0)
        (tmp_path / "lake").chmod(0o755)


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    with pytest.raises(StorageError, match="file is in the way"):
        open_lakehouse(tmp_path / "lake").table(PI_TIMESERIES).open()


def test_a_full_disk_while_staging_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: it fails in the same calls, midway."""
    script = """
import sys, pyarrow as pa, resource
from config.errors import StorageError
from writers import PI_WATERMARKS, Watermark, open_lakehouse
from writers.watermarks.checkpoint_rows import encode
import hashlib
table = open_lakehouse(sys.argv[1]).table(PI_WATERMARKS).open()
stage = table.stage()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
marks = [Watermark(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest(), n, n + 1) for n in range(20_000)]
try:
    stage.write(encode(marks, pipeline="p", dataset="d", sequence=1, updated_at=1))
    stage.close()
except StorageError as error:
    stage.abort()
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "There is no room left at" in done.stdout, done.stderr
    assert list(tmp_path.rglob("*.parquet")) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device", StorageError),
        ("Read-only file system (os error 30)", StorageError),
        (
            "Received redirect without LOCATION, this normally indicates an incorrectly configured region",
            ConfigurationError,
        ),
        (
            "400 Bad Request: <Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'</Message>",
            ConfigurationError,
        ),
        ("<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>", ExpiredError),
        ("403 Forbidden <Code>AuthenticationFailed</Code>", AccessDeniedError),
        ("503 Service Unavailable <Code>SlowDown</Code>", UnavailableError),
        (
            "403 Forbidden: <Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large",
            AccessDeniedError,
        ),
        ("something nobody has seen before", StorageError),
    ],
)
def test_foreign_errors_get_their_class(text: str, kind: type) -> None:
    error = explain(OSError(text), "s3://lake/main")
    assert type(error) is kind
    assert error.hint


def test_signatures_and_answers_do_not_travel_along() -> None:
    text = "odd: GET https://x.blob.core.windows.net/c/t?sv=1&sig=SECRET in 3ms \x1b[31m↳\x1b[0m <?xml ?><a>SECRET</a>"
    error = explain(OSError(text), "https://user:SECRET@host/t?sig=SECRET")
    assert "SECRET" not in error.message + error.hint + repr(error)
    assert "SECRET" not in repr(TableLocation.parse("s3://lake", {"AWS_SECRET_ACCESS_KEY": "SECRET"}))


def test_a_missing_bucket_is_one_sentence(s3: dict[str, str], rows: Rows) -> None:
    table = open_lakehouse("s3://nowhere/lake", storage_options=s3).table(PI_TIMESERIES)
    with pytest.raises(StorageError, match=r"bucket or container of s3://nowhere/lake/.* does not exist"):
        table.open()
    stage = ParquetStage(TableLocation(table.uri, s3), PI_TIMESERIES)
    stage.write(rows("a", [1]))
    with pytest.raises(StorageError, match="bucket or container"):
        stage.close()
    stage.abort()


def test_an_endpoint_that_does_not_answer_may_be_tried_again(s3: dict[str, str]) -> None:
    options = {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "max_retries": "0", "retry_timeout": "1s"}
    with pytest.raises(UnavailableError, match="cannot be reached"):
        open_lakehouse("s3://lake/x", storage_options=options).table(PI_TIMESERIES).open()


def test_refused_credentials_are_one_sentence(s3: dict[str, str], rows: Rows) -> None:
    def demand_login(after: str) -> None:
        url = f"{s3['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, data=after.encode(), headers=headers, method="POST")).close()

    table = open_lakehouse(f"s3://lake/{uuid4().hex}", storage_options=s3).table(PI_TIMESERIES).open()
    stage = table.stage()
    stage.write(rows("a", [1]))
    demand_login("0")
    try:
        with pytest.raises(AccessDeniedError) as caught:
            stage.close()
        stage.abort()
        with pytest.raises(AccessDeniedError):
            table.open()
    finally:
        demand_login("inf")
    assert "not-a-real-one" not in str(caught.value)


def test_an_unknown_kind_of_storage_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ftp:// is not a kind of storage"):
        open_lakehouse("ftp://host/lake")
    with pytest.raises(ConfigurationError, match="whose folder ~ is cannot be found out"):
        TableLocation.parse("~nobody-by-this-name/lake")
    with pytest.raises(ConfigurationError, match="dbfs:// is not"):
        open_lakehouse("dbfs://lake")
    assert TableLocation.parse(f"file://{tmp_path}/my%20lake").uri == f"{tmp_path}/my lake"
    assert TableLocation.parse("s3://lake/x/").uri == "s3://lake/x"


def test_a_deltalake_that_loses_app_transactions_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("deltalake.__version__", "1.5.1")
    with pytest.raises(ConfigurationError, match=r"deltalake 1\.5\.1 is too old"):
        open_lakehouse(tmp_path)


def test_who_has_committed_is_known_though_only_a_checkpoint_tells(table, rows: Rows) -> None:
    for name, sequence in (("early", 1), ("both", 2)):
        table.commit(Commit(CommitKey(name, sequence), staged(table, rows("a", [sequence]))))
    DeltaTable(table.uri).create_checkpoint()
    for entry in sorted(Path(table.uri, "_delta_log").glob("*.json"))[:-1]:  # as cleaning up leaves it
        entry.unlink()
    table = table.open()
    for name, sequence in (("both", 3), ("late", 4)):
        table.commit(Commit(CommitKey(name, sequence), staged(table, rows("a", [sequence]))))
    assert table.open().last_sequences() == {"early": 1, "both": 3, "late": 4}
    assert {name: table.last_sequence(name) for name in ("early", "both", "late")} == table.last_sequences()
