"""Datasets are values: a run reads what is registered and chosen. A new one is its file, its table and its name in a list."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from config.errors import ConfigurationError
from config.problems import InvalidConfigurationError
from engine.datasets.dataset import Kind, SyncContext, SyncedDataset, SyncResult
from engine.datasets.registry import DATASETS, Registry
from engine.piweb.points import data_servers as decode_servers
from engine.piweb.requests import data_servers
from engine.run import run
from engine.telemetry.events import DatasetSynced, RunEvent
from tests.digital_states.site import END, plant_of, serving
from tests.exactness.plant import BEGIN, Plant
from tests.exactness.reading import is_table, read_table, version_of
from tests.keyed.records import SPEC, Job, rows_of
from writers import Move, TableSpec
from writers.mirrors.mirror import Listing, Mirror, sync
from writers.tables import TIMESTAMP, Grain

# --- a dataset of a test, whole --------------------------------------------------------

PI_SERVERS = TableSpec(
    name="pi_servers",
    schema_role="schema",
    grain=Grain(key=("server_webid",)),
    schema=pa.schema(
        [
            pa.field("server_webid", pa.string()),
            pa.field("name", pa.string()),
            pa.field("first_seen", TIMESTAMP),
            pa.field("last_seen", TIMESTAMP),
            pa.field("deleted_at", TIMESTAMP),
        ]
    ),
)


async def _servers(context: SyncContext) -> SyncResult:
    assert "tags" in context.results, "what it needs came first"
    response = await context.client.send(data_servers())
    rows = [{"server_webid": one.WebId, "name": one.Name} for one in decode_servers(response.body)]
    mirror = Mirror(PI_SERVERS, things="servers")
    receipt = await context.blocking(
        lambda: sync(
            context.lakehouse,
            mirror,
            Listing(
                pa.Table.from_pylist(rows, PI_SERVERS.schema.remove(4).remove(3).remove(2)),
                context.inventory.server_now,
            ),
            on_step=context.on_step,
        )
    )
    return SyncResult(added=receipt.added, changed=receipt.changed, missing=receipt.missing)


SERVERS = SyncedDataset(name="servers", tables=(PI_SERVERS,), needs=("tags",), sync=_servers)


# --- another one, of keyed records -----------------------------------------------------


@dataclass
class Jobs:
    """A fake source of jobs; `read_to` is the watermark that the last run found."""

    shown: tuple[Job, ...] = ()
    read_to: list[int] = field(default_factory=list)

    async def sync(self, context: SyncContext) -> SyncResult:
        landing = context.keyed_landing(self.dataset.name, self.dataset.table)
        watermark = (await context.blocking(landing.open)).get("s")
        self.read_to.append(watermark.high if watermark else 0)
        batch = landing.begin()
        batch.upsert(rows_of(self.shown))
        batch.covers()
        now = context.inventory.server_now
        receipt = await context.blocking(lambda: batch.commit(Move("s", 0, now)))
        return SyncResult(added=receipt.inserted, changed=receipt.changed, missing=receipt.deleted)

    @property
    def dataset(self) -> SyncedDataset:
        return SyncedDataset(name="jobs", kind=Kind.KEYED, tables=(SPEC,), sync=self.sync)


WITH_SERVERS = Registry((*DATASETS, SERVERS))

# ----------------------------------------------------------------------------------------


async def test_a_dataset_that_is_registered_is_read_landed_and_reported(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        report = await run(plant.config(site.url), registry=WITH_SERVERS)
        [row] = read_table(_table(plant, "pi_servers")).to_pylist()
        assert row["name"] == "SIMDA"
        section = report.as_dict()["datasets"]["servers"]
        assert (section["rows_written"], section["changed"], section["missing"]) == (1, 0, 0)
        assert "pi_servers" in report.tables
        version = version_of(_table(plant, "pi_servers"))
        await run(plant.config(site.url), registry=WITH_SERVERS)
        assert version_of(_table(plant, "pi_servers")) == version
    plant.assert_exact(BEGIN, END)


async def test_keyed_records_land_with_the_watermark_of_their_source(tmp_path: Path) -> None:
    plant, jobs = plant_of(tmp_path), Jobs((Job("a", BEGIN), Job("b", BEGIN)))
    registry = Registry((*DATASETS, jobs.dataset))
    async with serving(plant) as site:
        await run(plant.config(site.url), registry=registry)
        jobs.shown = (Job("a", BEGIN, END), Job("c", END))
        report = await run(plant.config(site.url, extraction={"datasets": "jobs"}), registry=registry)
    assert jobs.read_to == [0, END]
    section = report.as_dict()["datasets"]["jobs"]
    assert (section["rows_written"], section["changed"], section["missing"]) == (1, 1, 1)
    found = {row["job_id"]: row["is_open"] for row in read_table(_table(plant, "test_jobs")).to_pylist()}
    assert found == {"a": False, "c": True}
    plant.assert_exact(BEGIN, END)


async def test_choosing_a_dataset_reads_it_and_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        events: list[RunEvent] = []
        config = plant.config(site.url, extraction={"datasets": ["servers"]})
        report = await run(config, registry=WITH_SERVERS, emit=events.append)
    assert (report.status, report.records_written, report.tags_extracted) == ("succeeded", 0, 0)
    assert [one.dataset for one in events if isinstance(one, DatasetSynced)] == ["tags", "servers"]
    assert set(report.as_dict()["datasets"]) == {"tags", "servers"}
    assert _is_there(plant, "pi_servers", "pi_tags") == [True, True]
    assert _is_there(plant, "pi_timeseries", "pi_digital_states") == [False, False]


async def test_values_are_read_without_the_mirrors_beside_them(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        report = await run(plant.config(site.url, extraction={"datasets": "recorded"}))
        assert list(report.as_dict()["datasets"]) == ["recorded"]
        assert report.as_dict()["datasets"]["recorded"]["rows_written"] == report.records_written > 0
    assert _is_there(plant, "pi_tags", "pi_digital_states") == [False, False]
    plant.assert_exact(BEGIN, END)


async def test_what_is_read_beside_values_is_read_without_them_too(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        report = await run(plant.config(site.url, extraction={"datasets": "digital_states"}))
    assert (report.status, report.digital_states.rows_written > 0) == ("succeeded", True)
    assert _is_there(plant, "pi_digital_states", "pi_timeseries", "pi_tags") == [True, False, False]


def test_a_name_that_is_not_known_says_which_ones_are(tmp_path: Path) -> None:
    config = plant_of(tmp_path).config("http://127.0.0.1:1", extraction={"datasets": ["recorded", "frames"]})
    with pytest.raises(ConfigurationError, match=r"found 'frames'; expected one of recorded, .*, event_frames"):
        asyncio.run(run(config))
    with pytest.raises(ConfigurationError, match="found nothing; expected some of"):
        DATASETS.select(())


def test_each_dataset_comes_after_what_it_needs() -> None:
    def of(name: str, *needs: str) -> SyncedDataset:
        return SyncedDataset(name=name, kind=Kind.KEYED, tables=(PI_SERVERS,), needs=needs, sync=_servers)

    registry = Registry((of("attributes", "elements"), of("elements", "databases"), of("databases")))
    assert [one.name for one in registry] == ["databases", "elements", "attributes"]
    assert [one.name for one in registry.select(["elements"])] == ["databases", "elements"]
    assert registry.select(["all"]) is registry


def test_what_cannot_be_chosen_together_is_said(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    with pytest.raises(InvalidConfigurationError, match="pi_tags says which point was created anew"):
        plant.config("http://127.0.0.1:1", extraction={"datasets": "recorded", "recreated_tags": "continue"})
    plant.config("http://127.0.0.1:1", extraction={"datasets": ["recorded", "all"], "recreated_tags": "continue"})
    config = plant.config("http://127.0.0.1:1", extraction={"datasets": "tags"})
    with pytest.raises(ConfigurationError, match="neither recorded nor sampled"):
        asyncio.run(run(config, follow=True))


def _table(plant: Plant, name: str) -> Path:
    return plant.root / "main" / "bronze" / name


def _is_there(plant: Plant, *names: str) -> list[bool]:
    return [is_table(_table(plant, name)) for name in names]
