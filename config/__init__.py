"""The configuration: one typed value from YAML, command-line overrides, the environment and secrets.

`errors` holds the errors of the whole product.
"""

from __future__ import annotations

from . import errors
from .checks import ALERT_FIELDS, check_followable, check_runnable, is_web_address, uses_simulator
from .durations import Instant, format_duration, parse_duration, parse_instant
from .load import Loaded, from_mapping, load
from .model import AlertConfig, Config, RetryConfig, SimulatorConfig, masked
from .model_source import (
    AssetFrameworkConfig,
    AttributeValuesConfig,
    EventFramesConfig,
    ExtractionConfig,
    PiWebApiConfig,
)
from .model_target import TablesConfig, UnityCatalogConfig
from .problems import ExpectedError, InvalidConfigurationError
from .properties import properties_of
from .schema import json_schema, json_schema_text
from .secrets import (
    credentials_in_full,
    only_alerts,
    put_local_references,
    resolve_secrets,
    tidied,
    without_alerts,
)

__all__ = [
    "ALERT_FIELDS",
    "AlertConfig",
    "AssetFrameworkConfig",
    "AttributeValuesConfig",
    "Config",
    "EventFramesConfig",
    "ExpectedError",
    "ExtractionConfig",
    "Instant",
    "InvalidConfigurationError",
    "Loaded",
    "PiWebApiConfig",
    "RetryConfig",
    "SimulatorConfig",
    "TablesConfig",
    "UnityCatalogConfig",
    "check_followable",
    "check_runnable",
    "credentials_in_full",
    "errors",
    "format_duration",
    "from_mapping",
    "is_web_address",
    "json_schema",
    "json_schema_text",
    "load",
    "masked",
    "only_alerts",
    "parse_duration",
    "parse_instant",
    "properties_of",
    "put_local_references",
    "resolve_secrets",
    "tidied",
    "uses_simulator",
    "without_alerts",
]
