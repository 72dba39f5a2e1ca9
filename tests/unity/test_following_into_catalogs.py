"""A run that follows rides out a catalog that is away for a while, and lands everything exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from config.errors import ExtractError, UnavailableError, UnknownCommitError
from engine.run.patient_reader import wait_before
from tests.exactness.expected import assert_same_rows, expected_rows, web_id_of
from tests.exactness.reading import marks_in, rows_in
from tests.follow.live import Followed, LivePlant
from tests.unity.published import as_path_table
from tests.unity.stand_in import TOKEN, StandIn
from tests.variants import slowly


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[LivePlant]:
    live = LivePlant(tmp_path, tags=3)
    live.server.start()
    yield live
    live.server.stop()


def follow(plant: LivePlant, catalog: StandIn, monkeypatch: pytest.MonkeyPatch, *, attempts: int) -> Followed:
    monkeypatch.setenv("DATABRICKS_HOST", catalog.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    document = plant.document(
        extraction={"interval": "1s", "classes": [], "datasets": ["recorded"]},
        retry={"max_attempts": attempts, "initial_wait": "50ms", "max_wait": "200ms"},
        monitoring={"metrics": False},
    )
    del document["storage"]
    return Followed(plant, config.from_mapping(document).config)


@pytest.mark.parametrize(
    ("away", "at"), [("failing", "add-commit"), *slowly(("failing", "load"), ("silent", "add-commit"))]
)
async def test_a_catalog_that_goes_and_comes_back(
    plant: LivePlant, catalog: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, away: str, at: str
) -> None:
    it = follow(plant, catalog, monkeypatch, attempts=50)
    await it.until(lambda: len(it.cycles) >= 1)

    def leave() -> bool:
        catalog.at_answer.clear()  # the commit has been ratified, and the answer is lost
        catalog.away = away
        return True

    catalog.at_answer[at] = leave
    await it.until(lambda: catalog.missed >= 3)
    before = len(it.cycles)
    catalog.away = ""
    await it.until(lambda: len(it.cycles) >= before + 2)
    report = await it.ended()
    assert (report.status, report.exit_code) == ("succeeded", 0)
    names = ("main.bronze.pi_timeseries", "main.checkpoints.pi_watermarks")
    data, watermarks = (as_path_table(catalog.tables[name].location, tmp_path / name) for name in names)
    marks = marks_in(watermarks)
    wanted = [
        row
        for n in range(plant.tags)
        for row in expected_rows(plant.options, [n], marks[web_id_of(n)].low, marks[web_id_of(n)].high)
    ]
    assert_same_rows(rows_in(data), wanted)


async def test_a_catalog_that_stays_away_ends_the_run_after_what_retry_allows(
    plant: LivePlant, catalog: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow(plant, catalog, monkeypatch, attempts=3)
    await it.until(lambda: len(it.cycles) >= 1)

    def leave() -> bool:
        catalog.away = "failing"
        return True

    catalog.at_answer["add-commit"] = leave
    with pytest.raises(ExtractError) as ended:
        await it.until(lambda: False, 60)
    # The first error, and not the last: the outcome of a commit is open, and the exit code says so.
    assert isinstance(ended.value, UnknownCommitError)
    assert ended.value.exit_code == 4
    assert sum("the destination gave out" in record.message for record in caplog.records) == 2


async def test_a_run_that_is_told_to_stop_while_it_waits_ends_with_the_error(
    plant: LivePlant, catalog: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = follow(plant, catalog, monkeypatch, attempts=1000)
    await it.until(lambda: len(it.cycles) >= 1)
    catalog.away = "failing"
    await it.until(lambda: catalog.missed >= 1)
    it.stop.ask("enough")
    with pytest.raises((UnavailableError, UnknownCommitError)):
        async with asyncio.timeout(20):
            await it.until(lambda: False)


def test_waits_double_up_to_the_longest() -> None:
    retry = config.from_mapping({"retry": {"initial_wait": "1s", "max_wait": "5s"}}, env={}).config.retry
    assert [wait_before(retry, attempt) for attempt in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]
