"""The settings and the statistics of the client. Values only.

Invariant: settings that exist can be used. `auth` shows no secret in its repr, and nothing else here is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from config.errors import ConfigurationError
from engine.piweb.requests import MAX_BATCH_BYTES, MAX_PATH_CHARS

from .auth import Anonymous, Auth


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to reach PI Web API, and how many requests it can take."""

    url: str
    auth: Auth = field(default_factory=Anonymous)
    ca_bundle: str | None = None
    verify_tls: bool = True
    timeout_secs: float = 60.0
    max_requests_per_second: float = 20.0
    max_in_flight: int = 4
    retry_attempts: int = 5
    retry_initial_wait_secs: float = 0.5
    retry_max_wait_secs: float = 30.0
    max_retry_after_secs: float = 120.0
    max_body_bytes: int = 64 << 20  # of an answer, unpacked
    max_url_chars: int = MAX_PATH_CHARS  # path and query, below `url`
    max_request_bytes: int = MAX_BATCH_BYTES
    user_agent: str = "osipi-connector"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(
                "pi_web_api.url is not an address.", hint="Write it like https://pi.corp.example/piwebapi."
            )
        if parts.username or parts.password:
            raise ConfigurationError(
                "pi_web_api.url holds a user name or password.",
                hint="Take them out, and set pi_web_api.username and password.",
            )
        if self.max_requests_per_second <= 0 or self.max_in_flight < 1 or self.timeout_secs <= 0:
            raise ConfigurationError(
                "max_requests_per_second, max_in_flight and timeout must be above zero.", hint="Check pi_web_api."
            )

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counted since the client was opened. `requests` is what was sent, retries included."""

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_received: int = 0  # as sent, before decompression
    in_flight: int = 0
    window: int = 0  # what the pace allows in flight now
    rate: float = 0.0  # requests a second that it allows now
    waited_secs: float = 0.0  # for a turn at the gate, all requests together
    first_byte_secs: float = 0.0  # recent average
