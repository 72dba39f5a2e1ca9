"""Attributes that `extraction.tags` names are read like tags: the table equals their streams, run after run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from config import from_mapping
from engine.piweb.attribute_tags import ATTRIBUTE, decode_attributes
from engine.run import run
from engine.simulator import Simulator, SimulatorOptions
from engine.simulator.dispatch import Dispatch
from engine.simulator.site import Site
from engine.telemetry.report import RunReport
from tests.exactness.plant import BEGIN, BEGIN_TEXT, HOUR, SECOND, settings
from tests.exactness.reading import read_table

OPTIONS = SimulatorOptions(tags=40, elements=130, begin=BEGIN_TEXT, interval_secs=60)
UNIT = r"\\SIMAF\Plant\Site 01\Unit 02"


def asked(target: str, now: int) -> Any:
    site = Site(SimulatorOptions(tags=40, elements=130, begin=BEGIN_TEXT, interval_secs=60, now=now / SECOND))
    reply = Dispatch(site).answer("GET", f"/piwebapi/{target}", "http://pi/piwebapi", "outer", site.now())
    return json.loads(reply.body())


def web_id(path: str) -> str:
    return str(asked(f"attributes?path={path}&webIdType=IDOnly", BEGIN + HOUR)["WebId"])


async def brought(root: Path, tags: Sequence[str], now: int, **extraction: Any) -> RunReport:
    options = SimulatorOptions(tags=40, elements=130, begin=BEGIN_TEXT, interval_secs=60, now=now / SECOND)
    async with Simulator(options).serve() as url:
        chosen = {"tags": list(tags), "tag_name_filter": [], **extraction}
        return await run(from_mapping(settings(root, url, extraction=chosen)).config)


def stored(root: Path, of: str) -> list[tuple[int, float | None, str | None]]:
    rows = read_table(root / "main" / "bronze" / "pi_timeseries")
    rows = rows.set_column(rows.schema.get_field_index("timestamp"), "timestamp", rows["timestamp"].cast("int64"))
    found = [row for row in rows.to_pylist() if row["tag_webid"] == of]
    return sorted(
        (row["timestamp"], row["value"], row["value_string"] if row["value"] is None else None) for row in found
    )


def streamed(of: str, now: int) -> list[tuple[int, float | None, str | None]]:
    from engine.piweb.times import parse_micros

    items = asked(f"streams/{of}/recorded?startTime={BEGIN_TEXT}&endTime=*&maxCount=10000", now)["Items"]
    found = []
    for item in items:
        at, value = parse_micros(item["Timestamp"]), item["Value"]
        if at < now:
            number = float(value) if isinstance(value, (int, float)) else None
            found.append(
                (
                    at,
                    number,
                    None if number is not None else value and (value["Name"] if isinstance(value, dict) else value),
                )
            )
    return sorted(found)


@pytest.mark.parametrize("form", ["path", "web_id"])
async def test_a_formula_is_read_like_a_tag(tmp_path: Path, form: str) -> None:
    of = web_id(f"{UNIT}|Feed doubled")
    name = f"{UNIT}|Feed doubled" if form == "path" else of
    for hours in (1, 2):
        report = await brought(tmp_path, [name], BEGIN + hours * HOUR)
        assert (report.status, report.tags_requested) == ("succeeded", 1)
        assert stored(tmp_path, of) == streamed(of, BEGIN + hours * HOUR)
        assert report.records_written > 0
    [row] = [row for row in read_table(tmp_path / "main" / "bronze" / "pi_tags").to_pylist() if row["tag_webid"] == of]
    assert (row["name"], row["point_class"], row["deleted_at"]) == (r"Site 01\Unit 02|Feed doubled", ATTRIBUTE, None)
    assert row["engineering_units"] == "m3/h"


async def test_an_attribute_that_shows_a_tag_which_is_read_is_not_read_twice(tmp_path: Path) -> None:
    shown = asked(f"attributes?path={UNIT}|Feed&webIdType=IDOnly", BEGIN + HOUR)
    point = shown["Links"]["Point"].rpartition("/")[2]
    report = await brought(tmp_path, [f"{UNIT}|Feed", point], BEGIN + HOUR)
    assert (report.status, report.tags_requested) == ("succeeded", 1)
    assert any("Feed shows the tag" in one and "not read twice" in one for one in report.warnings)
    assert stored(tmp_path, shown["WebId"]) == []
    alone = await brought(tmp_path / "alone", [f"{UNIT}|Feed"], BEGIN + HOUR)
    assert (alone.status, alone.tags_requested) == ("succeeded", 1)
    assert stored(tmp_path / "alone", shown["WebId"]) == streamed(shown["WebId"], BEGIN + HOUR)


async def test_what_has_no_history_or_is_not_there_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    of = web_id(f"{UNIT}|Feed doubled")
    tags = [f"{UNIT}|Status", f"{UNIT}|Nothing", f"{UNIT}|Feed doubled"]
    report = await brought(tmp_path, tags, BEGIN + HOUR)
    assert report.exit_code == 1
    failed = dict(report.tags_failed)
    assert set(failed) == set(tags[:2])
    assert "no history" in failed[f"{UNIT}|Status"]
    assert "not found" in failed[f"{UNIT}|Nothing"].lower()
    assert stored(tmp_path, of) == streamed(of, BEGIN + HOUR)


def test_an_answer_that_is_none_is_an_error_of_ours() -> None:
    from config.errors import UnavailableError

    for body in (b"", b"[]", b'{"Items": 3}', b"<html>"):
        with pytest.raises(UnavailableError):
            decode_attributes(body, ["a"])
    found = decode_attributes(b'{"Items": [3, {"Identifier": "a", "Object": {"WebId": 3}}]}', ["a"])
    assert [name for name, _ in found.found.failures] == ["a"]
