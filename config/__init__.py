"""Configuration: YAML, command-line overrides, environment and secrets to one typed value.

Imports nothing of ours but its own modules. `errors` is the root of the product's error tree.
"""

from __future__ import annotations

from . import errors
from .checks import check_followable, check_runnable, uses_simulator
from .durations import Instant, format_duration, parse_duration, parse_instant
from .load import Loaded, from_mapping, load
from .model import (
    AssetFramework,
    Config,
    Development,
    EventFrames,
    Extraction,
    Monitoring,
    OAuth,
    Performance,
    PiWebApi,
    Retry,
    Schedule,
    Simulator,
    Storage,
    TableProperties,
    Tables,
    TagClass,
    UnityCatalog,
    masked,
)
from .problems import ExpectedError, InvalidConfigurationError, Problem
from .properties import properties_of
from .schema import json_schema, json_schema_text
from .secrets import SecretReader, UnknownSecretError, resolve_secrets, workspace_secrets
from .tidy import tidied

__all__ = [
    "AssetFramework",
    "Config",
    "Development",
    "EventFrames",
    "ExpectedError",
    "Extraction",
    "Instant",
    "InvalidConfigurationError",
    "Loaded",
    "Monitoring",
    "OAuth",
    "Performance",
    "PiWebApi",
    "Problem",
    "Retry",
    "Schedule",
    "SecretReader",
    "Simulator",
    "Storage",
    "TableProperties",
    "Tables",
    "TagClass",
    "UnityCatalog",
    "UnknownSecretError",
    "check_followable",
    "check_runnable",
    "errors",
    "format_duration",
    "from_mapping",
    "json_schema",
    "json_schema_text",
    "load",
    "masked",
    "parse_duration",
    "parse_instant",
    "properties_of",
    "resolve_secrets",
    "tidied",
    "uses_simulator",
    "workspace_secrets",
]
