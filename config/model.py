"""The configuration: one typed, frozen value. Data only.

Attribute names are the YAML keys (`schema` alone is `schema_name` in Python). Every key has a
default, so a fragment is a configuration too; what a run needs on top is in `checks`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .fields import (
    AlertKind,
    Count,
    Duration,
    File,
    NotBool,
    PipelineName,
    PositiveDuration,
    Secret,
    Section,
    Text,
    WebAddress,
    as_list,
)
from .model_source import (
    AssetFrameworkConfig,
    EventFramesConfig,
    ExtractionConfig,
    PiWebApiConfig,
)
from .model_target import PerformanceConfig, StorageConfig, UnityCatalogConfig
from .problems import Path


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class RetryConfig(Section):
    """How often a failed request is repeated, and how long to wait before."""

    max_attempts: Count = 5
    """Attempts in all, the first included."""
    initial_wait: Duration = timedelta(seconds=1)
    """Wait before the second attempt; doubles from there, with jitter."""
    max_wait: PositiveDuration = timedelta(seconds=60)
    """Longest wait between two attempts."""


class AlertConfig(Section):
    """A channel for messages: a pipeline fails, and is well again."""

    kind: Literal["slack", "teams", "webhook"] = "webhook"
    """slack and teams take messages of their own form, webhook takes a JSON object."""
    url: Secret | None = None
    """Address that messages are posted to; all who know it can post, so it is a secret."""
    on: Annotated[tuple[AlertKind, ...], BeforeValidator(as_list)] = (
        "run_failed",
        "tags_failed",
        "holes",
        "stale",
        "recovered",
    )
    """What is sent: a run failed, tags failed, holes, data older than max_age, and that one of these is over."""
    max_age: PositiveDuration | None = None
    """How far the worst tag may be behind at the end of a run or cycle, for `stale`. Left out: any time."""
    holds_for: Duration = timedelta(minutes=5)
    """With --follow: how long a state, or its end, has to hold before it is sent."""
    title: Text = "PI Connector Alert"
    """How messages begin."""
    template: Text | None = None
    """Text of a message, with {title}, {pipeline}, {state}, {status}, {text}, {detail}, {since}, {run_id}, {shard}."""


class MonitoringConfig(Section):
    """Logs, alerts and metrics of a run."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """Least severe lines to log."""
    log_format: Literal["text", "json"] = "text"
    """One sentence or one JSON object a line."""
    slack_webhook_url: Secret | None = None
    """Slack webhook for all alerts but `stale`: short for one of `alerts`."""
    alerts: tuple[AlertConfig, ...] = ()
    """Channels for messages: a run or tags fail, data is late, or all is well again."""
    metrics_file: File | None = None
    """File with metrics in the text format of Prometheus, for the textfile collector of node_exporter."""
    metrics_port: Annotated[int, Field(ge=1, le=65_535), NotBool] | None = None
    """Port where /metrics gives the same, with --follow."""
    metrics_host: Text = "127.0.0.1"
    """Address of this machine at which the port listens; 0.0.0.0 for all of them."""
    otlp_endpoint: WebAddress | None = None
    """Address of an OpenTelemetry collector, without /v1/..: metrics and spans go there by OTLP over HTTP."""
    metrics: bool = True
    """Write one row a run, with --follow one an hour, to the metrics table, and what could not be read to the quarantine."""


class ScheduleConfig(Section):
    """When the job runs. Has no effect: the definition of the job decides."""

    cron_expression: Text | None = None
    """Quartz cron expression."""


class SimulatorConfig(Section):
    """A PI Web API that runs inside the process."""

    tags: Count = 1000
    """Number of tags."""
    seed: Annotated[int, NotBool] = 1
    """Same seed, same values."""
    history: PositiveDuration = timedelta(hours=1)
    """How far back the simulated values begin."""
    future_tags: Annotated[int, Field(ge=0), NotBool] = 0
    """How many of the tags, the last ones, are forecasts."""
    elements: Annotated[int, Field(ge=0), NotBool] = 0
    """Number of elements of its AF database Plant."""
    frames_per_day: Annotated[float, Field(ge=0, le=86_400), NotBool] = 0
    """How many event frames begin a day in it."""
    faults: File | None = None
    """YAML file with the faults of the simulated server."""


class DevelopmentConfig(Section):
    """What only development needs."""

    simulator: SimulatorConfig | None = None
    """Run against this simulator where no pi_web_api.url is given."""


class Config(Section):
    """Configuration of osipi-connector."""

    pipeline: PipelineName = "default"
    """Name under which watermarks are kept; two pipelines never share progress."""
    pi_web_api: PiWebApiConfig = Field(default_factory=PiWebApiConfig)
    """The PI Web API to read from."""
    unity_catalog: UnityCatalogConfig = Field(default_factory=UnityCatalogConfig)
    """Names of catalog, schemas and tables."""
    storage: StorageConfig = Field(default_factory=StorageConfig)
    """Tables at a path instead of in a catalog."""
    extraction: ExtractionConfig = Field(default_factory=ExtractionConfig)
    """Which tags and which time."""
    asset_framework: AssetFrameworkConfig = Field(default_factory=AssetFrameworkConfig)
    """Which elements and attributes."""
    event_frames: EventFramesConfig = Field(default_factory=EventFramesConfig)
    """Which event frames."""
    performance: PerformanceConfig = Field(default_factory=PerformanceConfig)
    """How large buffers and commits are."""
    retry: RetryConfig = Field(default_factory=RetryConfig)
    """Repeating failed requests."""
    monitoring: MonitoringConfig = Field(default_factory=MonitoringConfig)
    """Logs, alerts and metrics."""
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    """When the job runs."""
    development: DevelopmentConfig = Field(default_factory=DevelopmentConfig)
    """The simulator."""

    @property
    def chooses_attributes(self) -> bool:
        """Whether attributes of elements are chosen as tags by what they are, and not by WebID or path."""
        return bool(self.asset_framework.values.enabled or self.extraction.af_query)


def masked(config: Config) -> dict[str, Any]:
    """The effective configuration as plain YAML values, secrets masked, references left as written."""
    return config.model_dump(mode="json", by_alias=True, exclude_none=True)


def sections(model: type[Section] = Config, path: Path = ()) -> dict[Path, type[Section]]:
    """Every section, by its path. A list of sections counts as one."""
    found = {path: model}
    for name, field in model.model_fields.items():
        for section in _sections_in(field.annotation):
            found |= sections(section, (*path, field.alias or name))
    return found


def known_keys() -> dict[Path, tuple[str, ...]]:
    """The keys that each section knows, by the path of the section."""
    return {path: section.keys() for path, section in sections().items()}


def _sections_in(annotation: Any) -> list[type[Section]]:
    options = (annotation, *getattr(annotation, "__args__", ()))
    return [option for option in options if isinstance(option, type) and issubclass(option, Section)]
