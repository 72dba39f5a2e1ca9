"""Delta Kernel, with its own client of the catalog, reads what we wrote, and we go on from what it wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.landing.lake import Lake, event_rows, land
from tests.unity.published import folder_of
from tests.unity.stand_in import StandIn
from tests.unity.witness import APP, NAME, Seen, Witness, compiled
from writers import PI_TIMESERIES, Commit, CommitKey, Lakehouse
from writers.unity import managed

__all__ = ["compiled"]

pytestmark = pytest.mark.unity

Opened = Callable[..., Lakehouse]


@pytest.fixture
def witness(compiled: str, catalog: StandIn) -> Witness:
    return Witness(compiled, catalog)


def test_it_reads_our_commits_published_or_not(witness: Witness, catalog: StandIn, opened: Opened) -> None:
    lake = Lake(opened())
    landing = lake.opened()
    land(landing, "a", 0, 3)
    assert witness.read() == Seen([("a", 0), ("a", 1), ("a", 2)], 1, 1)
    catalog.forbidden.add("set-latest-backfilled-version")
    land(landing, "a", 3, 5)
    assert catalog.tables[NAME].commits != {}
    assert witness.read() == Seen([("a", n) for n in range(5)], 2, 2)


def test_our_next_commit_builds_on_its_and_publishes_what_it_left(
    witness: Witness, catalog: StandIn, opened: Opened
) -> None:
    lake = Lake(opened())
    landing = lake.opened()
    land(landing, "a", 0, 2)
    witness.append(opened(), "w", 7, 1, publish=False)
    assert catalog.tables[NAME].commits != {}
    land(landing, "a", 2, 4)  # through a snapshot that does not know of it
    assert catalog.tables[NAME].commits == {}
    witness.append(opened(), "w", 8, 2, publish=True)
    assert lake.events() == [*(("a", n) for n in range(4)), ("w", 7), ("w", 8)]
    assert opened().table(PI_TIMESERIES).open().last_sequence("witness") == 2
    land(lake.opened(), "a", 4, 5)
    assert witness.read() == Seen([*(("a", n) for n in range(5)), ("w", 7), ("w", 8)], 5, 3)


def test_it_reads_what_a_replacement_left(witness: Witness, opened: Opened) -> None:
    table = opened().table(PI_TIMESERIES).open()
    for sequence, (tag, replace) in enumerate([("a", None), ("b", None), ("c", {"partition_date": "1970-01-01"})], 1):
        stage = table.stage()
        stage.write(event_rows(tag, [sequence]))
        table.commit(Commit(CommitKey(APP, sequence), stage.close(), replace_where=replace))
    assert witness.read() == Seen([("c", 3)], 3, 3)


def test_each_starts_from_the_checkpoints_of_the_other(
    witness: Witness, catalog: StandIn, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(opened())
    land(lake.opened(), "a", 0, 2)
    witness("checkpoint")
    land(lake.opened(), "a", 2, 4)
    log = folder_of(catalog.tables[NAME].location) / "_delta_log"
    assert [p.name for p in log.glob("0*.checkpoint*")] == [f"{1:020}.checkpoint.parquet"]
    (log / f"{0:020}.json").unlink()
    assert lake.events() == [("a", n) for n in range(4)]
    monkeypatch.setattr(managed, "_CHECKPOINT_EVERY", 3)
    land(lake.opened(), "a", 4, 6)
    assert len(list(log.glob(f"{3:020}.checkpoint.*.json"))) == 1
    (log / f"{1:020}.checkpoint.parquet").unlink()
    (log / "_last_checkpoint").unlink()
    for version in (1, 2):
        (log / f"{version:020}.json").unlink()
    assert witness.read() == Seen([("a", n) for n in range(6)], 3, 3)
    witness.append(opened(), "w", 9, 1, publish=True)
    assert lake.events() == [*(("a", n) for n in range(6)), ("w", 9)]
