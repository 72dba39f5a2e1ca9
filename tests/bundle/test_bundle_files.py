"""The bundle, held against the types of the Jobs API, our own entry points, options and configuration."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib

import click
import pytest
from databricks.sdk.service.jobs import JobSettings
from databricks.sdk.service.pipelines import PipelineSpec

import config
from engine.cli import commands
from engine.commands.pipeline_commands import verify
from engine.plan.shards import Shard
from engine.spark.source_options import parse_options
from tests.bundle.bundle import ROOT, definition, files, filled_in, jobs, pipeline, tasks, variables

TARGETS = ("dev", "prod")
JOBS = jobs()
TASKS = [(name, n) for name, (_, job) in JOBS.items() for n in range(len(job["tasks"]))]


def task(target: str, name: str, number: int):
    return tasks(filled_in(JOBS[name][1], target))[number]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", JOBS)
def test_every_key_of_every_job_is_one_of_the_jobs_api(name, target):
    """What the API's types do not know is lost on the way through them, so a misspelt key comes up missing."""
    job = filled_in(JOBS[name][1], target)
    assert JobSettings.from_dict(job).as_dict() == job


def test_the_round_trip_notices_a_misspelt_key():
    job = filled_in(JOBS["osipi_connector_job"][1], "dev")
    job["tasks"][0]["max_retreis"] = 2
    assert JobSettings.from_dict(job).as_dict() != job


@pytest.mark.parametrize("target", TARGETS)
def test_every_key_of_the_declarative_pipeline_is_one_of_the_api(target):
    assert PipelineSpec.from_dict(pipeline(target)).as_dict() == pipeline(target)


def test_the_declarative_pipeline_reads_what_is_configured():
    """A key that the code does not read would have no effect; what it reads must be options that exist."""
    text = (ROOT / "pipelines/pi_timeseries.py").read_text()
    [options] = re.findall(r"^OPTIONS = (\(.*?^\))", text, flags=re.MULTILINE | re.DOTALL)
    [login] = re.findall(r"^LOGIN = (\{.*\})$", text, flags=re.MULTILINE)
    read, found = ast.literal_eval(options), pipeline("dev")
    assert set(found["configuration"]) <= {f"spark.osipi.{name}" for name in read}
    wanted = set(re.findall(r"\$\{env:(\w+)\}", login))
    assert set(found["clusters"][0]["spark_env_vars"]) == wanted
    given = {name: found["configuration"].get(f"spark.osipi.{name}") for name in read}
    texts = {name: text for name, text in given.items() if text is not None}
    parsed = parse_options(
        {"extraction.start_date": "now-1d", **ast.literal_eval(login), **texts, "changeRows": "true"}
    )
    parsed.check_streamable()
    [library] = found["libraries"]
    assert (ROOT / "resources/variants" / library["file"]["path"]).resolve() == ROOT / "pipelines/pi_timeseries.py"


def test_each_target_fills_in_every_reference_and_uses_every_variable():
    text = (ROOT / "databricks.yml").read_text() + "".join(file.read_text() for file in files())
    for target in TARGETS:
        filled_in(definition()["targets"][target], target)
        assert set(definition()["targets"][target]["variables"]) <= set(definition()["variables"])
    assert [name for name in definition()["variables"] if f"${{var.{name}}}" not in text] == []


def test_overrides_of_a_target_are_of_jobs_that_exist_and_fit():
    for name, override in definition()["targets"]["prod"]["resources"]["jobs"].items():
        job = filled_in({**JOBS[name][1], **override}, "prod")
        assert JobSettings.from_dict(job).as_dict() == job


def test_what_is_included_exists_and_the_variants_are_named():
    text = (ROOT / "databricks.yml").read_text()
    for file in files():
        path = file.relative_to(ROOT)
        assert path.match("resources/*.job.yml") or f"# - {path.as_posix()}" in text
    assert definition()["include"] == ["resources/*.job.yml"]


@pytest.mark.parametrize(("name", "number"), TASKS)
def test_each_task_calls_an_entry_point_of_ours(name, number):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    called = task("dev", name, number)["python_wheel_task"]
    assert called["package_name"] == project["name"]
    assert called["entry_point"] in project["entry-points"]["databricks.wheel_task"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "number"), TASKS)
def test_its_parameters_are_options_we_have_and_make_a_configuration(name, number, target):
    called = task(target, name, number)["python_wheel_task"]
    command = commands.get_command(click.Context(commands), called["entry_point"])
    parent = click.Context(commands, **commands.context_settings)
    given = command.make_context(called["entry_point"], list(called["parameters"]), parent=parent).params
    loaded = config.load(given["path"], given["overrides"], env={}).config
    catalog, said = loaded.unity_catalog, variables(target)
    assert catalog.schema_name == said["schema"]
    assert catalog.checkpoint_schema == said["checkpoint_schema"]
    assert catalog.monitoring_schema == said["monitoring_schema"]
    if called["entry_point"] != "maintain":
        config.check_runnable(loaded)
        assert loaded.pi_web_api.secrets_scope == "pi-connector"
    if called["entry_point"] in {"run", "verify"}:
        assert given["run_id"] == "{{job.run_id}}"


def test_targets_share_no_schema():
    """In one metastore watermarks of one target would speak of data that the other one does not have."""
    roles = ("schema", "checkpoint_schema", "monitoring_schema")
    assert len({variables(target)[role] for target in TARGETS for role in roles}) == 6


def test_the_shards_are_all_of_one_division():
    shards = [Shard.parse(text) for text in json.loads(variables("dev")["shards"])]
    assert sorted(shard.index for shard in shards) == list(range(shards[0].count))
    assert {shard.count for shard in shards} == {len(shards)}
    loop = JOBS["osipi_connector_sharded_job"][1]["tasks"][0]["for_each_task"]
    assert "--shard={{input}}" in loop["task"]["python_wheel_task"]["parameters"]


def test_the_job_that_compares_also_mends_and_looks_back_as_far_as_told():
    called = task("dev", "osipi_connector_verify_job", 0)["python_wheel_task"]
    parent = click.Context(commands, **commands.context_settings)
    given = verify.make_context("verify", list(called["parameters"]), parent=parent).params
    assert given["repair"]
    assert not given["deep"]
    assert given["start"] == variables("dev")["verify_start"] == "now-30d"


def test_the_job_that_is_always_on_follows_and_has_no_time_limit():
    job = JOBS["osipi_connector_continuous_job"][1]
    assert "--follow" in job["tasks"][0]["python_wheel_task"]["parameters"]
    assert job["continuous"]["pause_status"] == "UNPAUSED"
    assert "timeout_seconds" not in job
    assert "health" not in job
    path = ROOT / "pipelines/plant.yaml"
    config.check_followable(config.load(path, env={}).config)


@pytest.mark.parametrize("name", JOBS)
def test_the_wheel_is_where_the_build_line_puts_it(name):
    file, job = JOBS[name]
    wheels = [each for env in job.get("environments", ()) for each in env["spec"]["dependencies"]]
    wheels += [library["whl"] for each in tasks(job) for library in each.get("libraries", ())]
    assert wheels
    for wheel in wheels:
        assert (file.parent / wheel).resolve().parent == ROOT / "dist"


def test_the_build_line_builds_one_wheel_of_this_version(tmp_path):
    """Run in a copy of what git knows, where a wheel of another version lies in the way."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in names:
        if name.split("/")[0] in {
            "config",
            "writers",
            "engine",
            "osipi_connector.py",
            "osipi_start.py",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        }:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/osipi_connector-0.0.1-py3-none-any.whl").touch()
    line = definition()["artifacts"]["osipi_connector"]["build"]
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert [path.name for path in (tmp_path / "dist").iterdir()] == [f"osipi_connector-{version}-py3-none-any.whl"]
