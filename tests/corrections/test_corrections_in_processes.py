"""Runs that correct may die at any step, and race: each window ends as the source has it, every event once."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from config.errors import CommitConflictError
from tests.corrections.corrector import ROUNDS, STEPS, corrector, truth
from tests.corrections.events import Event, events_of
from tests.corrections.feed import feed_of, followed
from tests.crash.process import Process, at_once
from tests.landing.lake import Lake
from tests.landing.worker import worker
from tests.variants import slowly
from writers import PI_TIMESERIES, MaintenanceOptions, open_lakehouse
from writers.delta.table import DeltaCommitTable


@pytest.fixture(scope="module", autouse=True)
def _forks() -> None:
    at_once()


async def finished(*processes: Process) -> None:
    for process in processes:
        ended = await process.end()
        assert ended.code == 0, ended.output


def events(folder: Path, tag: str) -> list[Event]:
    rows = open_lakehouse(folder).table(PI_TIMESERIES).open().read().read_all()
    return [e for e in events_of(rows) if e.tag == tag]


def with_feed(folder: Path) -> DeltaCommitTable:
    """Create the table before anybody else does, with a feed of changes."""
    properties = {"pi_timeseries": {"delta.enableChangeDataFeed": "true"}}
    table = open_lakehouse(folder, properties=properties).table(PI_TIMESERIES).open()
    assert isinstance(table, DeltaCommitTable)
    return table


def assert_the_feed_tells_the_table(table: DeltaCommitTable) -> None:
    assert followed([], feed_of(table.uri, 1)) == Counter(events_of(table.open().read().read_all()))


@pytest.mark.parametrize(
    ("step", "fed"),
    [
        *((step, step in {"after_staging", "after_data_commit"}) for step in STEPS),
        *slowly(("after_staging", False), ("after_data_commit", False)),
    ],
)
async def test_sigkill_at_each_step_of_a_correcting_commit_then_rerun(step: str, fed: bool, tmp_path: Path) -> None:
    table = with_feed(tmp_path) if fed else None
    killed = await corrector(tmp_path, "killed", kill=step).end()
    assert killed.code == -signal.SIGKILL
    tag = "tag of 0-of-1"
    done = Lake(open_lakehouse(tmp_path)).opened().open()[tag].high
    assert done == (3 if step in STEPS[3:] else 2)
    assert events(tmp_path, tag) == truth(tag, done)
    await finished(corrector(tmp_path, "second"))
    assert events(tmp_path, tag) == truth(tag, ROUNDS)
    if table is not None:
        assert_the_feed_tells_the_table(table)


@pytest.mark.slow
async def test_correctors_and_appenders_and_compaction_race_and_stay_exact(tmp_path: Path) -> None:
    """Two share a shard and do not know of each other; another corrects its own; another only appends. Who follows
    the feed of changes has in the end what the table has.
    """
    table = with_feed(tmp_path)
    racers = [
        corrector(tmp_path, "one", "0-of-3"),
        corrector(tmp_path, "two", "0-of-3"),
        corrector(tmp_path, "neighbour", "1-of-3"),
        worker(tmp_path, "appender", shard="2-of-3", until=10),
    ]
    compactions = 0
    while any(racer.alive for racer in racers):
        try:
            compactions += table.optimize_table(MaintenanceOptions()).files_before > 1
        except CommitConflictError:
            continue
    await finished(*racers)
    assert compactions
    for shard in ("0-of-3", "1-of-3"):
        assert events(tmp_path, f"tag of {shard}") == truth(f"tag of {shard}", ROUNDS)
    assert [e.at for e in events(tmp_path, "tag of 2-of-3")] == list(range(20))
    assert_the_feed_tells_the_table(table)
