"""What the client of PI Web API is told, and what it tells about itself. Values only.

Invariant: settings that exist can be used; `auth` shows no secret in its repr, and nothing else here is one.
"""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from config.errors import ConfigurationError
from engine.piweb.requests import MAX_BATCH_BYTES, MAX_PATH_CHARS

from .auth import Anonymous, Auth

__all__ = ["ClientSettings", "ClientStats", "warn_of_danger"]

_log = logging.getLogger("osipi.net")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to reach PI Web API, and how hard to press it."""

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
    max_body_bytes: int = 64 << 20  # of an answer
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
    waited_secs: float = 0.0  # for a turn at the gate, all requests together
    first_byte_secs: float = 0.0  # recent average


def warn_of_danger(settings: ClientSettings) -> None:
    """Log, once per client and loudly, what the settings leave unprotected."""
    parts = urlsplit(settings.url)
    if parts.scheme == "https" and not settings.verify_tls:
        _log.warning(
            "TLS VERIFICATION IS OFF (pi_web_api.verify_tls: false): anyone on the way to %s can read the "
            "credentials and change the data. Set pi_web_api.ca_bundle instead.",
            settings.host,
        )
    if parts.scheme == "http" and not isinstance(settings.auth, Anonymous) and not _is_loopback(parts.hostname or ""):
        _log.warning("Credentials for %s travel without TLS: pi_web_api.url begins with http://.", settings.host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
