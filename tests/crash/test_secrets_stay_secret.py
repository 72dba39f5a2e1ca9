"""Planted credentials are in nothing that a run or another command leaves behind, whatever goes wrong."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config import from_mapping
from engine.net.auth import auth_from
from engine.net.settings import ClientSettings
from engine.simulator import Basic, Bearer
from tests.crash.process import command, served
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import is_table, read_table

USER = "CORP\\svc_pi"
PASSWORD = "Plant€d-Pa$$w0rd/4711"
TOKEN = "eyJhbGciOi.planted-token.4711"
STORE_KEY = "planted+store/secret=4711"
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
PLANTED = (PASSWORD, TOKEN, STORE_KEY, ENCODED)

BASIC = {"auth_type": "basic", "username": USER, "password": PASSWORD}
BEARER = {"auth_type": "bearer", "token": TOKEN}
# The server repeats what it was sent, as some proxies do in their error pages.
ECHO = f"Denied. Authorization: Basic {ENCODED} Bearer {TOKEN} password={PASSWORD}"


def forms(secret: str) -> set[bytes]:
    """A secret as it may show: as it is, in JSON, in a repr, percent-encoded."""
    from urllib.parse import quote

    texts = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")}
    return {text.encode(coding) for text in texts for coding in ("utf-8", "utf-16-le")}


def assert_kept(*places: Path) -> None:
    searched = 0
    for file in (file for place in places for file in place.rglob("*") if file.is_file()):
        content = file.read_bytes()
        searched += len(content)
        for secret in PLANTED:
            assert not any(form in content for form in forms(secret)), f"{file} holds {secret[:4]}..."
    assert searched > 1000


def assert_not_in_tables(plant: Plant) -> None:
    for path in (plant.timeseries, plant.tags, plant.watermarks):
        if is_table(path):
            text = str(read_table(path).to_pylist())
            assert not any(secret in text for secret in PLANTED)


def plant_of(root: Path, auth: Basic | Bearer) -> Plant:
    plant = Plant.of(root / "lake", tags=8)
    plant.options = replace(plant.options, auth=auth)
    return plant


@pytest.mark.parametrize("way", ["basic", "bearer"])
async def test_a_run_that_succeeds_and_one_that_fails_keep_them(tmp_path: Path, way: str) -> None:
    auth: Basic | Bearer = Basic(USER, PASSWORD) if way == "basic" else Bearer(TOKEN)
    login: dict[str, Any] = BASIC if way == "basic" else BEARER
    plant = plant_of(tmp_path, auth)
    storage = {"storage": {"root": str(plant.root), "options": {"aws_secret_access_key": STORE_KEY}}}
    echo = {"match": {"route": "*recorded", "tag": plant.name(3)}, "do": {"status": 500, "body": {"Errors": [ECHO]}}}
    folders = tmp_path / "commands"
    configs = tmp_path / "configs"
    configs.mkdir()
    async with served(plant, BEGIN + HOUR, {"rules": [echo]}) as document:
        right = configs / "right.yaml"
        right.write_text(json.dumps(document(pi_web_api=login, monitoring={"log_level": "debug"}, **storage)))
        ran = await command(folders / "run", "run", "-c", str(right), "--json", "--debug").end()
        assert ran.code == 1, ran
        assert ran.report is not None
        assert [failed["tag"] for failed in ran.report["tags_failed"]] == [plant.name(3)]
        for name in ("check", "plan", "tags", "status", "config"):
            arguments = ["show"] if name == "config" else []
            await command(folders / name, name, *arguments, "-c", str(right), "--debug").end()
        wrong = configs / "wrong.yaml"
        swapped = {**login, **({"username": "other"} if way == "basic" else {"auth_type": "basic", **BASIC})}
        wrong.write_text(json.dumps(document(pi_web_api=swapped, **storage)))
        refused = await command(folders / "wrong", "run", "-c", str(wrong), "--json", "--debug").end()
        assert refused.code == 3, refused
    broken = configs / "broken.yaml"
    broken.write_text(right.read_text().replace('"extraction"', '"extractoin"').replace('"auth_type"', '"auth_tpye"'))
    spoiled = await command(folders / "broken", "run", "-c", str(broken), "--debug").end()
    assert spoiled.code == 2, spoiled
    assert_kept(folders, plant.root)
    assert_not_in_tables(plant)


def test_no_repr_shows_them() -> None:
    document = {
        "pi_web_api": {"url": "https://pi/piwebapi", **BASIC},
        "storage": {"root": "s3://lake", "options": {"aws_secret_access_key": STORE_KEY}},
    }
    basic = from_mapping(document).config
    bearer = from_mapping({"pi_web_api": {"url": "https://pi/piwebapi", **BEARER}}).config
    shown = []
    for config in (basic, bearer):
        auth = auth_from(config.pi_web_api)
        shown += [config, config.pi_web_api, config.storage, auth, ClientSettings(url="https://pi", auth=auth)]
    shown += [Basic(USER, PASSWORD), Bearer(TOKEN)]
    for value in shown:
        for text in (repr(value), str(value), f"{value}"):
            assert not any(secret in text for secret in PLANTED), type(value)
