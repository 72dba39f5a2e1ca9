"""Credentials that live shorter than a run, on both kinds of tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from config.errors import FencedError
from tests.landing.lake import Lake, event_rows, land
from tests.unity.places import S3_OPTIONS
from tests.unity.stand_in import TOKEN, StandIn
from writers import PI_TIMESERIES, Commit, CommitKey, CommitTable, Lakehouse
from writers.unity import open_unity

VENDING = {"managed": "credentials", "external": "temporary-table-credentials"}
HALF_AN_HOUR = 1800.0


class Clock:
    """Stands still until it is told."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["managed", "external"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def bucket(s3: dict[str, str]) -> Iterator[StandIn]:
    with StandIn(f"s3://lake/{uuid4().hex}", s3=s3, lives_ms=None) as catalog:
        yield catalog


@pytest.fixture
def opened(bucket: StandIn, clock: Clock, kind: str) -> Callable[[], Lakehouse]:
    assert bucket.s3 is not None
    options = {k: bucket.s3[k] for k in S3_OPTIONS}
    return lambda: open_unity(
        host=bucket.host,
        token=TOKEN,
        table_type=kind,  # type: ignore[arg-type]
        location=f"{bucket.storage_root}/external",
        storage_options=options,
        clock=clock,
    )


def test_a_run_outlives_its_credentials(
    bucket: StandIn, opened: Callable[[], Lakehouse], clock: Clock, kind: str
) -> None:
    lake = Lake(opened())
    landing = lake.opened()
    for n in range(4):
        asked = bucket.asked.count(VENDING[kind])
        land(landing, "a", n, n + 1)
        assert bucket.asked.count(VENDING[kind]) <= asked + (2 if n else 4)
        clock.now += HALF_AN_HOUR
        land(landing, "b", n, n + 1)
        assert bucket.asked.count(VENDING[kind]) >= asked + 2  # data and watermarks have their own
    assert lake.events() == sorted((tag, n) for tag in "ab" for n in range(4))


def test_new_credentials_are_no_new_look_at_the_table(opened: Callable[[], Lakehouse], clock: Clock) -> None:
    """Who has committed since we opened is told by our snapshot. It must survive the change."""

    def add(table: CommitTable, event: int) -> None:
        stage = table.stage()
        stage.write(event_rows("a", [event]))
        table.commit(Commit(CommitKey("me", 1), stage.close()))

    ours, rival = opened().table(PI_TIMESERIES).open(), opened().table(PI_TIMESERIES).open()
    add(rival, 1)
    clock.now += HALF_AN_HOUR
    with pytest.raises(FencedError):
        add(ours, 2)
    assert Lake(opened()).events() == [("a", 1)]
