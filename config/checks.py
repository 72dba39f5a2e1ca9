"""What keys mean together: combinations that cannot be, what a run needs, what has no effect. Pure, but for
looking whether a named file exists.

Three questions, asked at different times. `contradictions` is asked of every configuration, fragments
included; `check_runnable` only before a run; `warnings` never stops anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .durations import Instant, format_duration
from .model import Config, PiWebApi
from .problems import InvalidConfigurationError, Path, Problem
from .properties import problems_with

__all__ = [
    "DEFAULT_CLASS",
    "NO_EFFECT",
    "UNSUPPORTED",
    "check_followable",
    "check_runnable",
    "contradictions",
    "uses_simulator",
    "warnings",
]

# What tags of no class are called together.
DEFAULT_CLASS = "default"

# Places whose value this version cannot act on, and what to do instead. A run refuses them.
UNSUPPORTED: tuple[tuple[Path, Any, str], ...] = (
    (("pi_web_api", "auth_type"), "ntlm", "basic, kerberos, oauth, bearer or anonymous; this version has no ntlm"),
    (("extraction", "af_query"), ..., "extraction.tags or extraction.tag_name_filter; this version asks no AF queries"),
    (("asset_framework", "enabled"), True, "false; this version does not read the asset framework"),
    (("event_frames", "enabled"), True, "false; this version does not read event frames"),
)

# Keys that are accepted and change nothing, the value at which that is no surprise, and why.
NO_EFFECT: tuple[tuple[Path, Any, str], ...] = (
    (("schedule", "cron_expression"), None, "the schedule of the job decides when it runs"),
    (("performance", "spark_partitions"), None, "values are read without Spark"),
    (("monitoring", "slack_webhook_url"), None, "this version posts no alerts"),
    (("asset_framework", "database"), None, "this version does not read the asset framework"),
    (("asset_framework", "templates"), (), "this version does not read the asset framework"),
    (("asset_framework", "attributes"), (), "this version does not read the asset framework"),
    (("event_frames", "database"), None, "this version does not read event frames"),
    (("event_frames", "templates"), (), "this version does not read event frames"),
    (("event_frames", "lookback"), None, "this version does not read event frames"),
)


def contradictions(config: Config) -> Iterator[Problem]:
    """Combinations that no run can satisfy, whatever else is configured."""
    yield from _window(config)
    yield from _place(config)
    yield from _classes(config)
    yield from _simulator(config)
    yield from _properties(config)
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


def check_followable(config: Config) -> None:
    """Refuse what reading on without an end cannot be.

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
    """Refuse what a run cannot start with, all of it at once.

    With `now`, windows between a fixed and a relative time are judged too.

    Raises:
        InvalidConfigurationError: names every problem.

    """
    problems = [*_unsupported(config), *_source(config), *_selection(config), *_files(config)]
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


def _unsupported(config: Config) -> Iterator[Problem]:
    for path, refused, instead in UNSUPPORTED:
        value = _value_at(config, path)
        if value == refused or (refused is ... and value is not None):
            found = "a query" if refused is ... else str(value).lower()
            yield Problem(path, found, instead)


def _source(config: Config) -> Iterator[Problem]:
    if uses_simulator(config):
        return
    pi = config.pi_web_api
    if pi.url is None:
        yield Problem(("pi_web_api", "url"), "nothing", "the address of the PI Web API, or development.simulator")
    if pi.secrets_scope is None:
        yield from _missing_credentials(pi)


def _missing_credentials(pi: PiWebApi) -> Iterator[Problem]:
    """What must be written in the configuration where no secret scope holds it."""
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


def _missing_client(pi: PiWebApi) -> Iterator[Problem]:
    client, here = pi.oauth, ("pi_web_api", "oauth")
    if client.client_id is None:
        yield Problem((*here, "client_id"), "nothing", "the client for oauth, or a token, or secrets_scope")
    if client.client_secret is None:
        yield Problem((*here, "client_secret"), "nothing", "the client's secret, or a token, or secrets_scope")
    if client.token_url is None and not client.discover:
        yield Problem((*here, "token_url"), "nothing", "the address that issues tokens, or discover: true")


def _selection(config: Config) -> Iterator[Problem]:
    chosen = config.extraction
    if not (chosen.tags or chosen.tag_name_filter or chosen.af_query):
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
    """What a user should know and nothing needs to stop for."""
    for path, quiet, reason in NO_EFFECT:
        if _is_set(config, path) and _value_at(config, path) != quiet:
            yield f"{'.'.join(map(str, path))} has no effect: {reason}"
    pi = config.pi_web_api
    if not pi.verify_tls:
        yield "pi_web_api.verify_tls is false: anybody on the way can read and change what PI Web API sends"
    if pi.url and pi.auth_type not in {"anonymous", "kerberos"} and _is_in_clear(pi.url):
        yield "pi_web_api.url is http: credentials cross the network readable; use https"
    for number, tag in enumerate(config.extraction.tags):
        if "*" in tag or "?" in tag:  # the name of no tag has them
            yield f"extraction.tags[{number}] is a pattern, which no tag is called: put it under extraction.tag_name_filter"


def _is_in_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}


def _value_at(config: Config, path: Path) -> Any:
    value: Any = config
    for name in path:
        value = getattr(value, str(name))
    return value


def _is_set(config: Config, path: Path) -> bool:
    section: Any = config
    for name in path:
        if name not in section.model_fields_set:
            return False
        section = getattr(section, str(name))
    return True
