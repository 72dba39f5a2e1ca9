"""Where values come from: the PI Web API, and what is read from it. Data only."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

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

__all__ = ["AssetFramework", "EventFrames", "Extraction", "OAuth", "PiWebApi", "TagClass"]

_A_DAY_AGO: Instant = parse_instant("now-1d")


class OAuth(Section):
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


class PiWebApi(Section):
    """The PI Web API to read from, how to log in, and how hard to press it."""

    url: WebAddress | None = None
    """Address of the PI Web API, usually ending in /piwebapi."""
    auth_type: Literal["basic", "kerberos", "ntlm", "oauth", "bearer", "anonymous"] = "basic"
    """How to log in."""
    username: Text | None = None
    """User name for basic; `DOMAIN\\user` and `user@domain` are names too. Optional for kerberos."""
    password: Secret | None = None
    """Password for basic. Optional for kerberos, which otherwise uses a keytab or ticket cache."""
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
    oauth: OAuth = Field(default_factory=OAuth)
    """Client credentials, where tokens are to be fetched and renewed."""
    ca_bundle: File | None = None
    """PEM file, or folder made by `openssl rehash`, with certificate authorities to trust besides the system's."""
    verify_tls: bool = True
    """Check the server's certificate. Turn off only to find out what is wrong with it."""
    timeout: PositiveDuration = timedelta(seconds=60)
    """How long one request may take, from connecting to the last byte."""
    max_requests_per_second: Rate = 20.0
    """Ceiling for every second, without bursts."""
    max_in_flight: Count = 4
    """Requests that may be unanswered at one time."""
    max_url_chars: Annotated[int, Field(ge=256, le=64_000), NotBool] = 8_000
    """Longest URL, after `url`. Less is found out by each run anew; the report says what to write here."""
    max_request_bytes: Annotated[int, Field(ge=1_000), NotBool] = 4_194_304
    """Longest body of a request. Less is found out by each run anew; the report says what to write here."""


class TagClass(Section):
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


class Extraction(Section):
    """Which tags are read, which time, and in what portions."""

    tags: TextList = ()
    """WebIDs, paths (`\\\\SERVER\\tag`) and names of tags."""
    tag_name_filter: TextList = ()
    """Name patterns with `*` and `?`; `"*"` takes every tag of the data server."""
    data_server: Text | None = None
    """Data server that names and patterns are looked up on. Needed where there are several."""
    af_query: Text | None = None
    """Query for attributes in the asset framework whose tags are read."""
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
    """How often tags of no class are read. Has an effect only with --follow; else whoever starts runs decides."""
    classes: tuple[TagClass, ...] = ()
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
    """Ask again from where a full answer was cut."""
    clock_tolerance: PositiveDuration = timedelta(minutes=15)
    """How far the archive's clock may be ahead of the other clocks. Beyond it nothing is read, and the run says so."""
    recreated_tags: Literal["from_start", "continue"] = "from_start"
    """Where a tag begins whose point was created anew under the same name: at start_date, or where the old point ended."""
    assumed_interval: PositiveDuration = timedelta(seconds=60)
    """Time expected between two events of a tag that was never read; only for planning."""


class AssetFramework(Section):
    """Elements and attributes of the asset framework."""

    enabled: bool = False
    """Read the asset framework."""
    database: Text | None = None
    """Name, path or WebID of the AF database."""
    templates: TextList = ()
    """Element templates to read; none: all."""
    attributes: TextList = ()
    """Attributes to read; none: all."""


class EventFrames(Section):
    """Event frames."""

    enabled: bool = False
    """Read event frames."""
    database: Text | None = None
    """Name, path or WebID of the AF database."""
    templates: TextList = ()
    """Frame templates to read; none: all."""
    lookback: Duration | None = None
    """How long after its end a frame is read again."""
