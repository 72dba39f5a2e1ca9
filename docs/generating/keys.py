"""Every key of the configuration: its type, default, meaning and an example, as they are written in YAML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path as FilePath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import ByteSize, SecretStr

from config.durations import Instant, format_duration, parse_duration
from config.fields import Section
from config.model import sections
from config.problems import Path
from config.schema import json_schema

# Of keys whose type does not say what a value looks like. Each of them loads: a test holds that.
_EXAMPLES: dict[str, Any] = {
    "pipeline": "unit1",
    "pi_web_api.url": "https://pi-server.company.com/piwebapi",
    "pi_web_api.auth_type": "kerberos",
    "pi_web_api.username": "CORP\\svc_pi",
    "pi_web_api.password": "${env:PI_PASSWORD}",
    "pi_web_api.token": "${file:/run/secrets/pi_token}",
    "pi_web_api.secrets_scope": "pi-connector",
    "pi_web_api.username_key": "plant1_user",
    "pi_web_api.password_key": "plant1_password",
    "pi_web_api.oauth_token_key": "plant1_token",
    "pi_web_api.oauth.client_id": "osipi-connector",
    "pi_web_api.oauth.client_secret": "${secret:pi-connector/client_secret}",
    "pi_web_api.oauth.token_url": "https://login.company.com/oauth2/token",
    "pi_web_api.oauth.scope": "piwebapi",
    "pi_web_api.ca_bundle": "/Volumes/main/default/libraries/company-ca.pem",
    "pi_web_api.share_of_verify": 0.25,
    "unity_catalog.catalog": "plant",
    "unity_catalog.schema": "pi",
    "unity_catalog.checkpoint_schema": "pi_checkpoints",
    "unity_catalog.monitoring_schema": "pi_monitoring",
    "unity_catalog.location": "s3://company-lake/pi",
    "storage.root": "/data/lakehouse",
    "storage.options": {"AWS_REGION": "eu-central-1"},
    "extraction.datasets": ["recorded", "tags"],
    "extraction.tags": ["\\\\PISRV01\\SINUSOID", "CDT158"],
    "extraction.tag_name_filter": ["U1.*", "U2.*"],
    "extraction.data_server": "PISRV01",
    "extraction.af_query": ["Element:{Template:=Pump} Name:=Flow*"],
    "extraction.point_attributes": ["compdev", "pointsource"],
    "extraction.start_date": "2024-01-31T08:00:00Z",
    "extraction.end_date": "now-1h",
    "extraction.classes": [{"name": "critical", "tags": ["CRIT.*"], "interval": "1m"}],
    "extraction.classes[].name": "critical",
    "extraction.classes[].tags": ["CRIT.*", "BOILER1.TRIP"],
    "extraction.classes[].interval": "1m",
    "extraction.sampled": {"interval": "10m", "kinds": ["average", "maximum"]},
    "extraction.sampled.interval": "10m",
    "extraction.sampled.kinds": ["average", "maximum"],
    "extraction.sampled.tags": ["FLOW.*"],
    "asset_framework.databases": ["Plant"],
    "asset_framework.database": "\\\\AFSRV01\\Plant",
    "asset_framework.root": "\\\\AFSRV01\\Plant\\Site 01",
    "asset_framework.templates": ["Pump"],
    "asset_framework.categories": ["Rotating"],
    "asset_framework.attributes": ["Flow", "Limits|*"],
    "asset_framework.values.templates": ["Pump"],
    "asset_framework.values.categories": ["Rotating"],
    "asset_framework.values.attributes": ["Flow", "Limits|High"],
    "asset_framework.values.attribute_categories": ["Process"],
    "asset_framework.values.data_references": ["PI Point"],
    "event_frames.databases": ["Plant"],
    "event_frames.database": "\\\\AFSRV01\\Plant",
    "event_frames.templates": ["Batch"],
    "event_frames.attributes": ["Yield"],
    "performance.zorder_columns": ["tag_webid", "timestamp"],
    "monitoring.slack_webhook_url": "${secret:pi-connector/slack_webhook}",
    "monitoring.alerts": [{"kind": "teams", "url": "${secret:pi-connector/teams_webhook}"}],
    "monitoring.alerts[].kind": "slack",
    "monitoring.alerts[].url": "${secret:pi-connector/teams_webhook}",
    "monitoring.alerts[].template": "{pipeline}: {text}",
    "monitoring.alerts[].title": "Plant 1",
    "monitoring.metrics_file": "/var/lib/node_exporter/textfile/osipi.prom",
    "monitoring.metrics_port": 9187,
    "monitoring.otlp_endpoint": "http://localhost:4318",
    "monitoring.metrics_host": "10.20.0.5",
    "monitoring.alerts[].on": ["run_failed", "stale", "recovered"],
    "monitoring.alerts[].max_age": "1h",
    "schedule.cron_expression": "0 0/15 * * * ?",
    "development.simulator": {"tags": 1000},
    "development.simulator.faults": "faults.yaml",
}
_BY_KIND: dict[type, Any] = {timedelta: "30m", ByteSize: "512MiB", int: 8, float: 10, bool: True}


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `path` is dotted, with `[]` for the items of a list. `example` is a plain value, None of a section."""

    path: str
    kind: str
    default: str
    meaning: str
    example: Any
    holds_keys: bool

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    def written(self, value: Any) -> str:
        """The line that gives the key a value."""
        return f"{self.name}: {in_yaml(value)}"


@dataclass(frozen=True, slots=True)
class Part:
    """A section, and its keys in their order."""

    path: str
    meaning: str
    keys: tuple[Key, ...]


def in_yaml(value: Any) -> str:
    """A plain value in one line of YAML."""
    if isinstance(value, str) and "\\" in value and not set(value) & set("|*"):
        return value  # a plain word needs no escapes
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


@cache
def parts() -> tuple[Part, ...]:
    """All sections, each after the section that holds it."""
    found = sections()
    lists = {
        (*path, field.alias or name)
        for path, model in found.items()
        for name, field in model.model_fields.items()
        if _is_list_of_sections(_kind_of(field))
    }
    schema = json_schema()
    return tuple(_part(path, model, lists, schema) for path, model in found.items())


def _part(path: Path, model: type[Section], lists: set[Path], schema: dict[str, Any]) -> Part:
    where = "".join(f".{name}{'[]' if path[:depth] in lists else ''}" for depth, name in enumerate(path, 1)).lstrip(".")
    shapes = _shapes(model, schema)
    found = [
        _key(f"{where}.{alias}".lstrip("."), field, shapes[alias])
        for alias, field in ((field.alias or name, field) for name, field in model.model_fields.items())
    ]
    return Part(where, " ".join((model.__doc__ or "").split()), tuple(found))


def _kind_of(field: Any) -> Any:
    return next(option for option in _options(field.annotation) if option is not type(None))


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _is_list_of_sections(kind: Any) -> bool:
    return get_origin(kind) is tuple and _is_section(get_args(kind)[0])


def _shapes(model: type[Section], schema: dict[str, Any]) -> dict[str, Any]:
    shapes: dict[str, Any] = (schema if model.__name__ == "Config" else schema["$defs"][model.__name__])["properties"]
    return shapes


def _key(path: str, field: Any, shape: dict[str, Any]) -> Key:
    kind = _kind_of(field)
    holds_keys = _is_section(kind)
    needed = field.is_required()
    default = "needed" if needed else "" if holds_keys else _default(field)
    return Key(
        path=path,
        kind=_kind(kind, shape),
        default=default,
        meaning=shape.get("description", ""),
        example=None if holds_keys and path not in _EXAMPLES else _example(path, kind, field),
        holds_keys=holds_keys,
    )


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in {Union, UnionType}:
        for option in get_args(annotation):
            yield from _options(option)
    elif get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    else:
        yield annotation


def plain_default(field: Any) -> Any:
    """The default as it is written in YAML; None where nothing is."""
    value = field.get_default(call_default_factory=True)
    match value:
        case timedelta():
            return format_duration(value)
        case Instant():
            return value.text
        case ByteSize():
            return int(value)
        case tuple():
            return list(value)
        case _:
            return value


def _default(field: Any) -> str:
    value = plain_default(field)
    return "" if value is None else in_yaml(value)


def _example(path: str, kind: Any, field: Any) -> Any:
    if path in _EXAMPLES:
        return _EXAMPLES[path]
    default = plain_default(field)
    if path.startswith("unity_catalog.tables."):
        return str(default).replace("pi_", "plant_", 1)
    if path.startswith("unity_catalog.table_properties."):
        return {"delta.logRetentionDuration": "interval 60 days"}
    if get_origin(kind) is Literal:
        return next(option for option in get_args(kind) if option != default)
    if isinstance(default, bool):
        return not default
    if kind in {int, float} and default is not None:
        return default * 2 if default else 10
    if kind is timedelta and default is not None and default != "0s":
        return format_duration(parse_duration(default) * 2)
    if kind not in _BY_KIND:
        raise LookupError(f"_EXAMPLES in {__name__} lacks an example of {path}")
    return _BY_KIND[kind]


def _kind(kind: Any, shape: dict[str, Any]) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{option}`" for option in get_args(kind))
    if get_origin(kind) is tuple:
        if _is_list_of_sections(kind):
            return "list of sections"
        [item] = _options(get_args(kind)[0])
        return f"list of {_kind(item, {})}" if get_origin(item) is Literal else "text, or a list of texts"
    if get_origin(kind) is dict:
        return "names and values"
    if issubclass(kind, Section):
        return "section"
    names = {
        bool: "true or false", int: "whole number", float: "number", timedelta: "duration", ByteSize: "size",
        Instant: "time", SecretStr: "secret text", FilePath: "path of a file", str: "text",
    }  # fmt: skip
    return names[kind] + _bounds(shape)


def _bounds(shape: dict[str, Any]) -> str:
    limits = {key: value for option in [shape, *shape.get("anyOf", [])] for key, value in option.items()}
    said = [
        f"{words} {limits[key]:,}"
        for key, words in (("exclusiveMinimum", "more than"), ("minimum", "from"), ("maximum", "up to"))
        if key in limits and not (key == "minimum" and limits[key] == 0 and "examples" in limits)
    ]
    return f", {', '.join(said)}" if said else ""
