"""30,000 tags for an hour into tables of a catalog, managed and external: exact, and read back by engines not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.exactness.reading import read_table
from tests.scale.thirty import assert_all_is_marked, assert_exact, counts, run, simulator
from tests.unity.published import as_path_table, folder_of
from tests.unity.stand_in import TOKEN, StandIn
from tests.unity.witness import Witness, compiled

__all__ = ["compiled"]

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]

EVENTS, MARKS = "main.bronze.pi_timeseries", "main.checkpoints.pi_watermarks"


@pytest.fixture(scope="module")
def plant() -> Iterator[str]:
    with simulator() as url:
        yield url


@dataclass(frozen=True)
class Landed:
    """Tables that two runs, the second of them incremental, have filled."""

    catalog: StandIn
    place: Callable[[str], Path]  # of a table that readers without a catalog can open


@pytest.fixture(scope="module", params=["managed", "external"])
def landed(request: pytest.FixtureRequest, plant: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    folder, kind = tmp_path_factory.mktemp("catalog"), request.param
    where = {"table_type": kind} | ({"location": f"file://{folder}/external"} if kind == "external" else {})
    with StandIn(f"file://{folder}/managed") as catalog:
        login = {"DATABRICKS_HOST": catalog.host, "DATABRICKS_TOKEN": TOKEN}
        written = 0
        for end in ("2024-03-05T00:40:00Z", "2024-03-05T01:00:00Z"):
            report = run(folder, plant, "--end", end, env=login, storage={}, unity_catalog=where)
            written += report["records_written"]
        assert written == sum(counts().values())

        def place(name: str) -> Path:
            location = catalog.tables[name].location
            return as_path_table(location, folder / name) if kind == "managed" else folder_of(location)

        yield Landed(catalog, place)


def test_every_event_is_there_once_and_every_watermark_says_so(landed: Landed) -> None:
    assert_exact(read_table(landed.place(EVENTS)))
    assert_all_is_marked(landed.place(MARKS))


@pytest.mark.parametrize("landed", ["managed"], indirect=True)
def test_a_witness_with_a_catalog_client_of_its_own_counts_the_same(landed: Landed, compiled: str) -> None:
    tally = Witness(compiled, landed.catalog).tally()
    assert {tag: rows for tag, (rows, _) in tally.items()} == counts()
