"""Planted credentials are in nothing that a run or another command leaves behind, whatever goes wrong."""

from __future__ import annotations

import base64
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from config import from_mapping
from engine.net.auth import auth_from
from engine.net.settings import ClientSettings
from engine.simulator import BasicLogin, BearerLogin
from tests.crash.process import command, served
from tests.exactness.plant import BEGIN, HOUR, Plant, settings
from tests.exactness.reading import is_table, read_table
from tests.network.test_redirects import sends_to, server
from tests.variants import first_of

USER = "CORP\\svc_pi"
PASSWORD = "Plant€d-Pa$$w0rd/4711"
TOKEN = "eyJhbGciOi.planted-token.4711"
STORE_KEY = "planted+store/secret=4711"
CLIENT_SECRET = "planted~client.secret_4711"
SAS = "sv=2024-11-04&sig=planted%2Bsas%2Fsignature%3D4711"
ACCOUNT_KEY = "cGxhbnRlZCBhY2NvdW50IGtleSA0NzEx"
CLIENT = "connector"
ENCODED_CLIENT = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
PLANTED = (PASSWORD, TOKEN, STORE_KEY, ENCODED, CLIENT_SECRET, ENCODED_CLIENT, SAS, ACCOUNT_KEY)

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


def plant_of(root: Path, auth: BasicLogin | BearerLogin) -> Plant:
    plant = Plant.of(root / "lake", tags=8)
    plant.options = replace(plant.options, auth=auth)
    return plant


@pytest.mark.parametrize("way", first_of(["basic", "bearer"]))
async def test_a_run_that_succeeds_and_one_that_fails_keep_them(tmp_path: Path, way: str) -> None:
    auth: BasicLogin | BearerLogin = BasicLogin(USER, PASSWORD) if way == "basic" else BearerLogin(TOKEN)
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
        more = {"config": ["show"], "report": ["--html", "-", "--tag", plant.name(1)]}
        for name in ("check", "plan", "tags", "status", "report", "config"):
            arguments = more.get(name, [])
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


def echoes(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that repeats what it was sent, headers and all."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = f"{ECHO}\n{handler.headers}\nclient_secret={CLIENT_SECRET} {SAS} {ACCOUNT_KEY}".encode()
        handler.send_response(status, f"No. {TOKEN}")
        handler.send_header("WWW-Authenticate", f'Basic realm="{PASSWORD[-4:]}", Bearer error="{TOKEN}"')
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def resets(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


TROUBLES: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "401": echoes(401),
    "redirect": sends_to(f"https://thief.example/{TOKEN}?sig={CLIENT_SECRET}&x=", 307),
    "500": echoes(500),
    "reset": resets,
    "no TLS": echoes(200),
}


@pytest.mark.parametrize("trouble", first_of(["redirect", "401", "500", "reset", "no TLS"]))
async def test_trouble_on_the_way_shows_none_of_them(tmp_path: Path, trouble: str) -> None:
    """Each login meets each trouble, with debug on, as text and as JSON."""
    options = {
        "aws_secret_access_key": STORE_KEY,
        "azure_storage_sas_key": SAS,
        "azure_storage_account_key": ACCOUNT_KEY,
    }
    configs, folders = tmp_path / "configs", tmp_path / "commands"
    configs.mkdir()
    with server(TROUBLES[trouble]) as (address, heard):
        url = address.replace("http://", "https://") if trouble == "no TLS" else address
        client = {"client_id": CLIENT, "client_secret": CLIENT_SECRET}
        logins = {
            "basic": BASIC,
            "bearer": BEARER,
            "oauth": {"auth_type": "oauth", "oauth": {**client, "token_url": f"{url}/token"}},
            "discover": {"auth_type": "oauth", "oauth": {**client, "discover": True}},
        }
        for name, login in logins.items():
            document = settings(
                tmp_path / "lake",
                f"{url}/piwebapi",
                pi_web_api=login,
                storage={"root": str(tmp_path / "lake"), "options": options},
                monitoring={"log_level": "debug", "log_format": "json" if name == "basic" else "text"},
            )
            file = configs / f"{name}.yaml"
            file.write_text(json.dumps(document))
            done = await command(folders / name, "run", "-c", str(file), "--json", "--debug").end()
            assert done.code in {1, 2, 3}, done
            assert done.output
        assert heard or trouble == "no TLS"
    assert_kept(folders)
    for file in (tmp_path / "lake").rglob("*"):
        assert file.is_dir() or not any(form in file.read_bytes() for secret in PLANTED for form in forms(secret))


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
    shown += [BasicLogin(USER, PASSWORD), BearerLogin(TOKEN)]
    for value in shown:
        for text in (repr(value), str(value), f"{value}"):
            assert not any(secret in text for secret in PLANTED), type(value)
