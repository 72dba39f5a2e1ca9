"""Looking after tables changes no row, and nothing that exactness rests on."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from config.errors import ConfigurationError
from engine.cli import main
from engine.run import run
from engine.run.connect import lakehouse_of
from tests.landing.lake import Killed, Lake, event_rows, kill_at, land
from tests.memory_lakehouse import MemoryLakehouse
from tests.monitoring.plants import plant
from tests.unity.places import stand_in
from tests.unity.stand_in import TOKEN
from writers import (
    PI_TIMESERIES,
    PI_WATERMARKS,
    MaintenanceOptions,
    Move,
    open_lakehouse,
    optimize_table,
)

DAY = 86_400_000_000
EVERYTHING = MaintenanceOptions(cluster_by=("tag_webid", "timestamp"), vacuum_after=timedelta(0), orphans=True)


def files(lake: Lake, spec=PI_TIMESERIES) -> Counter[str]:
    """Live files by partition."""
    table = DeltaTable(lake.lakehouse.table(spec).uri)
    return Counter(Path(uri).parent.name for uri in table.file_uris())


@pytest.fixture
def lake(tmp_path) -> Lake:
    """Two dates, three files each."""
    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    for n in range(3):
        for day in (0, 1):
            land(landing, f"tag{day}", day * DAY + n * 10, day * DAY + n * 10 + 10)
    return lake


@pytest.mark.parametrize("wish", [MaintenanceOptions(), EVERYTHING], ids=["compact", "z-order and vacuum"])
def test_rows_stay_files_go(lake, wish, tmp_path):
    before = lake.events()
    report = optimize_table(lake.lakehouse.table(PI_TIMESERIES), wish)
    assert (report.files_before, report.files_after) == (6, 2)
    assert lake.events() == before
    if wish is EVERYTHING:
        assert report.files_vacuumed == 6
        assert len(list(tmp_path.rglob("pi_timeseries/*/*.parquet"))) == 2


@pytest.mark.parametrize("wish", [MaintenanceOptions(), EVERYTHING], ids=["compact", "z-order"])
def test_files_written_anew_have_no_bounds_that_leave_nan_out(lake, wish):
    landing = lake.opened()
    batch = landing.begin()
    rows = event_rows("tag0", [30])
    batch.write(rows.set_column(4, "value", pa.array([math.nan])))
    batch.commit([Move("tag0", 30, 31, 30, 1)])
    optimize_table(lake.lakehouse.table(PI_TIMESERIES), wish)
    adds = pa.table(DeltaTable(lake.lakehouse.table(PI_TIMESERIES).uri).get_add_actions(flatten=True)).to_pylist()
    assert len(adds) == 2
    assert all(add.get("min.value") is add.get("max.value") is None for add in adds)
    assert all(add["min.tag_webid"] and add["max.timestamp"] for add in adds)


def test_only_the_named_dates_are_touched(lake):
    optimize_table(lake.lakehouse.table(PI_TIMESERIES), MaintenanceOptions(partitions=frozenset({"1970-01-02"})))
    assert files(lake) == {"partition_date=1970-01-01": 3, "partition_date=1970-01-02": 1}


def test_the_next_commit_goes_on_counting(lake):
    """App transactions outlive the rewriting of every file, and a checkpoint after it."""
    for spec, wish in ((PI_TIMESERIES, EVERYTHING), (PI_WATERMARKS, MaintenanceOptions(vacuum_after=timedelta(0)))):
        optimize_table(lake.lakehouse.table(spec), wish)
        DeltaTable(lake.lakehouse.table(spec).uri).create_checkpoint()
    landing = lake.opened()
    land(landing, "tag0", 30, 35)
    assert len(lake.events()) == 65
    assert lake.opened().open()["tag0"].high == 35


def test_a_run_at_work_meanwhile_is_not_disturbed(lake):
    landing = lake.opened()
    batch = landing.begin()
    optimize_table(lake.lakehouse.table(PI_TIMESERIES), MaintenanceOptions(cluster_by=("tag_webid",)))
    optimize_table(lake.lakehouse.table(PI_WATERMARKS), MaintenanceOptions())
    batch.abort()
    land(landing, "tag0", 30, 40)
    land(landing, "tag0", 40, 50)
    assert len(lake.events()) == 80


def test_a_run_that_died_between_its_commits_is_still_finished(lake):
    """Its watermark file is referred to by no version of the checkpoint table; upkeep of that leaves it alone."""
    with pytest.raises(Killed):
        land(lake.opened(on_step=kill_at("after_data_commit")), "tag0", 30, 40)
    optimize_table(lake.lakehouse.table(PI_TIMESERIES), EVERYTHING)
    optimize_table(lake.lakehouse.table(PI_WATERMARKS), MaintenanceOptions(vacuum_after=timedelta(0)))
    assert lake.opened().open()["tag0"].high == 40
    assert len(lake.events()) == 70


def test_what_the_catalog_looks_after_is_left_alone():
    report = optimize_table(MemoryLakehouse().table(PI_TIMESERIES), MaintenanceOptions())
    assert "the catalog looks after it" in report.skipped


@pytest.mark.parametrize(
    ("kind", "databricks", "files", "said"),
    [
        ("external", False, 1, "3 files, now 1"),
        ("managed", False, 3, "this server compacts none"),
        ("managed", True, 3, "predictive optimization"),
    ],
)
def test_of_the_tables_of_a_catalog_the_external_ones_are_compacted(
    kind: str, databricks: bool, files: int, said: str, tmp_path: Path
) -> None:
    """What becomes of managed ones is said as it is: Databricks compacts them, the open-source server lets no client."""
    with stand_in(kind, str(tmp_path), None, databricks=databricks) as (_, lakehouse):
        table = lakehouse().table(PI_TIMESERIES)
        assert optimize_table(table, MaintenanceOptions()).skipped == "it does not exist yet"
        lake = Lake(lakehouse())
        landing = lake.opened()
        for n in range(3):
            land(landing, "a", n * 10, n * 10 + 10)
        before = lake.events()
        report = optimize_table(lakehouse().table(PI_TIMESERIES), MaintenanceOptions())
        assert said in str(report)
        assert lakehouse().table(PI_TIMESERIES).open().file_count(where={}) == files
        assert lake.events() == before


@pytest.mark.parametrize("by", ["maintain", "optimize_after_write"])
def test_external_tables_are_compacted_by_the_command_and_after_a_run(
    by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with stand_in("external", str(tmp_path), None) as (catalog, lakehouse):
        monkeypatch.setenv("DATABRICKS_HOST", catalog.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        document = {
            "development": {"simulator": {"tags": 3, "history": "1h"}},
            "pi_web_api": {"auth_type": "anonymous"},
            "extraction": {"tag_name_filter": "*", "start_date": "now-30m", "datasets": ["recorded"]},
            "unity_catalog": {"location": f"file://{tmp_path}/external"},
        }
        Path("plant.yaml").write_text(json.dumps(document))
        assert main(["run", "-c", "plant.yaml", "--set", "extraction.end_date=now-15m"]) == 0
        many = ("--set", "performance.commit_rows=1", "--set", "extraction.request_mode=single")
        optimized = by == "optimize_after_write"
        assert main(["run", "-c", "plant.yaml", *many, "--set", f"performance.optimize_after_write={optimized}"]) == 0
        lake = Lake(lakehouse())
        before, table = lake.events(), lakehouse().table(PI_TIMESERIES).open()
        dates = len({file.path.partition("/")[0] for file in table.live_files(0, 1 << 60)})
        assert (table.file_count(where={}) == dates) == optimized
        assert main(["maintain", "-c", "plant.yaml"]) == 0
        assert f"now {dates}" in capsys.readouterr().out
        assert lakehouse().table(PI_TIMESERIES).open().file_count(where={}) == dates
        assert lake.events() == before


async def test_a_run_compacts_the_dates_it_wrote_to_and_no_others(tmp_path):
    settings = plant(
        tmp_path,
        development={"simulator": {"tags": 2, "history": "50h"}},
        extraction={"tag_name_filter": "*", "start_date": "now-50h", "end_date": "now-49h"},
    )
    lake = Lake(lakehouse_of(settings))
    await run(settings)
    old = set(files(lake))
    once = {"optimize_after_write": True, "zorder_columns": ["tag_webid", "timestamp"], "commit_rows": 1}
    recent = {"tag_name_filter": "*", "end_date": "now-1m", "request_mode": "single", "max_count_per_tag": 500}
    await run(plant(tmp_path, extraction=recent, performance=once | {"optimize_after_write": False}))
    scattered = files(lake)
    assert max(scattered.values()) > 1
    await run(plant(tmp_path, extraction={**recent, "end_date": "now-30s"}, performance=once))
    await run(plant(tmp_path, extraction=recent | {"end_date": "now"}, performance=once))
    today = max(files(lake))
    assert files(lake)[today] == 1
    assert old <= set(files(lake))
    versions = lakehouse_of(settings).table(PI_TIMESERIES).open().last_sequence("osipi/p/recorded/0-of-1")
    assert versions > 2


async def test_columns_that_cannot_be_clustered_by_are_refused_before_anything(tmp_path):
    settings = plant(tmp_path, performance={"zorder_columns": ["partition_date", "tga"]})
    with pytest.raises(ConfigurationError, match="partition_date, tga"):
        await run(settings)
    assert not (tmp_path / "main").exists()


def test_the_command_looks_after_every_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["run", "--set", "development.simulator.tags=3"]) == 0
    capsys.readouterr()
    assert main(["maintain", "--json"]) == 0
    tables = {each["table"]: each for each in json.loads(capsys.readouterr().out)["tables"]}
    assert tables["pi_connector_metrics"]["files_after"] == 1
    assert tables["pi_watermarks"]["files_after"] == 1
    assert main(["maintain"]) == 0
    assert "pi_tags: 1 file, now 1" in capsys.readouterr().out
    assert main(["run", "--set", "development.simulator.tags=3"]) == 0


def test_a_retention_that_could_hurt_readers_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="at least 1d"):
        plant(tmp_path, performance={"vacuum_after": "1h"})
