"""A log that is damaged, or goes away, is one sentence that says what is damaged and what to do. Nothing is made up for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from config.errors import StorageError
from writers import PI_TIMESERIES, Commit, CommitKey, OpenTable, StagedFile
from writers.delta.table import DeltaCommitTable
from writers.storage.location import TableLocation

Rows = Callable[..., pa.RecordBatch]
VERSIONS = 4


def entry(log: Path, version: int) -> Path:
    return log / f"{version:020}.json"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def pointed_to(log: Path, version: int) -> None:
    (log / "_last_checkpoint").write_text(f'{{"version":{version},"size":5}}')


def broken_checkpoint(log: Path) -> None:
    DeltaTable(log.parent).create_checkpoint()
    cut(log / f"{VERSIONS:020}.checkpoint.parquet")


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "an entry is missing": (lambda log: entry(log, 2).unlink(), "lacks an entry", "Restore the file"),
    "the newest entry is cut": (lambda log: cut(entry(log, VERSIONS)), "is damaged", "Restore the newest files"),
    "a checkpoint is cut": (broken_checkpoint, "is damaged", "may be removed"),
    "a pointer to nothing": (lambda log: pointed_to(log, 2), "names a checkpoint", "_delta_log/_last_checkpoint"),
    "a pointer ahead": (lambda log: pointed_to(log, 99), "names a checkpoint", "_delta_log/_last_checkpoint"),
}


def staged(table: OpenTable, rows: Rows) -> Sequence[StagedFile]:
    stage = table.stage()
    stage.write(rows("a", [9]))
    return stage.close()


@pytest.fixture
def table(tmp_path: Path, rows: Rows) -> OpenTable:
    found = DeltaCommitTable(TableLocation.parse(tmp_path / "table"), PI_TIMESERIES).open()
    for n in range(1, VERSIONS + 1):
        found.commit(Commit(CommitKey("me", n), staged(found, rows)))
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_said(table: OpenTable, damage: str) -> None:
    act, says, hint = DAMAGES[damage]
    act(Path(table.uri, "_delta_log"))
    with pytest.raises(StorageError, match=says) as ended:
        table.open()
    assert hint in ended.value.hint
    assert table.uri in ended.value.message
    assert "\x1b" not in ended.value.message


@pytest.mark.parametrize("gone", ["the table", "the log", "the newest entry"])
def test_what_goes_away_midway_takes_no_commit(table: OpenTable, rows: Rows, gone: str) -> None:
    files = staged(table, rows)
    log = Path(table.uri, "_delta_log")
    entry(log, VERSIONS).unlink() if gone == "the newest entry" else shutil.rmtree(
        log if gone == "the log" else table.uri
    )
    with pytest.raises(StorageError, match="has lost an entry that this run had read") as ended:
        table.commit(Commit(CommitKey("me", VERSIONS + 1), files))
    assert "Run again" in ended.value.hint
    assert not entry(log, VERSIONS + 1).exists()


def test_a_pointer_that_cannot_be_read_is_not_needed(table: OpenTable) -> None:
    Path(table.uri, "_delta_log", "_last_checkpoint").write_text("garbage")
    assert table.open().version == VERSIONS
