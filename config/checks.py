"""Checks of the configuration that involve more than one key, or that depend on what this version can do.

`contradictions` checks every configuration, fragments included. `check_runnable` checks what a run needs.
`warnings` stops nothing. Only the check that a named file exists does I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from .durations import Instant, format_duration
from .model import AlertConfig, Config
from .model_source import PiWebApiConfig
from .problems import InvalidConfigurationError, Path, Problem
from .properties import problems_with

# The name of the class that holds all tags of no other class.
DEFAULT_CLASS = "default"

# What a template of an alert may name.
ALERT_FIELDS = ("title", "pipeline", "state", "status", "text", "detail", "since", "run_id", "shard")

# Keys that are accepted, but that no code reads, and why. A value other than the default gives a warning.
NO_EFFECT: dict[Path, str] = {
    ("schedule", "cron_expression"): "the schedule of the job decides when it runs",
    ("extraction", "enable_paging"): "an answer that is cut at its maximum is always continued",
    ("performance", "spark_partitions"): "values are read without Spark",
}


def contradictions(config: Config) -> Iterator[Problem]:
    """Find combinations of keys that no run can satisfy."""
    yield from _window(config)
    yield from _place(config)
    yield from _classes(config)
    yield from _datasets(config)
    yield from _simulator(config)
    yield from _properties(config)
    yield from _alerts(config)
    waits = config.retry
    if waits.initial_wait > waits.max_wait:
        yield Problem(
            ("retry", "initial_wait"),
            format_duration(waits.initial_wait),
            f"at most retry.max_wait, {format_duration(waits.max_wait)}",
            involves=(("retry", "max_wait"),),
        )
    if config.pi_web_api.oauth.token_url and config.pi_web_api.oauth.discover:
        yield Problem(
            ("pi_web_api", "oauth", "discover"),
            "true beside a token_url",
            "one of the two",
            involves=(("pi_web_api", "oauth", "token_url"),),
        )


def _window(config: Config) -> Iterator[Problem]:
    start, end = config.extraction.start_date, config.extraction.end_date
    # Whether `now-1d` lies before 2020 only the run can tell.
    comparable = end is not None and (start.fixed is None) == (end.fixed is None)
    if comparable and end is not None and start.micros(0) >= end.micros(0):
        yield _empty_window(start, end)


def _empty_window(start: Instant, end: Instant) -> Problem:
    return Problem(
        ("extraction", "end_date"),
        f"'{end}'",
        f"a time after start_date, '{start}' (start is included, end is not)",
        involves=(("extraction", "start_date"),),
    )


def _datasets(config: Config) -> Iterator[Problem]:
    chosen = config.extraction.datasets
    if config.extraction.recreated_tags == "continue" and "recorded" in chosen and not {"all", "tags"} & set(chosen):
        yield Problem(
            ("extraction", "datasets"),
            "recorded without tags, beside recreated_tags: continue",
            "tags as well: pi_tags says which point was created anew",
            involves=(("extraction", "recreated_tags"),),
        )


def _place(config: Config) -> Iterator[Problem]:
    catalog, root = config.unity_catalog, ("storage", "root")
    if config.storage.root and catalog.table_type:
        found = f"{catalog.table_type} beside storage.root"
        yield Problem(
            ("unity_catalog", "table_type"), found, "one of the two; under a root there is no catalog", involves=(root,)
        )
    if config.storage.root and catalog.location:
        found = "a location beside storage.root"
        yield Problem(
            ("unity_catalog", "location"), found, "one of the two; under a root there is no catalog", involves=(root,)
        )
    elif catalog.location and catalog.table_type == "managed":
        found, kind = "a location for managed tables", ("unity_catalog", "table_type")
        yield Problem(
            ("unity_catalog", "location"),
            found,
            "table_type external; the catalog places managed tables",
            involves=(kind,),
        )


def _simulator(config: Config) -> Iterator[Problem]:
    simulator, here = config.development.simulator, ("development", "simulator")
    if simulator is not None and simulator.future_tags > simulator.tags:
        found, most = str(simulator.future_tags), f"at most development.simulator.tags, {simulator.tags}"
        yield Problem((*here, "future_tags"), found, most, involves=((*here, "tags"),))


def _classes(config: Config) -> Iterator[Problem]:
    seen = {DEFAULT_CLASS: "the name of the tags of no class"}
    for n, one in enumerate(config.extraction.classes):
        here = ("extraction", "classes", n)
        if one.name in seen:
            yield Problem((*here, "name"), f"'{one.name}', {seen[one.name]}", "a name of its own")
        seen.setdefault(one.name, f"as in classes[{n}]")
        if not one.tags:
            yield Problem((*here, "tags"), "nothing", 'names of tags or patterns such as "CRIT.*"')


def _properties(config: Config) -> Iterator[Problem]:
    given = config.unity_catalog.table_properties
    for role in type(given).model_fields:
        yield from problems_with(getattr(given, role), ("unity_catalog", "table_properties", role))


def _alerts(config: Config) -> Iterator[Problem]:
    for n, one in enumerate(config.monitoring.alerts):
        here = ("monitoring", "alerts", n)
        if one.url is None:
            yield Problem((*here, "url"), "nothing", "the address of the webhook")
        elif "${" not in (url := one.url.get_secret_value()) and not is_web_address(url):  # a reference is not judged
            yield Problem((*here, "url"), "no address", "an address such as https://hooks.slack.com/services/...")
        if one.max_age is not None and "stale" not in one.on:
            yield Problem((*here, "on"), "max_age, but not stale", "stale as well")
        if one.max_age is None and "stale" in one.on and one.on != AlertConfig().on:
            yield Problem((*here, "max_age"), "nothing", "how old data may be, such as 2h, or no stale in on")
        if one.template is not None and (found := template_problem(one.template, ALERT_FIELDS)):
            yield Problem((*here, "template"), found, f"names of {', '.join(ALERT_FIELDS)} in braces")


def is_web_address(url: str) -> bool:
    """Whether a text is an http(s) address with a host."""
    try:
        parts = urlsplit(url.strip())
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def template_problem(template: str, names: Collection[str]) -> str:
    """What is wrong with a template for `str.format_map`; "" if nothing is."""
    try:
        parts = [(field, spec, convert) for _, field, spec, convert in Formatter().parse(template) if field is not None]
    except ValueError:
        return "braces that do not match ({{ stands for one)"
    for field, spec, convert in parts:
        if field not in names or spec or convert:
            return f"{{{field}}}"
    return ""


def check_followable(config: Config) -> None:
    """Refuse what contradicts a run with --follow, which has no end.

    Raises:
        InvalidConfigurationError: names every problem.

    """
    chosen = config.extraction
    problems = []
    if chosen.mode != "incremental":
        problems.append(Problem(("extraction", "mode"), chosen.mode, "incremental beside --follow"))
    if chosen.end_date is not None:
        problems.append(Problem(("extraction", "end_date"), f"'{chosen.end_date}'", "nothing beside --follow"))
    if problems:
        raise InvalidConfigurationError(
            "the configuration", problems, hint="For a window of the past, run without --follow."
        )


def check_runnable(config: Config, *, now: datetime | None = None) -> None:
    """Refuse a configuration that no run can start with. All problems are reported together.

    With `now`, a window between a fixed and a relative time is checked too.

    Raises:
        InvalidConfigurationError: names every problem.

    """
    problems = [*_source(config), *_selection(config), *_files(config)]
    end = config.extraction.end_date
    if now is not None and end is not None:
        micros = int(now.timestamp() * 1_000_000)
        if config.extraction.start_date.micros(micros) >= end.micros(micros):
            problems.append(_empty_window(config.extraction.start_date, end))
    if problems:
        raise InvalidConfigurationError(
            "the configuration", problems, hint="`config show` prints the configuration in effect"
        )


def uses_simulator(config: Config) -> bool:
    """Whether a run reads the simulator in its own process."""
    return config.development.simulator is not None and config.pi_web_api.url is None


def _source(config: Config) -> Iterator[Problem]:
    if uses_simulator(config):
        return
    pi = config.pi_web_api
    if pi.url is None:
        yield Problem(("pi_web_api", "url"), "nothing", "the address of the PI Web API, or development.simulator")
    if pi.secrets_scope is None:
        yield from _missing_credentials(pi)


def _missing_credentials(pi: PiWebApiConfig) -> Iterator[Problem]:
    """Find credentials that are missing. Without a secret scope the configuration must hold them."""
    here, scope = ("pi_web_api",), "or secrets_scope"
    match pi.auth_type:
        case "basic" | "ntlm":
            if pi.username is None:
                yield Problem((*here, "username"), "nothing", f"the user name for {pi.auth_type}, {scope}")
            if pi.password is None:
                yield Problem((*here, "password"), "nothing", f"the password for {pi.auth_type}, {scope}")
        case "bearer" if pi.token is None:
            yield Problem((*here, "token"), "nothing", f"the token for bearer, {scope}")
        case "oauth" if pi.token is None:
            yield from _missing_client(pi)


def _missing_client(pi: PiWebApiConfig) -> Iterator[Problem]:
    client, here = pi.oauth, ("pi_web_api", "oauth")
    if client.client_id is None:
        yield Problem((*here, "client_id"), "nothing", "the client for oauth, or a token, or secrets_scope")
    if client.client_secret is None:
        yield Problem((*here, "client_secret"), "nothing", "the client's secret, or a token, or secrets_scope")
    if client.token_url is None and not client.discover:
        yield Problem((*here, "token_url"), "nothing", "the address that issues tokens, or discover: true")


def _selection(config: Config) -> Iterator[Problem]:
    chosen = config.extraction
    if not (chosen.tags or chosen.tag_name_filter or config.chooses_attributes):
        yield Problem(("extraction", "tags"), "nothing", 'tags, or a tag_name_filter; "*" takes every tag')


def _files(config: Config) -> Iterator[Problem]:
    simulator = config.development.simulator
    named = (
        (("pi_web_api", "ca_bundle"), config.pi_web_api.ca_bundle),
        (("development", "simulator", "faults"), simulator.faults if simulator else None),
    )
    for path, file in named:
        if file is not None and not file.exists():  # a CA bundle may be a folder
            yield Problem(path, f"'{file}', which is not there", "a file that can be read")


def warnings(config: Config) -> Iterator[str]:
    """Yield what a user should know, but what is no reason to stop. What is a secret as yet is not judged."""
    defaults = Config()
    for path, reason in NO_EFFECT.items():
        if _value_at(config, path) != _value_at(defaults, path):
            yield f"{'.'.join(map(str, path))} has no effect: {reason}"
    pi = config.pi_web_api
    if not pi.verify_tls:
        yield (
            "pi_web_api.verify_tls is false: others on the way can read the credentials and change the data; set "
            "pi_web_api.ca_bundle instead"
        )
    if pi.url and pi.auth_type not in {"anonymous", "kerberos"} and _is_in_clear(pi.url):
        yield "pi_web_api.url is http: credentials cross the network readable; use https"
    if pi.auth_type == "oauth" and pi.oauth.token_url and _is_in_clear(pi.oauth.token_url):
        yield "pi_web_api.oauth.token_url is http: the client secret crosses the network readable; use https"
    for number, one in enumerate(config.monitoring.alerts):
        if one.url is not None and _is_in_clear(one.url.get_secret_value()):
            yield f"monitoring.alerts[{number}].url is http: the address, a secret, crosses the network readable; use https"
    for number, tag in enumerate(config.extraction.tags):
        if "*" in tag or "?" in tag:  # the name of no tag has them
            yield f"extraction.tags[{number}] is a pattern, which no tag is called: put it under extraction.tag_name_filter"


def _is_in_clear(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}


def _value_at(config: Config, path: Path) -> Any:
    value: Any = config
    for name in path:
        value = getattr(value, str(name))
    return value
