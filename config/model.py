"""The configuration: one typed value, frozen. Data only; reads nothing.

Attribute names are the YAML keys (`schema` alone is `schema_name` in Python). Every key has a
default, so a fragment is a configuration too; what a run needs on top is in `checks`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .fields import Count, Duration, File, NotBool, PipelineName, PositiveDuration, Secret, Section, Text
from .model_source import AssetFramework, EventFrames, Extraction, OAuth, PiWebApi, TagClass
from .model_target import Performance, Storage, TableProperties, Tables, UnityCatalog
from .problems import Path

__all__ = [
    "AssetFramework",
    "Config",
    "Development",
    "EventFrames",
    "Extraction",
    "Monitoring",
    "OAuth",
    "Performance",
    "PiWebApi",
    "Retry",
    "Schedule",
    "Simulator",
    "Storage",
    "TableProperties",
    "Tables",
    "TagClass",
    "UnityCatalog",
    "known_keys",
    "masked",
]


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class Retry(Section):
    """How often and how patiently a failed request is repeated."""

    max_attempts: Count = 5
    """Attempts in all, the first included."""
    initial_wait: Duration = timedelta(seconds=1)
    """Wait before the second attempt; doubles from there, with jitter."""
    max_wait: PositiveDuration = timedelta(seconds=60)
    """Longest wait between two attempts."""


class Monitoring(Section):
    """What a run tells about itself."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """Least severe lines to log."""
    log_format: Literal["text", "json"] = "text"
    """One sentence or one JSON object a line."""
    slack_webhook_url: Secret | None = None
    """Address that alerts are posted to; whoever knows it can post, so it is a secret."""
    metrics: bool = True
    """Write one row a run, with --follow one an hour, to the metrics table, and what could not be read to the quarantine."""


class Schedule(Section):
    """When the job runs. The job's own definition decides; kept for configurations that name it."""

    cron_expression: Text | None = None
    """Quartz cron expression."""


class Simulator(Section):
    """A PI Web API that runs inside the process."""

    tags: Count = 1000
    """Number of tags."""
    seed: Annotated[int, NotBool] = 1
    """Same seed, same values."""
    history: PositiveDuration = timedelta(hours=1)
    """How far back the simulated values begin."""
    future_tags: Annotated[int, Field(ge=0), NotBool] = 0
    """How many of the tags, the last ones, are forecasts."""
    faults: File | None = None
    """YAML file with the faults to act out."""


class Development(Section):
    """What only development needs."""

    simulator: Simulator | None = None
    """Run against this simulator where no pi_web_api.url is given."""


class Config(Section):
    """Configuration of osipi-connector."""

    pipeline: PipelineName = "default"
    """Name under which watermarks are kept; two pipelines never share progress."""
    pi_web_api: PiWebApi = Field(default_factory=PiWebApi)
    """The PI Web API to read from."""
    unity_catalog: UnityCatalog = Field(default_factory=UnityCatalog)
    """Names of catalog, schemas and tables."""
    storage: Storage = Field(default_factory=Storage)
    """Tables at a path instead of in a catalog."""
    extraction: Extraction = Field(default_factory=Extraction)
    """Which tags and which time."""
    asset_framework: AssetFramework = Field(default_factory=AssetFramework)
    """Which elements and attributes."""
    event_frames: EventFrames = Field(default_factory=EventFrames)
    """Which event frames."""
    performance: Performance = Field(default_factory=Performance)
    """How large buffers and commits are."""
    retry: Retry = Field(default_factory=Retry)
    """Repeating failed requests."""
    monitoring: Monitoring = Field(default_factory=Monitoring)
    """Logs, alerts and metrics."""
    schedule: Schedule = Field(default_factory=Schedule)
    """When the job runs."""
    development: Development = Field(default_factory=Development)
    """The simulator."""


def masked(config: Config) -> dict[str, Any]:
    """The effective configuration as plain YAML values, secrets masked, references left as written."""
    return config.model_dump(mode="json", by_alias=True, exclude_none=True)


def known_keys(model: type[Section] = Config, path: Path = ()) -> dict[Path, tuple[str, ...]]:
    """Every section's path and the keys it knows."""
    found = {path: model.keys()}
    for name, field in model.model_fields.items():
        for section in _sections(field.annotation):
            found |= known_keys(section, (*path, field.alias or name))
    return found


def _sections(annotation: Any) -> list[type[Section]]:
    options = (annotation, *getattr(annotation, "__args__", ()))
    return [option for option in options if isinstance(option, type) and issubclass(option, Section)]
