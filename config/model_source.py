"""The source: the PI Web API, and what is read from it. Data only."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .durations import Instant, parse_instant
from .fields import (
    Count,
    Duration,
    File,
    NotBool,
    PipelineName,
    PositiveDuration,
    Rate,
    Secret,
    Section,
    Text,
    TextList,
    WebAddress,
    When,
)
from .problems import ExpectedError


def _whole_seconds(value: timedelta) -> timedelta:
    if value % timedelta(seconds=1):
        raise ExpectedError("a duration of whole seconds, such as 10m")
    return value


_A_DAY_AGO: Instant = parse_instant("now-1d")


class OAuthConfig(Section):
    """Client credentials of OpenID Connect (PI Web API 2023 and newer)."""

    client_id: Text | None = None
    """Client identifier registered for this connector."""
    client_secret: Secret | None = None
    """Secret of the client; best a `${secret:scope/key}`."""
    token_url: WebAddress | None = None
    """Where tokens are issued. Leave out with `discover`."""
    discover: bool = False
    """Find the token address in the OpenID configuration that the PI Web API publishes."""
    scope: Text = "system"
    """Scope asked for."""


class PiWebApiConfig(Section):
    """The PI Web API to read from, how to log in, and limits for its load."""

    url: WebAddress | None = None
    """Address of the PI Web API, usually ending in /piwebapi."""
    auth_type: Literal["basic", "kerberos", "ntlm", "oauth", "bearer", "anonymous", "auto"] = "basic"
    """How to log in. auto: as the server asks, by the strongest way that there are credentials for."""
    username: Text | None = None
    """User name for basic and ntlm; `DOMAIN\\user` and `user@domain` are names too. Optional for kerberos."""
    password: Secret | None = None
    """Password for basic and ntlm. Optional for kerberos, which otherwise uses a keytab or ticket cache."""
    token: Secret | None = None
    """Token for bearer, or for oauth where no client is configured. It is not renewed."""
    secrets_scope: Text | None = None
    """Databricks secret scope that holds what is not given here."""
    username_key: Text = "pi_username"
    """Key of the user name in the secret scope."""
    password_key: Text = "pi_password"  # noqa: S105 - the name of a key
    """Key of the password in the secret scope."""
    oauth_token_key: Text = "oauth_token"  # noqa: S105 - the name of a key
    """Key of the bearer or OAuth token in the secret scope."""
    oauth: OAuthConfig = Field(default_factory=OAuthConfig)
    """Client credentials, where tokens are to be fetched and renewed."""
    ca_bundle: File | None = None
    """PEM file, or folder made by `openssl rehash`, with certificate authorities to trust besides the system's."""
    verify_tls: bool = True
    """Check the server's certificate. Turn off only to find out what is wrong with it."""
    timeout: PositiveDuration = timedelta(seconds=60)
    """How long one request may take, from connecting to the last byte."""
    max_requests_per_second: Rate = 20.0
    """Ceiling for every second, without bursts. Below it the rate adapts to what the server answers."""
    max_in_flight: Count = 4
    """Requests that may be unanswered at one time, at most."""
    share_of_verify: Annotated[float, Field(gt=0, le=1), NotBool] = 0.5
    """Share of both that verify and verify --repair take, which may work beside a run."""
    max_url_chars: Annotated[int, Field(ge=256, le=64_000), NotBool] = 8_000
    """Longest URL, after `url`. Each run finds a lower limit of the server by itself; the report says what to write here."""
    max_request_bytes: Annotated[int, Field(ge=1_000), NotBool] = 4_194_304
    """Longest body of a request. Each run finds a lower limit of the server by itself; the report says what to write here."""


class TagClassConfig(Section):
    """Tags that are read alike. Of several classes that match a tag the first one counts."""

    name: PipelineName
    """What the class is called in logs."""
    tags: TextList = ()
    """Names of tags, patterns of names with `*` and `?`, or paths (`\\\\SERVER\\tag`, of which the name counts)."""
    interval: PositiveDuration | None = None
    """How often these tags are read with --follow. Left out: extraction.interval."""
    lookback: Duration | None = None
    """How far behind the watermark to compare these tags again. Left out: extraction.lookback."""
    future_horizon: Duration | None = None
    """How far ahead those of them that store future data are read. Left out: extraction.future_horizon."""


SAMPLED_KINDS = (
    *("interpolated", "average", "minimum", "maximum", "range", "total", "stddev", "population_stddev"),
    *("percent_good", "count"),
)


def _kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if not kinds or not set(kinds) <= set(SAMPLED_KINDS):
        # Values on a plot lie where the tag has its extremes, and not on a grid.
        raise ExpectedError(f"some of {', '.join(SAMPLED_KINDS)}")
    return kinds


class SampledConfig(Section):
    """Values on a fixed grid, computed by the server."""

    interval: Annotated[PositiveDuration, AfterValidator(_whole_seconds)]
    """Distance of the points of the grid, in whole seconds. They are multiples of it since 1970, in UTC."""
    kinds: Annotated[TextList, AfterValidator(_kinds)] = ("interpolated",)
    """interpolated: values at the points; average, minimum, maximum, range, total, stddev, population_stddev, percent_good,
    count: summaries of the intervals that begin at them."""
    tags: TextList = ("*",)
    """Names of tags, patterns of names with * and ?, or paths: which of the tags of the run; without any, all."""


class ExtractionConfig(Section):
    """Which tags are read, which time, and in what portions."""

    datasets: TextList = ("all",)
    """What is read: all, or names of datasets (recorded, sampled, tags, digital_states, data_servers, point_attributes, assets, event_frames)."""
    tags: TextList = ()
    """WebIDs, paths (`\\\\SERVER\\tag`) and names of tags; WebIDs and paths of attributes (`\\\\SERVER\\Database\\Element|Attribute`)."""
    tag_name_filter: TextList = ()
    """Name patterns with `*` and `?`; `"*"` takes every tag of the data server."""
    data_server: Text | None = None
    """Data server that names and patterns are looked up on. Needed where there are several."""
    af_query: TextList = ()
    """Queries for attributes of elements that are read like tags, as `Element:{Template:=Pump} Name:=Flow*`."""
    point_attributes: TextList = ()
    """Names of attributes of points that pi_tags is to hold, as compdev, pointsource, location1; `"*"`: all there are."""
    mode: Literal["incremental", "full"] = "incremental"
    """incremental continues each tag at its watermark; full also reads the history from start_date up to it."""
    backfill_order: Literal["newest", "oldest"] = "newest"
    """With mode full, where to begin with tags that were never read: at the newest day, or at start_date."""
    start_date: When = _A_DAY_AGO
    """First instant read (included); in incremental mode where a tag without a watermark begins."""
    end_date: When | None = None
    """End of what is read (not included). Left out: the server's present, less the lag."""
    lag: Duration = timedelta(seconds=30)
    """How far behind the server's clock to stay, for events that arrive late."""
    lookback: Duration | None = None
    """How far behind the watermark to compare again with the source."""
    future_horizon: Duration | None = None
    """How far ahead of now to read points that store future data (forecasts, schedules). Left out: not at all."""
    interval: PositiveDuration = timedelta(minutes=5)
    """How often tags of no class are read. Has an effect only with --follow; otherwise the schedule of the job decides."""
    classes: tuple[TagClassConfig, ...] = ()
    """Tags that are read more, or less, often than the others, or looked back at further."""
    discovery_interval: PositiveDuration = timedelta(hours=1)
    """How often to look for new, renamed and deleted tags, and digital states. Has an effect only with --follow."""
    stream_updates: Literal["off", "auto"] = "off"
    """auto: a hint from the server where events came late or were edited. With --follow; one request a minute per 100 tags."""
    batch_size: Annotated[int, Field(ge=1, le=1000), NotBool] = 100
    """Requests in one batch."""
    max_count_per_tag: Annotated[int, Field(ge=1, le=150_000), NotBool] = 10_000
    """Events of one tag in one answer; what is beyond is asked for again."""
    request_mode: Literal["auto", "batch", "streamset", "single"] = "auto"
    """auto tries batch, then streamset, then single, and takes the first that the server understands."""
    enable_paging: bool = True
    """Has no effect: an answer that is cut at its maximum is always continued."""
    clock_tolerance: PositiveDuration = timedelta(minutes=15)
    """How far the archive's clock may be ahead of the other clocks. Beyond it nothing is read, and the run says so."""
    sampled: SampledConfig | None = None
    """Values on a fixed grid beside the recorded ones, or, with datasets, in their place."""
    recreated_tags: Literal["from_start", "continue"] = "from_start"
    """Where to begin with a point that was created again under the same name: at start_date, or where the old point ended."""
    assumed_interval: PositiveDuration = timedelta(seconds=60)
    """Time expected between two events of a tag that was never read; only for planning."""


class AttributeValuesConfig(Section):
    """Attributes that are read like tags: their values go to pi_timeseries. An attribute must fit each of the keys."""

    enabled: bool = False
    """Read values of attributes of elements, of `databases` and below `root`. Does not need asset_framework.enabled."""
    templates: TextList = ()
    """Names of element templates: of elements of these, and of those derived from them; without any: asset_framework.templates."""
    categories: TextList = ()
    """Names of element categories: of elements of these; without any: asset_framework.categories."""
    attributes: TextList = ()
    """Names of attributes, with * and ?, as Flow or Limits|High; without any: asset_framework.attributes."""
    attribute_categories: TextList = ()
    """Names of attribute categories; without any: of all, and of none."""
    data_references: TextList = ("PI Point", "Formula", "Table Lookup")
    """Names of data references, with * and ?. What has none holds one value, which is in pi_asset_attributes."""


class AssetFrameworkConfig(Section):
    """Elements and attributes of the asset framework."""

    enabled: bool = False
    """Read the asset framework."""
    databases: TextList = ()
    """Names, paths or WebIDs of AF databases. Without any: the only one there is."""
    database: Text | None = None
    """One more of them, by name, path or WebID."""
    root: Text | None = None
    """Path of an element: only what lies below it is read, and itself."""
    templates: TextList = ()
    """Names of element templates. Elements of these, and of those derived from them, are read; without any: all."""
    categories: TextList = ()
    """Names of element categories: elements of these are read; without any: all."""
    attributes: TextList = ()
    """Names of attributes, with * and ?, as Flow or Limits|High: these are read; without any: all."""
    hidden_attributes: bool = False
    """Read hidden and excluded attributes, too. Takes one request more for a batch of elements."""
    interval: PositiveDuration = timedelta(hours=1)
    """How often to read the tree. Has an effect only with --follow."""
    values: AttributeValuesConfig = Field(default_factory=AttributeValuesConfig)
    """Which attributes are read like tags."""


class EventFramesConfig(Section):
    """Event frames."""

    enabled: bool = False
    """Read event frames, from extraction.start_date on."""
    databases: TextList = ()
    """Names, paths or WebIDs of AF databases. Without any: those of asset_framework."""
    database: Text | None = None
    """One more of them, by name, path or WebID."""
    templates: TextList = ()
    """Names of frame templates. Frames of these, and of those derived from them, are read; without any: all."""
    attributes: TextList = ()
    """Names of attributes, with * and ?, as Yield or Limits|High: these are read; without any: all."""
    lookback: Duration = timedelta(days=1)
    """How far behind the last run to compare again. Open frames are always compared."""
    full_compare_every: PositiveDuration = timedelta(days=1)
    """How often all frames from start_date on are compared, for what was edited, acknowledged, locked or deleted."""
    interval: PositiveDuration = timedelta(minutes=5)
    """How often to read event frames. Has an effect only with --follow."""
