"""Whole runs keep pi_digital_states as the source is, ask as little as they can, and write only what changed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from deltalake import DeltaTable

from engine.commands.plan.main import forecast_run
from engine.plan.shards import Shard
from engine.run import run
from engine.simulator.archive.values import DIGITAL_SETS
from tests.digital_states.site import END, STATES_OF_EVENTS, WHOLE, joined, named, plant_of, serving, table_of, used
from tests.exactness.plant import BEGIN, MINUTE
from tests.exactness.reading import is_table, version_of

# --- what a run leaves -------------------------------------------------------------


async def test_the_first_run_writes_all_states_and_the_next_one_nothing(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, bad=0.1)
    async with serving(plant) as site:
        report = await site.run()
        assert named(plant) == WHOLE
        assert used(plant) == set(DIGITAL_SETS)
        total = sum(map(len, WHOLE.values()))
        assert report.as_dict()["digital_states"] == {"added": total, "changed": 0, "missing": 0, "sets_unread": []}
        assert site.asked() == (1, 0, 4), "a list, and one batch"
        version = version_of(table_of(plant))

        await site.control("clock", {"advance": "5m"})
        again = await site.run()
        assert again.as_dict()["digital_states"] == {"added": 0, "changed": 0, "missing": 0, "sets_unread": []}
        assert version_of(table_of(plant)) == version
        assert site.asked() == (2, 0, 8)
    plant.assert_exact(BEGIN, END + 5 * MINUTE)
    rows = joined(plant, STATES_OF_EVENTS)
    assert {kind for _, _, kind, _, _ in rows} == {"digital", "system"}
    assert {of for _, _, _, of, _ in rows} == set(WHOLE)
    assert all(then == now for then, now, _, _, _ in rows)
    seen = joined(plant, "SELECT DISTINCT epoch_us(first_seen), epoch_us(last_seen) FROM pi_digital_states")
    assert seen == [(END, BEGIN)], "the run, and its day"
    fields = json.loads(DeltaTable(table_of(plant)).schema().to_json())["fields"]
    assert all(field["metadata"]["comment"] for field in fields)


async def test_what_an_engineer_does_to_states_shows_and_events_keep_the_name_they_had(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        await site.run()
        before = version_of(table_of(plant))
        await site.change("rename_state", "Pump", code=1, name="Läuft ✓")
        await site.change("add_state", "Pump", code=9, name="Serviced")
        await site.change("remove_state", "Mode", code=2)
        await site.control("clock", {"advance": "1h"})
        await site.run()
        assert (site.synced.added, site.synced.changed, site.synced.missing, site.synced.unread) == (1, 1, 1, ())
        assert named(plant)["Pump"] == {0: "Stopped", 1: "Läuft ✓", 2: "Starting", 3: "Tripped", 9: "Serviced"}
        assert named(plant)["Mode"] == {0: "Manual", 1: "Automatic"}
        assert named(plant, gone=True) == {"Mode": {2: "Cascade"}}
        assert version_of(table_of(plant)) == before + 1
        old = DeltaTable(table_of(plant), version=before).to_pyarrow_table().to_pylist()
        assert "Running" in {row["name"] for row in old}, "the history of the table tells"

        pumps = [row for row in joined(plant, STATES_OF_EVENTS) if row[3] == "Pump" and row[1] == "Läuft ✓"]
        assert {then for then, _, _, _, _ in pumps} == {"Running", "Läuft ✓"}
        assert max(at for then, _, _, _, at in pumps if then == "Running") < min(
            at for then, _, _, _, at in pumps if then != "Running"
        )

        await site.change("add_state", "Mode", code=2, name="Cascade")
        await site.run()
        assert (site.synced.added, site.synced.changed, site.synced.missing) == (0, 1, 0)
        assert named(plant)["Mode"] == WHOLE["Mode"]
        assert named(plant, gone=True) == {}


async def test_events_that_are_read_again_take_the_name_of_now(tmp_path: Path) -> None:
    """An archive keeps codes: within the lookback, a renamed state looks like an edit, and is mended as one."""
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        await site.run()
        await site.change("rename_state", "Pump", code=1, name="On")
        report = await site.run(extraction={"lookback": "20m"})
        assert report.corrections.changed > 0
    rows = [row for row in joined(plant, STATES_OF_EVENTS) if row[1] == "On"]
    assert {(then, at >= END - 20 * MINUTE) for then, _, _, _, at in rows} == {("Running", False), ("On", True)}


async def test_only_sets_that_are_used_are_asked_for(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=40)
    chosen = [n for n in range(40) if plant.simulator(END).point(n).digital_set == "Valve"]
    tags = {"extraction": {"tag_name_filter": [], "tags": [plant.path(n) for n in chosen]}}
    async with serving(plant) as site:
        await site.run(**tags)
        assert site.asked() == (1, 0, 2)
        assert named(plant) == {name: WHOLE[name] for name in ("Valve", "SYSTEM")}
        await site.run(extraction={"tag_name_filter": ["*"], "tags": []})
        assert named(plant) == WHOLE
        await site.change("remove_state", "Mode", code=0)
        await site.run(**tags)
        assert named(plant) == WHOLE, "it was not read, and stays as it was"


async def test_without_digital_tags_the_states_any_tag_may_hold_are_read_once_a_day(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, types=(("Float32", 1.0),))
    async with serving(plant) as site:
        for advance, asked in (("5m", 1), ("22h", 1), ("1h", 1), ("1h", 2), ("1h", 2)):
            await site.run()
            assert site.asked() == (asked, asked, 0), advance
            await site.control("clock", {"advance": advance})
    assert named(plant) == {"SYSTEM": WHOLE["SYSTEM"]}


# --- several runs ---------------------------------------------------------------------


async def test_the_first_shard_reads_the_states_for_all(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=6)
    async with serving(plant) as site:
        await site.run(shard=Shard(1, 2))
        assert site.asked() == (0, 0, 0)
        assert not is_table(table_of(plant))
        await site.run(shard=Shard(0, 2))
        assert site.asked() == (1, 0, 1 + len(used(plant)))
    assert named(plant) == {name: WHOLE[name] for name in (*used(plant), "SYSTEM")}
    plant.assert_exact(BEGIN, END)


async def test_pipelines_that_start_together_keep_each_others_states(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=40)
    server = plant.simulator(END)

    def of(digital_set: str) -> list[str]:
        return [plant.path(n) for n in range(40) if server.point(n).digital_set == digital_set]

    async with serving(plant) as site:
        await asyncio.gather(
            *(
                run(plant.config(site.url, pipeline=name, extraction={"tag_name_filter": [], "tags": of(name)}))
                for name in DIGITAL_SETS
            )
        )
    assert named(plant) == WHOLE
    assert named(plant, gone=True) == {}


async def test_history_is_read_without_asking_for_states_twice(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        await site.run(extraction={"mode": "full"})
        assert site.asked() == (1, 0, 4)
    assert named(plant) == WHOLE


async def test_the_plan_counts_what_states_cost(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        config = plant.config(site.url)
        planned = await forecast_run(config, Shard())
        assert planned.states_requests == 2
        report = await site.run()
        assert report.requests == planned.requests
        assert (await forecast_run(config, Shard(1, 2))).states_requests == 0
