"""The bundle, judged by the Databricks CLI itself: its schema, and `bundle validate` against a loopback workspace.

`make bundle-cli` builds the CLI where the Go module proxy gives it out. Without it these tests are
skipped, unless CI says that everything has to run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from tests.bundle.bundle import ROOT, definition, files
from tests.bundle.workspace import TOKEN, Workspace

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "osipi-connector" / "bundle-cli" / "cli"


@pytest.fixture(scope="module")
def cli() -> str:
    found = os.environ.get("OSIPI_DATABRICKS_CLI") or (str(CACHE) if CACHE.exists() else shutil.which("databricks"))
    # The legacy tool of the same name knows no bundles.
    if found and subprocess.run([found, "bundle", "--help"], capture_output=True, check=False).returncode == 0:
        return found
    if (CACHE.parent / "unavailable").exists():
        pytest.skip("the Databricks CLI cannot be built here: make bundle-cli says why")
    reason = "no Databricks CLI: neither built (make bundle-cli) nor on PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def schema(cli):
    done = subprocess.run([cli, "bundle", "schema"], capture_output=True, text=True, check=True)
    return jsonschema_rs.validator_for(json.loads(done.stdout))


def test_every_file_fits_the_schema(schema):
    for content in (definition(), *(yaml.safe_load(file.read_text()) for file in files())):
        assert [f"{list(error.instance_path)}: {error.message}" for error in schema.iter_errors(content)] == []


def test_the_schema_notices_a_misspelt_key(schema):
    """At the top level it takes any key, for anchors of YAML."""
    bundle = definition()
    assert not schema.is_valid({**bundle, "bundle": {**bundle["bundle"], "nmae": ""}})
    for file in files():
        content = yaml.safe_load(file.read_text())
        for each in (one for kind in content["resources"].values() for one in kind.values()):
            each["tsaks"] = []
        assert not schema.is_valid(content)


@pytest.mark.parametrize("target", ["dev", "prod"])
@pytest.mark.parametrize(
    "included",
    [
        "resources/*.job.yml",
        "resources/variants/*.job.yml",
        "resources/variants/*.pipeline.yml",
        "resources/osipi_connector.dashboard.yml",
    ],
)
def test_the_cli_finds_it_valid(cli, target, included, tmp_path):
    for name in ("resources", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name)
    bundle = definition()
    bundle["include"] = sorted({"resources/*.job.yml", included})
    for each in bundle["targets"].values():
        each["workspace"].pop("host")
    (tmp_path / "databricks.yml").write_text(yaml.safe_dump(bundle))
    with Workspace({}).serve() as workspace:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **workspace.env()}
        done = subprocess.run(
            [cli, "bundle", "validate", "--target", target, "--output", "json"],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "osipi_connector_job" in json.loads(done.stdout)["resources"]["jobs"]
