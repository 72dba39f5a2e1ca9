"""Everything written down about the configuration is true: snippets, examples, schema, names of tables."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

import config
from config.checks import NO_EFFECT
from config.model import known_keys
from config.yaml_text import parse
from writers.tables import PI_TAGS, PI_TIMESERIES, PI_WATERMARKS

SNIPPETS = sorted(Path(__file__).with_name("snippets").glob("*.yaml"))
EXAMPLES = sorted(Path(str(files("config"))).joinpath("examples").glob("*.yaml"))

# What a snippet of the deployment guide changes, beyond loading.
MEANING = {
    "required": lambda c: (
        c.extraction.tags == ("F1DP-Tag1-WebId", "F1DP-Tag2-WebId") and c.unity_catalog.schema_name == "bronze"
    ),
    "basic": lambda c: (c.pi_web_api.secrets_scope, c.pi_web_api.username_key) == ("pi-connector", "pi_username"),
    "kerberos": lambda c: c.pi_web_api.auth_type == "kerberos",
    "oauth": lambda c: (c.pi_web_api.auth_type, c.pi_web_api.oauth_token_key) == ("oauth", "oauth_token"),
    "timeout": lambda c: c.pi_web_api.timeout.total_seconds() == 120,
    "large_deployments": lambda c: (c.performance.spark_partitions, c.extraction.batch_size) == (200, 100),
    "low_latency": lambda c: c.schedule.cron_expression == "0 0/5 * * * ?",
    "backfills": lambda c: c.extraction.start_date.micros(0) == 1_672_531_200_000_000 and c.extraction.mode == "full",
}


def validator():
    return jsonschema.Draft202012Validator(config.json_schema())


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.stem)
def test_a_snippet_loads_as_it_stands(path):
    assert MEANING[path.stem](config.load(path, env={}).config)


def test_no_snippet_is_forgotten():
    assert {path.stem for path in SNIPPETS} == MEANING.keys()


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.stem)
def test_a_snippet_runs_once_the_rest_is_given(path):
    rest = [
        "pi_web_api.url=https://pi/piwebapi",
        "pi_web_api.secrets_scope=pi-connector",
        "extraction.tag_name_filter=*",
    ]
    config.check_runnable(config.load(path, rest, {}).config)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_runnable_and_warns_of_nothing(path):
    loaded = config.load(path, env={})
    config.check_runnable(loaded.config)
    assert loaded.warnings == ()


def test_the_examples_are_these():
    names = ["backfill", "follow", "forecasts", "kerberos", "large", "local", "low_latency", "minimal", "ntlm", "oauth"]
    assert [path.stem for path in EXAMPLES] == names


@pytest.mark.parametrize("path", [*SNIPPETS, *EXAMPLES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_schema_accepts_what_loads(path):
    validator().validate(parse(path.read_bytes(), path.name))


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        ({"pi_web_api": {"max_in_flight": "${env:N}", "timeout": "${env:T}", "auth_type": "${env:A}"}}, True),
        ({"storage": {"options": {"AWS_ALLOW_HTTP": True}}, "extraction": {"tag_name_filter": "*"}}, True),
        ({"extraction": {"batch_size": 1001}}, False),
        ({"extraction": {"batch_size": 0}}, False),
        ({"pi_web_api": {"max_in_flight": "many"}}, False),
        ({"pi_web_api": {"auth_type": "basik"}}, False),
        ({"pi_web_api": {"urll": "x"}}, False),
        ({"pipeline": "a b"}, False),
    ],
)
def test_the_schema_and_the_loader_agree(document, valid):
    assert validator().is_valid(document) == valid
    try:
        config.from_mapping(document, env={"N": "3", "T": "1m", "A": "oauth"})
    except config.InvalidConfigurationError:
        loads = False
    else:
        loads = True
    assert loads == valid


def test_the_schema_file_is_up_to_date():
    kept = files("config").joinpath("schema.json").read_text(encoding="utf-8")
    assert json.loads(kept) == config.json_schema(), "run: python -m engine config schema > config/schema.json"


def test_the_schema_is_one_and_describes_every_key():
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    undescribed = [
        f"{name}.{key}"
        for name, section in {"Config": schema, **schema["$defs"]}.items()
        for key, field in section.get("properties", {}).items()
        if not field.get("description")
    ]
    assert undescribed == []
    assert schema["$defs"]["PiWebApiConfig"]["properties"]["timeout"]["default"] == "1m"
    assert schema["$defs"]["ExtractionConfig"]["properties"]["start_date"]["default"] == "now-1d"
    assert json.loads(config.json_schema_text()) == schema


def test_the_default_names_of_tables_are_those_of_the_tables():
    names = config.TablesConfig()
    assert (names.timeseries, names.tags, names.watermarks) == (PI_TIMESERIES.name, PI_TAGS.name, PI_WATERMARKS.name)


@pytest.mark.parametrize("path", NO_EFFECT, ids=".".join)
def test_the_lists_of_limits_name_keys_that_exist(path):
    assert path[-1] in known_keys()[path[:-1]]
