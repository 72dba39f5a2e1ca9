"""Credentials that come from a workspace's secret scope reach the PI Web API, and nothing that anybody can read."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, QueryBuilder

import config
from config.errors import ExtractError
from engine.run import run
from engine.simulator import BasicLogin, FaultPlan, Simulator, SimulatorOptions
from osipi_connector import PILakeflowConnector
from tests.bundle.workspace import TOKEN, Workspace

# Imported here and not in a thread of a run: what kernels of other tests leave to be collected may import, too,
# and Python 3.11 trips over an import inside an import.
importlib.import_module("databricks.sdk")

USER = "CORP\\svc_planted"
PASSWORD = "pl4nted-${pass}/wörd 1"
STORE_KEY = "pl4nted+store/key="
WEBHOOK = "https://hooks.example/services/pl4nted-hook"
SECRETS = {
    ("pi-connector", "pi_username"): USER,
    ("pi-connector", "pi_password"): PASSWORD,
    ("pi-connector", "store_key"): STORE_KEY,
    ("pi-connector", "webhook"): WEBHOOK,
    ("wrong", "pi_username"): USER,
    ("wrong", "pi_password"): "pl4nted-other",
}
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
# Not the user's name: it is no secret, and PI itself tells it in its answers.
PLANTED = (PASSWORD, STORE_KEY, WEBHOOK, "pl4nted-other", TOKEN, BASIC)


def forms(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret), quote(secret, safe=""), encoded}


def assert_kept(text: str, where: object) -> None:
    found = [secret for secret in PLANTED for form in forms(secret) if form in text]
    assert not found, where


def assert_kept_by_files(folder: Path) -> int:
    """Every file as it lies there, and every table as it reads."""
    for file in (path for path in folder.rglob("*") if path.is_file()):
        assert_kept(file.read_bytes().decode("latin-1"), file)
        assert_kept(file.read_bytes().decode("utf-8", "replace"), file)
    tables = [log.parent for log in folder.rglob("_delta_log")]
    for table in tables:
        rows = pa.table(QueryBuilder().register("t", DeltaTable(str(table))).execute("SELECT * FROM t").read_all())
        assert_kept(str(rows.to_pylist()), table)
    return len(tables)


def plant(url: str, folder: Path, scope: str = "pi-connector") -> dict:
    return {
        "pipeline": "secrets",
        "pi_web_api": {"url": url, "auth_type": "basic", "secrets_scope": scope},
        "extraction": {"tag_name_filter": "*", "start_date": "now-10m"},
        "storage": {"root": str(folder), "options": {"aws_secret_access_key": "${secret:pi-connector/store_key}"}},
        "monitoring": {"log_level": "debug", "slack_webhook_url": "${secret:pi-connector/webhook}"},
    }


CELL = """
import os, sys
from importlib import metadata
os.environ.update({env!r})
sys.argv = ["run", "-c", {path!r}, "--debug"]
[found] = [e for e in metadata.distribution("osipi-connector").entry_points if e.name == "run"]
try:
    found.load()()
finally:
    for name in {env!r}:
        del os.environ[name]
"""


@pytest.fixture
def workspace():
    with Workspace(SECRETS).serve() as serving:
        yield serving


@pytest.fixture
async def pi():
    """A PI Web API that lets in nobody else, and repeats for one tag what it was sent, as some proxies do."""
    echo = {"Errors": [f"Denied. Authorization: Basic {BASIC} password={PASSWORD}"]}
    rules = [{"match": {"route": "*recorded", "nth": 1}, "do": {"status": 500, "body": echo}}]
    faults = FaultPlan.from_dict({"rules": rules})
    options = SimulatorOptions(tags=4, auth=BasicLogin(USER, PASSWORD), faults=faults)
    async with Simulator(options).serve() as url:
        yield url


@pytest.fixture
def outside(workspace, monkeypatch):
    for name, value in workspace.env().items():
        monkeypatch.setenv(name, value)
    return workspace


async def test_a_wheel_task_that_succeeds_shows_none(pi, workspace, kernel, tmp_path):
    document = tmp_path / "plant.yaml"
    document.write_text(yaml.safe_dump(plant(pi, tmp_path / "lake")))
    answer = await asyncio.to_thread(kernel.run, CELL.format(path=str(document), env=workspace.env()))
    assert answer.status == "ok", answer
    assert "4 of 4 read" in answer.text
    assert workspace.asked.count("/api/2.0/secrets/get") >= 4
    assert_kept(repr(answer), "the cell")
    assert assert_kept_by_files(tmp_path / "lake") == 6


async def test_a_wheel_task_that_is_refused_shows_none(pi, workspace, kernel, tmp_path):
    document = tmp_path / "plant.yaml"
    document.write_text(yaml.safe_dump(plant(pi, tmp_path / "lake", scope="wrong")))
    answer = await asyncio.to_thread(kernel.run, CELL.format(path=str(document), env=workspace.env()))
    assert answer.ename == "TaskFailedError"
    assert "does not accept our credentials" in answer.evalue
    assert_kept(repr(answer), "the cell")
    assert assert_kept_by_files(tmp_path / "lake") == 1  # the row of the run that failed


async def test_neither_report_nor_configuration_nor_connector_shows_one(pi, outside, tmp_path, caplog):
    caplog.set_level("DEBUG")
    settings = config.from_mapping(plant(pi, tmp_path), env={}).config
    report = await run(settings)
    resolved = await asyncio.to_thread(config.resolve_secrets, settings)
    assert resolved.pi_web_api.password.get_secret_value() == PASSWORD
    connector = PILakeflowConnector(plant(pi, tmp_path))
    for shown in (
        repr(report), report._repr_html_(), json.dumps(report.as_dict()), repr(connector), repr(connector.config),
        repr(resolved), str(config.masked(resolved)), resolved.model_dump_json(), caplog.text,
    ):  # fmt: skip
        assert_kept(shown, shown[:60])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secrets_scope": "nowhere"}, "secret nowhere/pi_username, which does not exist"),
        ({"password": "${secret:pi-connector/nothing}"}, "secret pi-connector/nothing, which does not exist"),
        ({"url": "${secret:pi-connector/pi_password}"}, "pi_web_api.url"),
    ],
)
async def test_a_secret_that_does_not_fit_is_named_and_not_shown(pi, outside, tmp_path, change, said):
    document = plant(pi, tmp_path)
    document["pi_web_api"] |= change
    with pytest.raises(ExtractError) as caught:
        await run(config.from_mapping(document, env={}).config)
    assert said in str(caught.value)
    assert_kept(repr(caught.value) + str(caught.value) + caught.value.hint + repr(caught.value.__context__), said)


async def test_a_workspace_that_does_not_know_us_is_named(pi, outside, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-planted-stale")
    with pytest.raises(ExtractError, match="no login to the Databricks workspace") as caught:
        await run(config.from_mapping(plant(pi, tmp_path), env={}).config)
    assert "dapi-planted-stale" not in str(caught.value) + caught.value.hint
