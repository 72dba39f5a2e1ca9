"""Loading: layers in order, all problems at once, each with its place, and never a secret."""

from __future__ import annotations

from datetime import timedelta
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import config
from config import Config, InvalidConfigurationError, from_mapping, load
from config.errors import ConfigurationError
from config.fields import Section
from config.model import known_keys
from config.problems import dotted
from config.references import SECRETS

SECRET = "hunter2-very-secret"


def problems_of(document, *overrides, env=None):
    with pytest.raises(config.InvalidConfigurationError) as caught:
        config.from_mapping(document, overrides, env or {}, source="f.yaml")
    return [str(problem) for problem in caught.value.problems]


def loaded(document, *overrides, env=None):
    return config.from_mapping(document, overrides, env or {}).config


def test_every_problem_is_reported_at_once_with_place_found_and_expected(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        dedent("""
            timeout: 120
            pi_web_api: {urll: x, timeout: 5x, auth_type: Basik, max_in_flight: true, password: 123, oauth: text}
            extraction: {batch_size: 5000, start_date: 2023-01-01, tags: [1, ok]}
            retry: {initial_wait: 2h}
            unity_catalog: {table_type: managed, schema: a.b}
            storage: {root: here}
        """),
        encoding="utf-8",
    )
    with pytest.raises(config.InvalidConfigurationError) as caught:
        config.load(path, env={})
    assert str(caught.value).splitlines() == [
        f"{path} has 13 problems:",
        "  line 3, column 36: $.pi_web_api.auth_type: found 'Basik'; expected one of basic, kerberos, ntlm, oauth, bearer, anonymous, auto; did you mean `basic`?",
        "  line 3, column 75: $.pi_web_api.password: found a number; expected text (put it in quotes)",
        "  line 3, column 90: $.pi_web_api.oauth: found text; expected a section with keys of its own",
        "  line 3, column 23: $.pi_web_api.timeout: found '5x'; expected a duration such as 90s, 30m, 1h or 7d, or a number of seconds, up to 200 years",
        "  line 3, column 54: $.pi_web_api.max_in_flight: found true; expected a number",
        "  line 3, column 14: $.pi_web_api.urll: found an unknown key; expected a known key; did you mean `url`?",
        "  line 6, column 38: $.unity_catalog.schema: found 'a.b'; expected a name without spaces, dots, slashes and backticks",
        "  line 4, column 63: $.extraction.tags[0]: found a number; expected text (put it in quotes)",
        "  line 4, column 32: $.extraction.start_date: found '2023-01-01'; expected a time with a zone: add Z for UTC, or an offset such as +02:00; did you mean `2023-01-01T00:00:00Z`?",
        "  line 4, column 14: $.extraction.batch_size: found 5000; expected 1000 or less",
        "  line 2, column 1: $.timeout: found an unknown key; expected a known key; did you mean `pi_web_api.timeout`?",
        "  line 6, column 17: $.unity_catalog.table_type: found managed beside storage.root; expected one of the two; under a root there is no catalog",
        "  line 5, column 9: $.retry.initial_wait: found 2h; expected at most retry.max_wait, 1m",
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            {"extraction": {"start_date": "now-1h", "end_date": "now-1h"}},
            "$.extraction.end_date: found 'now-1h'; expected a time after start_date, 'now-1h' (start is included, end is not)",
        ),
        (
            {"unity_catalog": {"table_type": "managed", "location": "s3://b/x"}},
            "$.unity_catalog.location: found a location for managed tables; expected table_type external; the catalog places managed tables",
        ),
        (
            {"unity_catalog": {"location": "s3://b/x"}, "storage": {"root": "x"}},
            "$.unity_catalog.location: found a location beside storage.root; expected one of the two; under a root there is no catalog",
        ),
        (
            {"pi_web_api": {"oauth": {"token_url": "https://x/t", "discover": True}}},
            "$.pi_web_api.oauth.discover: found true beside a token_url; expected one of the two",
        ),
        (
            {"zork": 1},
            "$.zork: found an unknown key; expected one of pipeline, pi_web_api, unity_catalog, storage, extraction, asset_framework, event_frames, performance, retry, monitoring, schedule, development",
        ),
        (
            {"monitoring": {"log_level": "verbose"}},
            "$.monitoring.log_level: found 'verbose'; expected one of debug, info, warning, error",
        ),
        ({"pipeline": "a b"}, "$.pipeline: found 'a b'; expected a name of letters, digits, _ . and -"),
        ({"pipeline": "a\n"}, "$.pipeline: found 'a\n'; expected a name of letters, digits, _ . and -"),
        (
            {"performance": {"buffer_bytes": "3zz"}},
            "$.performance.buffer_bytes: found '3zz'; expected a size such as 256MiB, or a number of bytes",
        ),
        (
            {"extraction": {"future_horizons": "7d"}},
            "$.extraction.future_horizons: found an unknown key; expected a known key; did you mean `future_horizon`?",
        ),
        (
            {"extraction": {"future_horizon": "a week"}},
            "$.extraction.future_horizon: found 'a week'; expected a duration such as 90s, 30m, 1h or 7d, or a number of seconds, up to 200 years",
        ),
        (
            {"development": {"simulator": {"tags": 2, "future_tags": 3}}},
            "$.development.simulator.future_tags: found 3; expected at most development.simulator.tags, 2",
        ),
        ({"retry": {"max_attempts": 1.5}}, "$.retry.max_attempts: found 1.5; expected a whole number"),
        (
            {"pi_web_api": {"max_requests_per_second": float("nan")}},
            "$.pi_web_api.max_requests_per_second: found nan; expected a finite number",
        ),
        (
            {"pi_web_api": {"max_requests_per_second": 0}},
            "$.pi_web_api.max_requests_per_second: found 0; expected more than 0.0",
        ),
        (
            {"performance": {"commit_seconds": 0}},
            "$.performance.commit_seconds: found 0; expected a duration longer than nothing, such as 90s",
        ),
        ({"extraction": {"tags": {"a": 1}}}, "$.extraction.tags: found a section; expected a list"),
        ({"extraction": {"tags": [""]}}, "$.extraction.tags[0]: found empty text; expected text that is not empty"),
        ({"storage": {"options": {"A": [1]}}}, "$.storage.options.A: found a list; expected text (put it in quotes)"),
        ({"pi_web_api": {"ca_bundle": 5}}, "$.pi_web_api.ca_bundle: found a number; expected the path of a file"),
    ],
)
def test_one_problem_in_words(document, problem):
    assert problems_of(document) == [problem]


def said_of(tmp_path, text, *overrides, env=None):
    path = tmp_path / "plant.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    with pytest.raises(config.InvalidConfigurationError) as caught:
        config.load(path, overrides, env or {})
    return str(caught.value).replace(str(path), "plant.yaml")


def test_a_wrong_value_is_named_with_the_line_and_the_column_of_its_key(tmp_path):
    text = """\
        pipeline: unit1
        extraction:
          lag: soon
        """
    assert said_of(tmp_path, text).startswith("plant.yaml, line 3, column 3: $.extraction.lag: found 'soon'; expected")


def test_a_value_that_is_missing_is_named_with_the_place_of_what_lacks_it(tmp_path):
    text = """\
        extraction:
          classes:
            - name: fast
              tags: [A]
            - tags: [B]
        """
    assert said_of(tmp_path, text).startswith(
        "plant.yaml, line 5, column 7: $.extraction.classes[1].name: found nothing"
    )


def test_a_value_under_an_alias_or_a_merge_is_named_where_it_is_written(tmp_path):
    text = """\
        extraction:
          classes:
            - &fast {name: fast, tags: [A], interval: often}
            - {<<: *fast, name: other}
        """
    assert said_of(tmp_path, text).splitlines() == [
        "plant.yaml has 2 problems:",
        *(
            f"  line 3, column 37: $.extraction.classes[{n}].interval: found 'often'; expected a duration such as 90s, 30m, "
            "1h or 7d, or a number of seconds, up to 200 years"
            for n in (0, 1)
        ),
    ]


def test_a_key_beside_a_merge_counts_before_the_merged_one(tmp_path):
    text = """\
        extraction:
          classes:
            - &fast {name: fast, tags: [A], interval: 5m}
            - <<: *fast
              name: other
              interval: often
        """
    assert said_of(tmp_path, text).startswith("plant.yaml, line 6, column 7: $.extraction.classes[1].interval: ")


def test_an_option_of_the_command_line_has_no_place_in_the_file(tmp_path):
    text = "extraction: {lag: 5s}\nretry: {max_attempts: 3}\n"
    assert said_of(tmp_path, text, "extraction.lag=soon").startswith("--set extraction.lag: found 'soon'")
    assert said_of(tmp_path, text, "retry={max_attempts: 0}").startswith("--set retry.max_attempts: found 0")


def test_a_reference_is_named_where_it_is_written_and_its_value_is_not(tmp_path):
    said = said_of(tmp_path, "extraction:\n  lag: ${env:LAG}\n", env={"LAG": SECRET})
    assert said.startswith("plant.yaml, line 2, column 3: $.extraction.lag: found the value of ${env:LAG}")
    assert SECRET not in said


def test_a_contradiction_is_not_claimed_of_a_value_that_is_wrong_itself():
    document = {"extraction": {"start_date": "tomorrow", "end_date": "now-7d"}}
    assert [line.split(":")[0] for line in problems_of(document)] == ["$.extraction.start_date"]


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@pi/piwebapi",
        f"https://{SECRET}@pi/piwebapi",
        f"https://pi/piwebapi?token={SECRET}",
        f"{SECRET}",
        f"ftp://{SECRET}/",
        f"https://pi:{SECRET}/",
        f"https://[{SECRET}/",
    ],
)
@pytest.mark.parametrize("place", [("pi_web_api", "url"), ("pi_web_api", "oauth", "token_url")])
def test_an_address_that_is_none_or_carries_credentials_is_refused_unseen(url, place):
    document = url
    for key in reversed(place):
        document = {key: document}
    (problem,) = problems_of(document)
    assert problem.startswith(f"{dotted(place)}: found ")
    assert "; expected an address" in problem
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("pi.example.com/piwebapi", "'pi.example.com/piwebapi'"),
        ("http//pi.example.com/piwebapi", "'http//pi.example.com/piwebapi'"),
        ("pi-server/piwebapi/", "'pi-server/piwebapi/'"),
        ("https://pi/piwebapi?token=x", "'https://pi/piwebapi', and more behind it"),
        ("https://" + "a" * 300 + ".com/x#y", "text"),
    ],
)
def test_a_wrong_address_that_looks_like_one_is_shown(url, shown):
    (problem,) = problems_of({"pi_web_api": {"url": url}})
    assert problem.startswith(f"$.pi_web_api.url: found {shown}; expected an address")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["extraction.lag=abc"], "--set extraction.lag: found 'abc'; expected a duration"),
        (["extraction.start_date=soon"], "--start: found 'soon'; expected a time"),
        (["extraction={lag: abc}"], "--set extraction.lag: found 'abc'; expected a duration"),
        (["extraction.start_date=now", "extraction.end_date=now-1d"], "--set extraction.end_date: found 'now-1d'"),
    ],
)
def test_an_option_that_is_wrong_is_named_and_not_the_file(tmp_path, options, said):
    path = tmp_path / "plant.yaml"
    path.write_text("pi_web_api: {auth_type: anonymous}\n")
    with pytest.raises(InvalidConfigurationError) as caught:
        load(path, options, options={"extraction.start_date": "--start"})
    assert caught.value.message.startswith(said)


def test_a_file_that_contradicts_an_option_is_named_with_it(tmp_path):
    path = tmp_path / "plant.yaml"
    path.write_text("extraction: {end_date: 2024-01-01T00:00:00Z}\n")
    start = "extraction.start_date=2024-02-01T00:00:00Z"
    with pytest.raises(InvalidConfigurationError) as caught:
        load(path, [start], options={"extraction.start_date": "--start"})
    assert caught.value.message.startswith(f"{path}, line 1, column 14: $.extraction.end_date: found")
    assert caught.value.message.endswith("(by --start)")


def test_problems_of_file_and_options_are_told_apart(tmp_path):
    path = tmp_path / "plant.yaml"
    path.write_text("extraction: {lag: abc}\n")
    with pytest.raises(InvalidConfigurationError) as caught:
        load(path, ["pi_web_api.timeout=soon"])
    assert sorted(line.strip().split(": found")[0] for line in caught.value.message.splitlines()[1:]) == [
        "--set pi_web_api.timeout", "line 1, column 14: $.extraction.lag",
    ]  # fmt: skip


def test_keys_of_notebooks_and_of_the_compute_say_where_they_belong():
    assert problems_of({"pi_web_api_url": "https://pi"}) == [
        "$.pi_web_api_url: found a key of notebooks; expected a section; did you mean `pi_web_api.url`?"
    ]
    (problem,) = problems_of({"cluster_config": {"num_workers": 2}})
    assert "set it in the bundle" in problem


def test_secrets_may_be_left_where_they_are():
    document = {
        "pi_web_api": {"password": "${env:NOT_SET}", "token": "${file:/not/there}"},
        "storage": {"root": "s3://b/x", "options": {"key": "${env:NOT_SET}"}},
    }
    left = from_mapping(document, env={}, secrets=False).config
    assert left.pi_web_api.password.get_secret_value() == "${env:NOT_SET}"
    with pytest.raises(InvalidConfigurationError, match="which is not set"):
        from_mapping(document, env={})
    with pytest.raises(InvalidConfigurationError, match="which is not set"):
        from_mapping({"pi_web_api": {"url": "${env:NOT_SET}"}}, env={}, secrets=False)


def test_every_key_that_holds_a_secret_is_known_as_one():
    def secret_keys(section, path=()):
        for name, field in section.model_fields.items():
            kind = field.annotation
            here = (*path, field.alias or name)
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from secret_keys(kind, here)
            elif "SecretStr" in str(kind):
                yield (*here, "*") if "dict" in str(kind) else here

    found = set(secret_keys(Config))
    assert ("pi_web_api", "password") in found
    assert found <= set(SECRETS)


@pytest.mark.parametrize(
    "root", [f"s3://key:{SECRET}@bucket/x", f"abfss://c@a.dfs.core.windows.net/x?sig={SECRET}", f"s3://[{SECRET}"]
)
def test_a_location_with_credentials_is_refused_unseen(root):
    (problem,) = problems_of({"storage": {"root": root}})
    assert SECRET not in problem


@pytest.mark.parametrize(
    "root",
    [
        "./lakehouse", "C:\\data", "C:/data", "file:/data", "file:///data", "s3://bucket/x",
        "abfss://c@a.dfs.core.windows.net/x", "/Volumes/main/x",
    ],
)  # fmt: skip
def test_a_location_may_be_a_folder_or_a_store(root):
    assert loaded({"storage": {"root": root}}).storage.root == root


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("dbfs:/Volumes/main/default/lake", "a path without dbfs:, such as /Volumes/main/default/lake"),
        ("dbfs:///lake", "a path without dbfs:, such as /Volumes/main/default/lake"),
        ("s3:/bucket/x", "a folder, or a URL with two slashes such as s3://bucket/path"),
        ("abfss:/c@a/x", "a folder, or a URL with two slashes such as s3://bucket/path"),
    ],
)
def test_what_would_become_a_folder_of_this_machine_by_mistake_is_refused(root, expected):
    assert problems_of({"storage": {"root": root}}) == [f"$.storage.root: found text; expected {expected}"]
    assert problems_of({"unity_catalog": {"table_type": "external", "location": root}})


LEAVES = [
    (*section, key) for section, keys in known_keys().items() for key in keys if (*section, key) not in known_keys()
]


@pytest.mark.parametrize("leaf", LEAVES, ids=dotted)
@pytest.mark.parametrize("shape", ["text", "in a list", "in a section", "as a key beside"])
def test_what_came_out_of_the_environment_is_in_no_error_of_any_key(leaf, shape):
    value = {
        "text": "${env:S}",
        "in a list": ["${env:S}"],
        "in a section": {"x": "${env:S}"},
        "as a key beside": "${env:S}",
    }[shape]
    document = {leaf[-1]: value, **({"unknown": "${env:S}"} if shape == "as a key beside" else {})}
    for key in reversed(leaf[:-1]):
        document = {key: document}
    raised = None
    try:
        config.from_mapping(document, env={"S": SECRET})
    except ConfigurationError as error:
        raised = error
    if raised is not None:  # some keys take any text
        assert SECRET not in f"{raised} {raised.hint} {raised!r}"
        assert (raised.__cause__, raised.__context__) == (None, None)


SECRET_LEAVES = [
    ("pi_web_api", "password"),
    ("pi_web_api", "token"),
    ("pi_web_api", "oauth", "client_secret"),
    ("monitoring", "slack_webhook_url"),
    ("storage", "options", "AWS_SECRET_ACCESS_KEY"),
]


@pytest.mark.parametrize("leaf", SECRET_LEAVES, ids=dotted)
def test_a_configuration_made_in_code_does_not_repeat_a_secret_it_refuses(leaf):
    document = [SECRET]
    for key in reversed(leaf):
        document = {key: document}
    with pytest.raises(ValidationError) as caught:
        config.Config.model_validate(document)
    assert SECRET not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("leaf", SECRET_LEAVES, ids=dotted)
@pytest.mark.parametrize("shape", [SECRET, [SECRET], {"x": SECRET}, 98765432101234, {SECRET + " ": None}])
def test_a_secret_written_in_the_file_is_shown_nowhere(leaf, shape):
    document = {leaf[-1]: shape}
    for key in reversed(leaf[:-1]):
        document = {key: document}
    try:
        shown = config.from_mapping(document, env={})
        text = f"{shown} {config.masked(shown.config)} {shown.config!r}"
    except ConfigurationError as error:
        text = f"{error} {error.hint}"
    assert SECRET not in text
    assert "98765432101234" not in text


def test_a_value_under_its_misspelt_key_is_not_repeated():
    (problem,) = problems_of({"pi_web_api": {"pasword": SECRET}})
    assert problem == "$.pi_web_api.pasword: found an unknown key; expected a known key; did you mean `password`?"


def test_environment_and_files_are_put_in(tmp_path):
    secret_file = tmp_path / "password"
    secret_file.write_text("s3cret ö\r\n", encoding="utf-8")
    document = {
        "pi_web_api": {
            "url": "https://${env:HOST}:${env:PORT}/piwebapi/",
            "password": f"${{file:{secret_file}}}",
            "username": "$${env:HOST}",
            "max_in_flight": "${env:N}",
            "verify_tls": "${env:VERIFY}",
            "timeout": "${env:T}",
        },
        "extraction": {"tags": ["${env:HOST}.a", "b"]},
    }
    pi = loaded(document, env={"HOST": "pi", "PORT": "8443", "N": "7", "VERIFY": "true", "T": "90s"}).pi_web_api
    assert pi.url == "https://pi:8443/piwebapi"
    assert pi.password is not None
    assert pi.password.get_secret_value() == "s3cret ö"
    assert (pi.username, pi.max_in_flight, pi.verify_tls, pi.timeout) == ("${env:HOST}", 7, True, timedelta(seconds=90))


def test_a_reference_to_nothing_names_what_is_missing_and_where(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    document = {
        "pi_web_api": {
            "password": "${env:NOPE}",
            "token": f"${{file:{tmp_path}/nope}}",
            "username": f"${{file:{binary}}}",
            "url": "${pi}",
            "secrets_scope": "${secret:only-a-scope}",
        },
        "pipeline": "${env:}",
        "retry": {"max_attempts": 0},
    }
    assert problems_of(document) == [
        "$.pi_web_api.password: found ${env:NOPE}, which is not set; expected the environment variable NOPE",
        f"$.pi_web_api.token: found ${{file:{tmp_path}/nope}}, which cannot be read (No such file or directory); expected a file that can be read",
        f"$.pi_web_api.username: found ${{file:{binary}}}, which is not UTF-8 text; expected a text file",
        "$.pi_web_api.url: found a ${ that begins no reference; expected ${env:NAME}, ${file:PATH} or ${secret:scope/key}, or $${ for a literal ${",
        "$.pi_web_api.secrets_scope: found a secret without scope and key; expected ${secret:scope/key}",
        "$.pipeline: found ${env:} without a name; expected ${env:NAME}, ${file:PATH} or ${secret:scope/key}",
        "$.retry.max_attempts: found 0; expected 1 or more",
    ]


def test_a_wrong_value_from_the_environment_is_named_by_its_reference():
    assert problems_of({"pi_web_api": {"timeout": "${env:T}"}}, env={"T": SECRET}) == [
        "$.pi_web_api.timeout: found the value of ${env:T}; expected a duration such as 90s, 30m, 1h or 7d, or a number of seconds, up to 200 years"
    ]


@given(st.text(max_size=40))
def test_text_without_a_reference_stays_as_it_is(text):
    escaped = text.replace("${", "$${")
    options = loaded({"storage": {"options": {"k": escaped}}}).storage.options
    # `$$` before `{` reads as the escape, so only texts that do not hold one on their own are promised.
    if "$${" not in text:
        assert options["k"].get_secret_value() == text


def test_overrides_win_over_the_file_and_make_sections_where_there_are_none():
    document = {"extraction": {"mode": "incremental", "tags": ["a"]}, "storage": {"root": "here"}, "retry": None}
    result = loaded(
        document,
        "extraction.mode=full",
        "extraction.tags=[b, c]",
        "pi_web_api.oauth.client_id=x=y",
        "storage.root=null",
        "retry.max_attempts=7",
        "extraction.tag_name_filter=*TEMP*",
        "pi_web_api.password=${env:PW}",
        env={"PW": "p: #1"},
    )
    assert result.extraction.mode == "full"
    assert result.extraction.tags == ("b", "c")
    assert result.extraction.tag_name_filter == ("*TEMP*",)
    assert result.pi_web_api.oauth.client_id == "x=y"
    assert result.storage.root is None
    assert result.retry.max_attempts == 7
    assert result.pi_web_api.password is not None
    assert result.pi_web_api.password.get_secret_value() == "p: #1"
    assert document["extraction"]["mode"] == "incremental", "the caller's document is left alone"


@pytest.mark.parametrize(
    "override", [SECRET, f"={SECRET}", f"a..b={SECRET}", f"pipeline.x={SECRET}", f"extraction.tags=['{SECRET}"]
)
def test_an_override_that_cannot_be_is_refused_without_repeating_it(override):
    with pytest.raises(ConfigurationError, match="--set") as caught:
        config.from_mapping({"pipeline": "a"}, [override], {})
    assert SECRET not in f"{caught.value} {caught.value.hint}"


def test_keys_without_a_value_are_as_good_as_not_written():
    assert (
        loaded({"extraction": {"tags": None, "mode": None}, "schedule": None}).model_dump()
        == config.Config().model_dump()
    )
    assert problems_of({"extraction": {"tagz": None}})[0].startswith("$.extraction.tagz: found an unknown key")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_all_defaults(tmp_path, text):
    path = tmp_path / "empty.yaml"
    path.write_text(text, encoding="utf-8")
    assert config.load(str(path)).config == config.Config()


@pytest.mark.parametrize(("text", "found"), [("- a\n", "a list"), ("just text", "one value")])
def test_a_file_that_holds_no_sections_says_what_it_holds(tmp_path, text, found):
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    assert str(caught.value) == f"{path}: $: found {found}; expected sections such as pi_web_api"


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    for path, reason in ((tmp_path / "nope.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigurationError) as caught:
            config.load(path)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_an_alias_that_contains_itself_is_one_sentence(tmp_path):
    path = tmp_path / "loop.yaml"
    path.write_text("extraction: &x {tags: *x}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="an alias contains itself"):
        config.load(path)


def test_an_unquoted_time_is_the_time_that_is_written(tmp_path):
    path = tmp_path / "times.yaml"
    path.write_text(
        "extraction: {start_date: 2023-01-01T00:00:00+02:00, end_date: 2023-01-02 00:00:00Z}\n", encoding="utf-8"
    )
    chosen = config.load(path).config.extraction
    assert chosen.start_date.micros(0) == 1_672_524_000_000_000
    assert chosen.end_date is not None
    assert chosen.end_date.micros(0) == 1_672_617_600_000_000


def test_what_is_shown_can_be_loaded_again():
    first = loaded(
        {
            "pipeline": "x",
            "extraction": {"start_date": "now-1h", "lag": "1h30m", "tags": ["a"]},
            "performance": {"buffer_bytes": "1MiB"},
            "pi_web_api": {"url": "https://pi/piwebapi", "ca_bundle": "ca.pem", "password": "${secret:pi/pw}"},
            "development": {"simulator": {}},
        }
    )
    assert loaded(config.masked(first)) == first
    assert config.masked(first)["pi_web_api"]["password"] == "${secret:pi/pw}"
    assert config.masked(first)["extraction"]["lag"] == "90m"


@pytest.mark.parametrize("text", ["${secret:pi/pw}" + SECRET, SECRET + "${secret:pi/pw}"])
def test_a_secret_that_is_only_in_part_a_reference_is_masked(text):
    shown = config.masked(loaded({"pi_web_api": {"password": text}}))
    assert shown["pi_web_api"]["password"] == "***"


def test_storage_options_are_text_however_yaml_reads_them_and_masked_when_shown():
    result = loaded({"storage": {"options": {"AWS_ALLOW_HTTP": True, "PORT": 5555, "KEY": SECRET}}})
    assert {key: value.get_secret_value() for key, value in result.storage.options.items()} == {
        "AWS_ALLOW_HTTP": "true",
        "PORT": "5555",
        "KEY": SECRET,
    }
    assert set(config.masked(result)["storage"]["options"].values()) == {"***"}


def test_the_embedded_default_is_the_demonstration():
    result = config.load(None)
    chosen = result.config
    assert result.source == "the embedded default"
    assert result.warnings == ()
    assert chosen.pipeline == "demo"
    assert chosen.development.simulator == config.SimulatorConfig(
        tags=1000, seed=1, history=timedelta(hours=1), elements=120, frames_per_day=48
    )
    assert chosen.asset_framework.enabled
    assert chosen.storage.root == "./lakehouse"
    assert chosen.extraction.start_date.micros(0) == -3_600_000_000
    assert config.uses_simulator(chosen)


def test_everything_exported_is_there():
    assert all(hasattr(config, name) for name in config.__all__)
    assert len(set(config.__all__)) == len(config.__all__)
