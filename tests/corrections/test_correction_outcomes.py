"""Log entries of our own: what becomes of them when answers are lost, and where they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from config.errors import (
    CommitConflictError,
    ConfigurationError,
    FencedError,
    SchemaDriftError,
    StorageError,
    UnknownCommitError,
)
from tests.corrections.events import DAY, Event, batch_of, events_of
from tests.landing.lake import Lake
from tests.unity.test_deletion_vectors import inline, serialized
from writers import (
    PI_TIMESERIES,
    Commit,
    CommitKey,
    CorrectionCounts,
    LiveFile,
    MaintenanceOptions,
    Move,
    Replacement,
    open_lakehouse,
)
from writers.delta.schema import schema_of
from writers.delta.table import DeltaCommitTable
from writers.storage.location import TableLocation
from writers.storage.objects import _store

ALWAYS = -(1 << 62), 1 << 62
LOST_ANSWER = OSError("error sending request: operation timed out")
EVENTS = [Event("a", at) for at in range(4)]


@pytest.fixture
def table(tmp_path: Path) -> DeltaCommitTable:
    """A table with one file."""
    found = open_lakehouse(tmp_path).table(PI_TIMESERIES).open()
    stage = found.stage()
    stage.write(batch_of(EVENTS))
    found.commit(Commit(CommitKey("me", 1), stage.close()))
    return found


def removed(table: DeltaCommitTable, sequence: int = 2) -> int:
    return table.commit(Commit(CommitKey("me", sequence), (), removes=table.live_files(*ALWAYS))).version


def stored(table: DeltaCommitTable) -> list[Event]:
    return events_of(table.open().read().read_all())


def test_a_lost_answer_of_an_entry_that_is_there_is_a_success(table, monkeypatch) -> None:
    put = TableLocation.create_small

    def loses_the_answer(self, *args):
        put(self, *args)
        raise LOST_ANSWER

    monkeypatch.setattr(TableLocation, "create_small", loses_the_answer)
    assert removed(table) == 2
    assert stored(table) == []


def test_meeting_our_own_first_attempt_is_a_success(table, monkeypatch) -> None:
    put = TableLocation.create_small

    def sends_twice(self, *args):
        put(self, *args)
        put(self, *args)

    monkeypatch.setattr(TableLocation, "create_small", sends_twice)
    assert removed(table) == 2


def test_an_entry_that_never_arrived_is_put_again(table, monkeypatch) -> None:
    put, failures = TableLocation.create_small, [LOST_ANSWER, LOST_ANSWER]

    def fails_at_first(self, *args):
        if failures:
            raise failures.pop()
        put(self, *args)

    monkeypatch.setattr(TableLocation, "create_small", fails_at_first)
    assert removed(table) == 2
    assert failures == []


def test_a_storage_that_keeps_failing_leaves_the_outcome_unknown_and_one_that_refuses_does_not(
    table, monkeypatch
) -> None:
    def fails(*_):
        raise LOST_ANSWER

    def refuses(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(TableLocation, "create_small", fails)
        with pytest.raises(UnknownCommitError, match="It is unknown whether commit 2 of me reached"):
            removed(table)
        patch.setattr(TableLocation, "create_small", refuses)
        with pytest.raises(Exception, match="We may not write to"):
            removed(table)
    assert stored(table) == EVENTS


def test_a_change_of_the_table_itself_in_between_is_a_conflict(table) -> None:
    DeltaTable(table.uri).alter.set_table_properties({"delta.logRetentionDuration": "interval 60 days"})
    with pytest.raises(CommitConflictError):
        removed(table)
    assert len(stored(table)) == 4
    removed(table)


def test_a_table_that_forbids_it_is_refused_by_name_before_anything_is_staged(table, tmp_path: Path) -> None:
    DeltaTable(table.uri).alter.set_table_properties({"delta.appendOnly": "true"})
    lake = Lake(open_lakehouse(tmp_path))
    files = sorted(tmp_path.rglob("*.parquet"))
    landing = lake.opened(run_id="x", shard="0-of-1")
    with pytest.raises(SchemaDriftError, match="append-only") as refused:
        landing.begin().replace([Replacement("a", 0, 9)], batch_of([]))
    assert "delta.appendOnly" in refused.value.hint
    assert sorted(tmp_path.rglob("*.parquet")) == files


@pytest.mark.parametrize("where", ["options", "environment"])
def test_a_locking_provider_is_refused_by_name(tmp_path: Path, where: str, monkeypatch) -> None:
    options = {"aws_s3_locking_provider": "dynamodb"} if where == "options" else {}
    if where == "environment":
        monkeypatch.setenv("AWS_S3_LOCKING_PROVIDER", "dynamodb")
    table = DeltaCommitTable(TableLocation(str(tmp_path / "t"), options), PI_TIMESERIES).open()
    with pytest.raises(ConfigurationError, match="locking provider dynamodb"):
        table.allow_removing()


def test_rows_deleted_by_vectors_never_rise_from_the_dead(table) -> None:
    """delta-rs does not tell which rows are gone, so such a file is neither read nor replaced."""
    [file] = table.live_files(*ALWAYS)
    marked = LiveFile(file.path, file.size_bytes, file.partition_values, deletion_vector={"storageType": "?"})
    with pytest.raises(SchemaDriftError, match="deletion vectors") as refused:
        list(table.read_file(marked, ["timestamp"]))
    assert "REORG TABLE" in refused.value.hint
    with pytest.raises(SchemaDriftError, match="deletion vectors"):
        table.commit(Commit(CommitKey("me", 2), (), removes=[marked]))


def test_a_vector_in_the_log_is_seen(table) -> None:
    """The log of another engine: the file is taken back, and added again with a vector."""
    log = Path(table.uri, "_delta_log")
    [add] = [json.loads(line)["add"] for line in (log / f"{1:020}.json").read_text().splitlines() if '"add"' in line]
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    actions = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}},
        {"add": {**add, "deletionVector": inline(serialized([1], runs=False), 1)}},
    ]
    (log / f"{2:020}.json").write_text("".join(json.dumps(a) + "\n" for a in actions))
    [file] = table.open().live_files(*ALWAYS)
    assert file.deletion_vector is not None
    assert [e.at for e in stored(table)] == [0, 2, 3]
    with pytest.raises(SchemaDriftError, match="deletion vectors"):
        removed(table.open())


def test_a_table_that_is_only_corrected_gets_checkpoints(table) -> None:
    DeltaTable(table.uri).alter.set_table_properties({"delta.checkpointInterval": "5"})
    table = table.open()
    for n in range(12):
        stage = table.stage()
        stage.write(batch_of([Event("a", n)]))
        table.commit(Commit(CommitKey("me", n + 2), stage.close(), removes=table.live_files(*ALWAYS)))
    assert len(list(Path(table.uri, "_delta_log").glob("*.checkpoint*.parquet"))) == 3
    for version in range(14):
        Path(table.uri, "_delta_log", f"{version:020}.json").unlink()
    assert stored(table) == [Event("a", 11)]
    assert table.last_sequence("me") == 13


def test_delta_rs_goes_on_after_an_entry_of_ours(table) -> None:
    removed(table)
    stage = table.stage()
    stage.write(batch_of(EVENTS[:2]))
    table.commit(Commit(CommitKey("me", 3), stage.close()))
    found = DeltaTable(table.uri)
    newest, ours = found.history(2)
    assert (newest["version"], ours["operation"], ours["osipi.app_id"]) == (3, "MERGE", "me")
    found.optimize.compact()
    found.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    assert stored(table) == EVENTS[:2]
    assert len(list(Path(table.uri).rglob("*.parquet"))) == 1


def test_columns_that_a_user_has_added_are_carried_over(tmp_path: Path) -> None:
    place = tmp_path / "main" / "bronze" / "pi_timeseries"
    wider = PI_TIMESERIES.with_columns([pa.field("plant", pa.string()), pa.field("tons", pa.decimal128(9, 2))])
    theirs = DeltaTable.create(place, schema_of(wider), partition_by=["partition_date"])
    lake = Lake(open_lakehouse(tmp_path))
    batch = lake.opened().begin()
    batch.write(batch_of([Event("a", 1), Event("a", 2)]))
    batch.commit([Move("a", 0, DAY, 2, 2)])
    theirs.update_incremental()
    theirs.update(updates={"plant": "'Ulm'", "tons": "1.25"})
    batch = lake.opened().begin()
    batch.replace([Replacement("a", 2, 9)], batch_of([Event("a", 3)]))
    assert batch.commit([]).corrections == CorrectionCounts(inserted=1, deleted=1, files_rewritten=1)
    rows = DeltaTable(place).to_pyarrow_table(columns=["timestamp", "plant", "tons"]).sort_by("timestamp")
    assert rows["plant"].to_pylist() == ["Ulm", None]
    assert [None if v is None else str(v) for v in rows["tons"].to_pylist()] == ["1.25", None]


def test_a_correction_that_a_compaction_overtakes_is_computed_again(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    for n in range(3):
        batch = landing.begin()
        batch.write(batch_of([Event("a", 10 * n + at) for at in range(3)]))
        batch.commit([Move("a", 10 * n, 10 * n + 10, None, 3)])
    overtaken = []

    def compact(step: str) -> None:
        if step == "after_staging" and not overtaken:
            overtaken.append(lake.lakehouse.table(PI_TIMESERIES).optimize_table(MaintenanceOptions()).files_after)

    landing = lake.opened(on_step=compact)
    batch = landing.begin()
    batch.write(batch_of([Event("a", 30)]))
    batch.replace([Replacement("a", 10, 12)], batch_of([Event("a", 10)]))
    receipt = batch.commit([Move("a", 30, 31, 30, 1)])
    assert overtaken == [1]
    assert receipt.corrections == CorrectionCounts(deleted=1, files_rewritten=1)
    assert [e.at for e in stored(lake.lakehouse.table(PI_TIMESERIES))] == [0, 1, 2, 10, 12, 20, 21, 22, 30]
    assert lake.opened().open()["a"].rows_total == 10
    live = {f.path for f in lake.lakehouse.table(PI_TIMESERIES).open().live_files(*ALWAYS)}
    lake.lakehouse.table(PI_TIMESERIES).optimize_table(
        MaintenanceOptions()
    )  # (what is not live belongs to older versions)
    assert len(live) == 2


def test_a_correction_that_is_overtaken_by_a_rival_of_its_own_name_is_fenced(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    batch = lake.opened().begin()
    batch.write(batch_of(EVENTS))
    batch.commit([Move("a", 0, 10, 3, 4)])
    rivals = []

    def rival(step: str) -> None:
        if step == "after_staging" and not rivals:
            rivals.append(step)
            theirs = lake.opened().begin()
            theirs.replace([Replacement("a", 0, 1)], batch_of([]))
            theirs.commit([])

    landing = lake.opened(on_step=rival)
    batch = landing.begin()
    batch.replace([Replacement("a", 1, 2)], batch_of([]))
    with pytest.raises(FencedError):
        batch.commit([])
    with pytest.raises(RuntimeError, match="open the landing"):
        landing.begin()
    assert [e.at for e in stored(lake.lakehouse.table(PI_TIMESERIES))] == [1, 2, 3]


def test_who_loses_again_and_again_gives_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    batch = lake.opened().begin()
    batch.write(batch_of(EVENTS))
    batch.commit([Move("a", 0, 10, 3, 4)])
    table = lake.lakehouse.table(PI_TIMESERIES)
    turns = []

    def rewrite(step: str) -> None:
        if step == "after_staging":
            turns.append(step)
            DeltaTable(table.uri).update(updates={"tag_name": f"'{len(turns)}'"})

    batch = lake.opened(on_step=rewrite).begin()
    batch.write(batch_of([Event("a", 11)]))
    batch.replace([Replacement("a", 0, 1)], batch_of([]))
    with pytest.raises(CommitConflictError):
        batch.commit([Move("a", 10, 12, 11, 1)])
    assert len(turns) == 16
    assert len(list(Path(table.uri).rglob("part-*.parquet"))) == 1 + len(turns)
    assert len(stored(table)) == 4


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("s3://lake/x", {"AWS_REGION": "eu-1", "aws_allow_http": "true", "max_retries": "0", "timeout": "3s"}),
        (
            "s3a://lake/x",
            {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_S3_ALLOW_UNSAFE_RENAME": "true"},
        ),
        ("abfss://c@account.dfs.core.windows.net/x", {"azure_storage_use_emulator": "true"}),
        ("abfss://c@account.dfs.core.windows.net/x", {"azure_storage_sas_key": "sv=1&sig=x", "allow_http": "true"}),
        ("az://container/x", {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}),
        ("gs://bucket/x", {"google_service_account": "/nowhere.json", "whatever": "x"}),
    ],
)
def test_options_of_delta_rs_serve_the_client_that_puts_entries(uri: str, options: dict[str, str], tmp_path) -> None:
    if "google_service_account" in options:
        options = {**options, "google_service_account": str(_service_account(tmp_path))}
    assert _store(uri, options).prefix == "x"


def _service_account(tmp_path: Path) -> Path:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "account.json"
    file.write_text(
        json.dumps({"private_key": key.decode(), "private_key_id": "1", "client_email": "a@b", "gcs_base_url": None})
    )
    return file


def test_a_correction_computed_again_is_fenced_where_another_run_has_committed_meanwhile(
    tmp_path: Path, monkeypatch
) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    for n in range(2):
        batch = lake.opened().begin()
        batch.write(batch_of([Event("a", 10 * n)]))
        batch.commit([Move("a", 10 * n, 10 * n + 10, None, 1)])

    def compact(step: str) -> None:
        if step == "after_staging":
            lake.lakehouse.table(PI_TIMESERIES).optimize_table(MaintenanceOptions())

    landing = lake.opened(on_step=compact)
    look = landing._data_table.open

    def look_too_late() -> object:
        rival = lake.opened(run_id="rival").begin()
        rival.write(batch_of([Event("a", 20)]))
        rival.commit([Move("a", 20, 30, 20, 1)])
        return look()

    monkeypatch.setattr(landing._data_table, "open", look_too_late)
    batch = landing.begin()
    batch.write(batch_of([Event("a", 20)]))
    batch.replace([Replacement("a", 0, 10)], batch_of([Event("a", 5)]))
    with pytest.raises(FencedError):
        batch.commit([Move("a", 20, 30, 20, 1)])
    assert [e.at for e in stored(lake.lakehouse.table(PI_TIMESERIES))] == [0, 10, 20]


def test_a_commit_that_cannot_be_staged_leaves_no_file_behind(tmp_path: Path, monkeypatch) -> None:
    lake = Lake(open_lakehouse(tmp_path))
    batch = lake.opened().begin()
    batch.write(batch_of(EVENTS))
    batch.commit([Move("a", 0, 10, None, len(EVENTS))])
    landing = lake.opened()
    files = sorted(tmp_path.rglob("*.parquet"))
    batch = landing.begin()
    batch.write(batch_of([Event("a", 20)]))
    batch.replace([Replacement("a", 0, 10)], batch_of([Event("a", 5)]))
    staged: list[int] = []

    def full() -> None:
        staged.append(len(list(tmp_path.rglob("*.parquet"))) - len(files))
        raise StorageError("There is no room left.")

    monkeypatch.setattr(batch._stage, "close", full)
    with pytest.raises(StorageError):
        batch.commit([Move("a", 10, 30, 20, 1)])
    assert staged == [3], "the appended rows, what is left of the corrected file, the watermarks"
    assert sorted(tmp_path.rglob("*.parquet")) == files
