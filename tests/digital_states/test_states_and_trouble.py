"""Whatever the server or the destination does about digital states, values land, and no state is lost."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest
from deltalake import write_deltalake

from engine.datasets import digital_states as reading
from engine.flow.stop import Stop
from engine.simulator.replies import Reply, json_reply
from engine.telemetry.log import EventLog
from tests.crash.process import until
from tests.digital_states.site import END, LISTING, STATES, WHOLE, named, plant_of, serving, table_of, used
from tests.exactness.plant import BEGIN, HOUR, text_of
from tests.patience import HANGS_AFTER_SECS
from tests.variants import first_of, slowly

DAY = 24 * HOUR


@pytest.mark.parametrize(("batch", "status"), [(True, 403), (False, 500), *slowly((True, 500), (False, 403))])
async def test_a_set_that_may_not_be_read_stays_as_it_was_and_holds_up_nothing(
    tmp_path: Path, batch: bool, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, {"switches": {"batch": batch}}) as site:
        await site.run()
        await site.change("forbid_set", "Pump", status=status)
        await site.change("rename_state", "Pump", code=0, name="Off")
        await site.change("rename_state", "Valve", code=0, name="Shut")
        await site.control("clock", {"advance": "5m"})
        report = await site.run()
        assert (report.status, report.exit_code) == ("succeeded", 0)
        [(unread, reason)] = report.digital_states.unread
        assert unread == "Pump of SIMDA"
        assert str(status) in reason
        assert named(plant)["Pump"] == WHOLE["Pump"]
        assert named(plant)["Valve"][0] == "Shut"
        assert named(plant, gone=True) == {}
        assert report.as_dict()["digital_states"]["sets_unread"] == [{"set": "Pump of SIMDA", "reason": reason}]
        with caplog.at_level(logging.WARNING):
            EventLog()(site.synced)
        assert "stay as they were: Pump of SIMDA: " in caplog.text

        await site.change("allow_set", "Pump")
        report = await site.run()
        assert report.digital_states.unread == ()
        assert named(plant)["Pump"][0] == "Off"


@pytest.mark.parametrize("left", [None, 503, *slowly(408, 429, 500, 502, 504)], ids=str)
async def test_a_set_that_is_missing_in_a_batch_or_came_too_late_is_asked_for_alone(
    tmp_path: Path, left: int | None
) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        real = site.simulator._batch

        async def answer(*what: Any) -> Reply:
            before = site.asked()[2]
            reply = await real(*what)
            if site.asked()[2] == before:
                return reply
            parts = json.loads(reply.body())
            parts["1"] = {"Status": left, "Headers": {}, "Content": {"Errors": ["Later."]}}
            return json_reply({key: one for key, one in parts.items() if one["Status"] is not None})

        with patch.object(site.simulator, "_batch", answer):
            report = await site.run()
        assert (report.exit_code, report.digital_states.unread) == (0, ())
        assert named(plant) == WHOLE
        assert site.asked()[1] == 1


async def test_without_batches_each_set_is_asked_for_alone(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant, {"switches": {"batch": False}}) as site:
        assert (await site.run()).status == "succeeded"
        assert named(plant) == WHOLE
        assert site.asked() == (1, 4, 0)


async def test_a_server_that_takes_smaller_batches_gets_them(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=2)
    async with serving(plant, {"switches": {"batch_max_items": 1}}) as site:
        assert (await site.run()).digital_states.unread == ()
        assert site.asked() == (1, 1 + len(used(plant)), 0)
    assert named(plant) == {name: WHOLE[name] for name in (*used(plant), "SYSTEM")}


async def test_where_asking_is_dear_a_set_is_read_once_a_day_and_a_new_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "AFFORDABLE", 4)
    plant = plant_of(tmp_path)
    async with serving(plant, {"switches": {"batch": False}}) as site:
        await site.change("forbid_set", "Mode")
        await site.run()
        assert site.asked() == (1, 4, 0)
        await site.change("allow_set", "Mode")
        await site.change("rename_state", "Pump", code=0, name="Off")
        await site.run()
        assert site.asked() == (2, 5, 0), "only what could not be read before"
        assert named(plant) == WHOLE
        await site.run()
        assert site.asked() == (2, 5, 0)
        await site.control("clock", {"now": text_of(BEGIN + DAY)})
        await site.run()
        assert site.asked() == (3, 9, 0)
        assert named(plant)["Pump"][0] == "Off"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"match": {"route": LISTING}, "do": {"status": 403}}, "answered 403"),
        ({"match": {"route": STATES}, "do": {"web_exception": True}}, "broke off"),
        ({"match": {"route": STATES}, "do": {"body": {"Items": []}}}, "shows no state"),
        *slowly(
            ({"match": {"route": LISTING}, "do": {"status": 503}}, "503"),
            ({"match": {"route": LISTING}, "do": {"status": 405}}, "405"),
            ({"match": {"route": LISTING}, "do": {"body": "<html>log in</html>"}}, "web page"),
            ({"match": {"route": LISTING}, "do": {"body": {"Items": []}}}, "does not list it"),
            ({"match": {"route": STATES}, "do": {"body": {"Items": [{"Name": "a"}]}}}, "not what the protocol says"),
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_no_answer_of_the_server_about_states_harms_anything(
    tmp_path: Path, rule: dict[str, Any], words: str
) -> None:
    plant = plant_of(tmp_path)
    async with serving(plant) as site:
        await site.run()
    async with serving(plant, {"rules": [rule]}, END + HOUR) as site:
        report = await site.run()
    assert (report.status, report.exit_code) == ("succeeded", 0)
    assert {name for name, _ in report.digital_states.unread} == {f"{name} of SIMDA" for name in WHOLE}
    assert all(words in reason for _, reason in report.digital_states.unread)
    assert named(plant) == WHOLE
    plant.assert_exact(BEGIN, END + HOUR)


@pytest.mark.parametrize("route", first_of([STATES, LISTING]))
async def test_a_server_that_is_silent_about_states_is_not_waited_for(
    tmp_path: Path, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets that came before it fell silent are kept; the others are named."""
    monkeypatch.setattr(reading, "PATIENCE_SECS", 0.5)
    plant = plant_of(tmp_path)
    hang = {"match": {"route": route, "after": 0 if route == LISTING else 2}, "do": {"hang": True}}
    async with serving(plant, {"rules": [hang], "switches": {"batch": False}}) as site:
        report = await asyncio.wait_for(site.run(pi_web_api={"timeout": "300s"}), HANGS_AFTER_SECS)
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)
    assert {reason for _, reason in report.digital_states.unread} == {"no answer within 0.5 s"}
    assert len(report.digital_states.unread) == (4 if route == LISTING else 2)
    if route == STATES:
        assert {name: WHOLE[name] for name in named(plant)} == named(plant)
        assert len(named(plant)) == 2


async def test_who_is_told_to_stop_does_not_wait_for_states(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    stop = Stop()
    hang = {"match": {"route": LISTING}, "do": {"hang": True}}
    async with serving(plant, {"rules": [hang]}) as site:
        running = asyncio.ensure_future(site.run(stop=stop, pi_web_api={"timeout": "300s"}))
        await until(lambda: plant.count() == len(plant.rows(range(12), BEGIN, END)))
        assert not running.done(), "values are there, states are waited for"
        stop.ask("enough")
        report = await asyncio.wait_for(running, HANGS_AFTER_SECS)
    assert report.status == "interrupted"
    plant.assert_exact(BEGIN, END)


async def test_a_table_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant = plant_of(tmp_path)
    write_deltalake(table_of(plant), duckdb.sql("SELECT 1 AS digital_set").arrow())
    async with serving(plant) as site:
        report = await site.run()
        with caplog.at_level(logging.WARNING):
            EventLog()(site.synced)
    assert (report.status, report.exit_code) == ("succeeded", 0)
    [warning] = report.as_dict()["warnings"]
    assert warning.startswith("pi_digital_states is not up to date: ")
    assert "data_server" in warning
    assert "pi_digital_states was not written" in caplog.text
    plant.assert_exact(BEGIN, END)


async def test_a_broken_server_with_a_code_twice_gives_the_same_name_every_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant = plant_of(tmp_path)
    twice = [{"Name": "Open", "Value": 0}, {"Name": "Closed", "Value": 0}, {"Name": "Opening", "Value": 1}]
    for items in (twice, twice[::-1]):
        rule = {"match": {"route": STATES}, "do": {"body": {"Items": items}}}
        async with serving(plant, {"rules": [rule]}) as site:
            await site.run()
            with caplog.at_level(logging.WARNING):
                EventLog()(site.synced)
        assert named(plant) == {name: {0: "Closed", 1: "Opening"} for name in WHOLE}
        assert "several states of one code" in caplog.text
        assert "Pump of SIMDA" in caplog.text
    assert (site.synced.added, site.synced.changed) == (0, 0)
