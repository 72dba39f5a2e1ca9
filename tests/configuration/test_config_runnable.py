"""What a run needs on top of a valid configuration, and what it warns of."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import config

URL = "https://pi/piwebapi"
TAGS = {"tags": ["SINUSOID"]}


def checked(document, **options):
    config.check_runnable(config.from_mapping(document, env={}).config, **options)


def problems_of(document, **options):
    with pytest.raises(config.InvalidConfigurationError) as caught:
        checked(document, **options)
    return [str(problem) for problem in caught.value.problems]


def warnings_of(document):
    return config.from_mapping(document, env={}).warnings


def test_an_empty_configuration_misses_all_of_this():
    assert problems_of({}) == [
        "$.pi_web_api.url: found nothing; expected the address of the PI Web API, or development.simulator",
        "$.pi_web_api.username: found nothing; expected the user name for basic, or secrets_scope",
        "$.pi_web_api.password: found nothing; expected the password for basic, or secrets_scope",
        '$.extraction.tags: found nothing; expected tags, or a tag_name_filter; "*" takes every tag',
    ]


@pytest.mark.parametrize(
    "login",
    [
        {"auth_type": "basic", "username": "u", "password": "p"},
        {"auth_type": "basic", "secrets_scope": "s"},
        {"auth_type": "basic", "username": "CORP\\svc_pi", "secrets_scope": "s"},
        {"auth_type": "bearer", "token": "t"},
        {"auth_type": "bearer", "secrets_scope": "s"},
        {"auth_type": "kerberos"},
        {"auth_type": "anonymous"},
        {"auth_type": "oauth", "token": "t"},
        {"auth_type": "oauth", "secrets_scope": "s"},
        {"auth_type": "oauth", "oauth": {"client_id": "c", "client_secret": "s", "discover": True}},
        {"auth_type": "oauth", "oauth": {"client_id": "c", "client_secret": "s", "token_url": "https://idp/token"}},
    ],
)
def test_each_way_to_log_in_is_enough_with_its_credentials(login):
    checked({"pi_web_api": {"url": URL, **login}, "extraction": TAGS})


@pytest.mark.parametrize(
    ("login", "missing"),
    [
        ({"auth_type": "basic", "username": "u"}, ["password"]),
        ({"auth_type": "ntlm", "password": "p"}, ["username"]),
        ({"auth_type": "bearer"}, ["token"]),
        ({"auth_type": "oauth"}, ["oauth.client_id", "oauth.client_secret", "oauth.token_url"]),
        ({"auth_type": "oauth", "oauth": {"client_id": "c"}}, ["oauth.client_secret", "oauth.token_url"]),
    ],
)
def test_what_a_way_to_log_in_misses_is_named(login, missing):
    found = problems_of({"pi_web_api": {"url": URL, **login}, "extraction": TAGS})
    assert [line.split(":")[0] for line in found] == [f"$.pi_web_api.{key}" for key in missing]


def test_auto_needs_nothing_that_the_server_may_not_ask_for():
    checked({"pi_web_api": {"url": URL, "auth_type": "auto"}, "extraction": TAGS})


def test_the_simulator_needs_no_address_and_no_login():
    checked({"development": {"simulator": {}}, "extraction": {"tag_name_filter": "*"}})


@pytest.mark.parametrize(
    "document",
    [
        {"extraction": {"af_query": "Name:='Pump*'"}},
        {"asset_framework": {"values": {"enabled": True}}},
    ],
    ids=["a query", "by what they are"],
)
def test_attributes_alone_are_something_to_read(document):
    checked({"pi_web_api": {"url": URL, "auth_type": "anonymous"}, **document})


def test_files_that_are_named_must_be_there(tmp_path):
    there = tmp_path / "ca.pem"
    there.write_text("x", encoding="utf-8")
    base = {"pi_web_api": {"url": URL, "auth_type": "anonymous", "ca_bundle": str(there)}, "extraction": TAGS}
    checked(base)
    base["pi_web_api"]["ca_bundle"] = str(tmp_path)  # a folder will do
    checked(base)
    base["pi_web_api"]["ca_bundle"] = str(tmp_path / "nope.pem")
    base["development"] = {"simulator": {"faults": str(tmp_path / "nope.yaml")}}
    assert [line.split(":")[0] for line in problems_of(base)] == [
        "$.pi_web_api.ca_bundle",
        "$.development.simulator.faults",
    ]


def test_a_window_between_a_fixed_and_a_relative_time_is_judged_when_the_time_is_known():
    document = {
        "pi_web_api": {"url": URL, "auth_type": "anonymous"},
        "extraction": {**TAGS, "start_date": "now-1d", "end_date": "2020-01-01T00:00:00Z"},
    }
    checked(document)
    checked(document, now=datetime(2019, 12, 31, tzinfo=UTC))
    (problem,) = problems_of(document, now=datetime(2024, 1, 1, tzinfo=UTC))
    assert problem.startswith("$.extraction.end_date: found '2020-01-01T00:00:00Z'; expected a time after start_date")


def test_keys_without_effect_are_named_once_each():
    document = {
        "schedule": {"cron_expression": "0 0/5 * * * ?"},
        "performance": {"spark_partitions": 200, "optimize_after_write": True, "zorder_columns": ["tag_webid"]},
        "monitoring": {"metrics": False},
    }
    assert warnings_of(document) == (
        "schedule.cron_expression has no effect: the schedule of the job decides when it runs",
        "performance.spark_partitions has no effect: values are read without Spark",
    )


def test_asking_for_nothing_is_no_reason_to_warn():
    assert warnings_of({"performance": {"optimize_after_write": False}, "event_frames": {"enabled": False}}) == ()


@pytest.mark.parametrize(("url", "warned"), [("http://pi/piwebapi", 1), (URL, 0), ("http://127.0.0.1:8080", 0)])
def test_credentials_in_clear_are_warned_of(url, warned):
    assert len(warnings_of({"pi_web_api": {"url": url, "auth_type": "basic"}})) == warned


@pytest.mark.parametrize(
    ("token_url", "warned"), [("http://idp/token", 1), ("https://idp/token", 0), ("http://localhost:8080/token", 0)]
)
def test_a_client_secret_in_clear_is_warned_of(token_url, warned):
    oauth = {"client_id": "c", "client_secret": "s", "token_url": token_url}
    found = warnings_of({"pi_web_api": {"url": URL, "auth_type": "oauth", "oauth": oauth}})
    assert len(found) == warned
    assert all("pi_web_api.oauth.token_url is http" in one for one in found)


@pytest.mark.parametrize("tag", ["U1.*", r"\\PIDA\U?.FLOW"])
def test_a_pattern_among_names_is_warned_of(tag):
    (warning,) = warnings_of({"extraction": {"tags": ["SINUSOID", tag]}})
    assert warning.startswith("extraction.tags[1] is a pattern")
    assert warnings_of({"extraction": {"tag_name_filter": [tag], "classes": [{"name": "a", "tags": [tag]}]}}) == ()


def test_an_unchecked_certificate_is_warned_of():
    (warning,) = warnings_of({"pi_web_api": {"verify_tls": False}})
    assert "pi_web_api.verify_tls is false" in warning
