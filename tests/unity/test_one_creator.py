"""Of several shards one alone creates the tables of a catalog, because not every catalog keeps names unique.

The stand-in has that sin here: a second creation of a table succeeds, and the table is broken for good.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

import config
from config.errors import DuplicateTableError, ExtractError, UnavailableError
from engine.plan.shards import Shard
from engine.run import run
from tests.landing.lake import Lake, land
from tests.unity.stand_in import TOKEN, StandIn
from tests.variants import slowly
from writers import PI_TAGS, PI_TIMESERIES, PI_WATERMARKS, Lakehouse
from writers.unity import open_unity

SPECS = (PI_TIMESERIES, PI_TAGS)
Opened = Callable[..., Lakehouse]


@pytest.fixture
def sinner(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(f"file://{tmp_path}", twins=True) as catalog:
        yield catalog


def lakehouse(catalog: StandIn, kind: str = "managed", **options) -> Lakehouse:
    return open_unity(
        host=catalog.host,
        token=TOKEN,
        table_type=kind,  # type: ignore[arg-type]
        location=f"{catalog.storage_root}/external",
        **options,
    )


def test_two_creators_break_a_table_and_the_message_says_what_an_administrator_does(sinner: StandIn) -> None:
    """The second one creates the table between the last look of the first one and its creation."""

    def overtake() -> bool:
        sinner.at_request.clear()
        lakehouse(sinner).table(PI_TIMESERIES).place()
        return False

    sinner.at_request["create-managed"] = overtake
    with pytest.raises(DuplicateTableError, match=r"two tables of one name.*main\.bronze\.pi_timeseries") as refused:
        lakehouse(sinner).table(PI_TIMESERIES).open()
    assert "uc_tables" in refused.value.hint
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("kind", ["managed", "external"])
@pytest.mark.parametrize("shards", [2, *slowly(3, 8)])
def test_shards_that_start_together_on_an_empty_schema_leave_every_table_whole(
    sinner: StandIn, kind: str, shards: int
) -> None:
    _start_together(sinner, kind, shards)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_starts_together(tmp_path: Path) -> None:
    for n in range(50):
        with StandIn(f"file://{tmp_path}/{n}", twins=True) as sinner:
            _start_together(sinner, ("managed", "external")[n % 2], 2 + n % 7)


@contextmanager
def held(one: Lakehouse, shard: str) -> Iterator[None]:
    """The lease of a run at work. Without one, another shard finishes what this one has half committed."""
    lease, over = one.lease("p", shard, f"run of {shard}"), Event()
    lease.acquire()
    renewing = Thread(target=lambda: [lease.renew() for _ in iter(lambda: over.wait(0.2), True)])
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        lease.release()


def _start_together(sinner: StandIn, kind: str, shards: int) -> None:
    def work(index: int) -> None:
        one = lakehouse(sinner, kind, creates=index == 0)
        one.prepare(SPECS)
        shard = f"{index}-of-{shards}"
        with held(one, shard):
            land(Lake(one).opened(shard), f"tag {index}", 0, 3)

    with ThreadPoolExecutor(shards) as pool:
        list(pool.map(work, reversed(range(shards))))
    made = Counter(sinner.asked)["create-managed" if kind == "managed" else "create-table"]
    assert made == len(sinner.tables) == 3
    assert not sinner.created_twice
    assert Lake(lakehouse(sinner)).events() == sorted((f"tag {n}", t) for n in range(shards) for t in range(3))


def test_a_table_that_another_client_creates_meanwhile_is_used(sinner: StandIn) -> None:
    """Two pipelines that begin at the same time, each with a creator of its own."""

    def overtake() -> bool:
        sinner.at_request.clear()
        lakehouse(sinner).table(PI_WATERMARKS).place()
        return False

    sinner.at_request["stage"] = overtake
    one = lakehouse(sinner)
    one.table(PI_WATERMARKS).place()
    assert not sinner.created_twice


def test_a_creator_that_dies_is_followed_by_its_next_run_and_the_others_say_whom_they_wait_for(sinner: StandIn) -> None:
    sinner.forbidden.add("create-managed")
    with pytest.raises(ExtractError):
        lakehouse(sinner).prepare(SPECS)
    waits: list[float] = []
    waiting = lakehouse(sinner, creates=False, sleep=waits.append)
    with pytest.raises(UnavailableError, match="Shard 0 creates the tables") as refused:
        waiting.prepare(SPECS)
    assert "--shard 0/n" in refused.value.hint
    assert sum(waits) == 120
    sinner.forbidden.clear()
    lakehouse(sinner).prepare(SPECS)
    waiting.prepare(SPECS)
    land(Lake(waiting).opened("1-of-2"), "a", 0, 2)
    assert Counter(sinner.asked)["create-managed"] == len(sinner.tables) + 1


@pytest.mark.parametrize("kind", ["managed", *slowly("external")])
def test_whole_runs_of_two_shards_started_at_once_on_an_empty_schema(
    sinner: StandIn, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", sinner.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    where = {"location": f"{sinner.storage_root}/external"} if kind == "external" else {}
    wanted = config.from_mapping(
        {
            "development": {"simulator": {"tags": 8, "seed": 4}},
            "pi_web_api": {"auth_type": "anonymous"},
            "extraction": {
                "tag_name_filter": "*",
                "start_date": "now-2h",
                "end_date": "now-1h",
                "datasets": ["recorded"],
            },
            "unity_catalog": {"table_type": kind, **where},
            "monitoring": {"metrics": False},
        },
        env={},
    ).config

    async def together() -> list[int]:
        reports = await asyncio.gather(*(run(wanted, shard=Shard(n, 2)) for n in (1, 0)))
        return [report.records_written for report in reports]

    written = asyncio.run(together())
    assert not sinner.created_twice
    assert all(written)
    assert len(Lake(lakehouse(sinner)).events()) == sum(written)
