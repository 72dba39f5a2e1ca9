"""What a first configuration says, and its YAML text. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from config.descriptions import descriptions
from config.errors import ConfigurationError
from config.model import Config, sections
from config.yaml_text import parse

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+|secret:[^/{}]+/[^/{}]+")
# Text that may stand without quotes, if YAML reads it as this text.
_BARE = re.compile(r"[A-Za-z0-9./$][^\s#,\[\]]*")
# Where the secret of a way to log in is written.
_SECRET_KEYS = {
    "basic": "password",
    "ntlm": "password",
    "auto": "password",
    "bearer": "token",
    "oauth": "client_secret",
}
# Keys that many need later: shown, but left to their defaults.
_FURTHER: Mapping[tuple[str, ...], tuple[tuple[str, str], ...]] = {
    ("pi_web_api",): (("max_in_flight", "4"),),
    ("extraction",): (("lookback", "1h"), ("interval", "5m"), ("future_horizon", "7d")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """`secret` is a reference (`env:NAME`, `file:PATH`, `secret:scope/key`), never the secret itself.

    The tables go to `root`, or to `schema` in `catalog`.
    """

    pipeline: str = "plant"
    url: str = ""
    auth_type: str = "basic"
    username: str = ""
    secret: str = ""
    secrets_scope: str = ""
    ca_bundle: str = ""
    data_server: str = ""
    tag_name_filter: str = "*"
    start: str = "now-1d"
    database: str = ""
    rate: float = 20.0
    root: str = ""
    catalog: str = ""
    schema: str = "bronze"


def document_of(answers: Answers) -> dict[str, Any]:
    """The configuration as plain values, by its YAML keys, in the order of the file."""
    pi: dict[str, Any] = {"url": answers.url, "auth_type": answers.auth_type}
    if answers.secrets_scope:
        pi["secrets_scope"] = answers.secrets_scope
    elif answers.auth_type == "oauth":
        pi["oauth"] = _filled(client_id=answers.username, client_secret=_written(answers.secret)) | {"discover": True}
    elif answers.auth_type in _SECRET_KEYS:
        pi |= _filled(username=answers.username) | {_SECRET_KEYS[answers.auth_type]: _written(answers.secret)}
    pi |= _filled(ca_bundle=answers.ca_bundle)
    pi["max_requests_per_second"] = int(answers.rate) if answers.rate.is_integer() else answers.rate
    found: dict[str, Any] = {"pipeline": answers.pipeline, "pi_web_api": pi}
    found["extraction"] = _filled(
        data_server=answers.data_server, tag_name_filter=answers.tag_name_filter, start_date=answers.start
    )
    if answers.database:
        found["asset_framework"] = {"enabled": True, "databases": answers.database}
        found["event_frames"] = {"enabled": True}
    if answers.root:
        found["storage"] = {"root": answers.root}
    elif answers.catalog:
        found["unity_catalog"] = {"catalog": answers.catalog, "schema": answers.schema}
    return found


def _filled(**values: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _written(secret: str) -> str:
    return f"${{{secret}}}"


def reference_of(text: str, option: str = "--secret-from") -> str:
    """A reference as it was typed, with or without `${..}`. Raises `ConfigurationError` without repeating the text."""
    bare = text.strip().removeprefix("${").removesuffix("}")
    if _REFERENCE.fullmatch(bare):
        return bare
    raise ConfigurationError(
        f"{option}: what was given is no place of a secret",
        hint="Write env:PI_PASSWORD, file:/etc/pi/password or secret:scope/key, not the secret itself.",
    )


def literal(name: str) -> str:
    """The text of a configuration that means this name, which a server has given: it begins no reference."""
    return name.replace("${", "$${")


def whole_url(text: str) -> str:
    """An address as people type it: https is meant where nothing is said, and /piwebapi where there is no path."""
    text = text.strip().rstrip("/")
    if "://" not in text:
        text = f"https://{text}"
    return text if urlsplit(text).path else f"{text}/piwebapi"


def bundle_variables(answers: Answers) -> dict[str, str]:
    """The variables of the bundle that the answers fill."""
    return _filled(
        pi_web_api_url=answers.url,
        secret_scope=answers.secrets_scope,
        catalog=answers.catalog,
        schema=answers.schema if answers.catalog else "",
    )


def yaml_of(answers: Answers, *, heading: str) -> str:
    """The text of the file: each key under the sentence that the reference has for it."""
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    return "\n".join([*lines, "", *_section(document_of(answers), (), "")]) + "\n"


def _section(values: Mapping[str, Any], path: tuple[str, ...], indent: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from ("",) if not path else ()
            yield from (f"{indent}# {_about((*path, key))}", f"{indent}{key}:")
            yield from _section(value, (*path, key), f"{indent}  ")
        else:
            yield f"{indent}# {_about((*path, key))}"
            yield f"{indent}{key}: {_scalar(value)}"
    for key, value in _FURTHER.get(path, ()):
        yield f"{indent}# {_about((*path, key))}"
        yield f"{indent}# {key}: {value}"


def _about(path: tuple[str, ...]) -> str:
    """What the model says of a key."""
    return " ".join(descriptions(sections(Config)[path[:-1]])[path[-1]].split())


def _scalar(value: str | float | bool) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    with suppress(ConfigurationError):
        if _BARE.fullmatch(value) and parse(f"key: {value}", "a value") == {"key": value}:
            return value
    quoted: str = yaml.safe_dump(value, default_style='"', width=math.inf, allow_unicode=True)
    return quoted.rstrip()
