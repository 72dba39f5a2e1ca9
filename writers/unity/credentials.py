"""Short-lived credentials for the storage of one table: from the catalog's answer to storage options.

Invariant: `VendedCredentials.options` returns keys that belong together and stay valid for a while; a commit that
starts with them has time to finish.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config.errors import ConfigurationError, RetryError

# Credentials are refreshed this long before they expire, or half way where they live for less than twice that.
_MARGIN_SECS = 900.0
# Credentials that do not say when they expire are refreshed this often.
_UNSAID_SECS = 1800.0
# Where new ones cannot be had for the moment, the old ones are used until this long before they expire, and new ones
# are asked for this often.
_LAST_SECS = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Options as delta-rs and its Arrow filesystem spell them. Empty for local files."""

    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    expires_at: float | None = None  # seconds since 1970


def from_temporary(answer: Mapping[str, Any]) -> Credentials:
    """Read an answer of temporary-table-credentials or temporary-path-credentials."""
    aws = answer.get("aws_temp_credentials") or {}
    azure = answer.get("azure_user_delegation_sas") or {}
    return _credentials(
        access_key=aws.get("access_key_id"),
        secret_key=aws.get("secret_access_key"),
        session_token=aws.get("session_token"),
        sas_token=azure.get("sas_token"),
        google=bool((answer.get("gcp_oauth_token") or {}).get("oauth_token")),
        expires_ms=answer.get("expiration_time"),
    )


def from_delta_api(answer: Mapping[str, Any]) -> Credentials:
    """Read the `storage-credentials` of the Delta API; the first one covers the whole table."""
    found: Mapping[str, Any] = next(iter(answer.get("storage-credentials") or ()), {})
    config = found.get("config") or {}
    return _credentials(
        access_key=config.get("s3.access-key-id"),
        secret_key=config.get("s3.secret-access-key"),
        session_token=config.get("s3.session-token"),
        sas_token=config.get("azure.sas-token"),
        google=bool(config.get("gcs.oauth-token")),
        expires_ms=found.get("expiration-time-ms"),
    )


def _credentials(
    *,
    access_key: str | None,
    secret_key: str | None,
    session_token: str | None,
    sas_token: str | None,
    google: bool,
    expires_ms: int | None,
) -> Credentials:
    if google:
        raise ConfigurationError(
            "The table lies on Google Cloud Storage, where the catalog gives out OAuth tokens; "
            "delta-rs, which writes for us, has no way to take one.",
            hint="Use tables on AWS or Azure, or set storage.root to a gs:// path with a service account.",
        )
    options = {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_SESSION_TOKEN": session_token,
        "azure_storage_sas_key": sas_token,
    }
    # The open-source server sends an expiry of 0 for none.
    return Credentials({k: str(v) for k, v in options.items() if v}, expires_ms / 1000 if expires_ms else None)


def is_due(now: float, fetched_at: float, expires_at: float | None) -> bool:
    """Decide whether to ask for new ones."""
    if expires_at is None:
        return now - fetched_at >= _UNSAID_SECS
    return now >= expires_at - min(_MARGIN_SECS, (expires_at - fetched_at) / 2)


def is_usable(now: float, fetched_at: float, expires_at: float | None) -> bool:
    """Decide whether those that are due may be used on while new ones cannot be had."""
    return now < (fetched_at + 2 * _UNSAID_SECS if expires_at is None else expires_at) - _LAST_SECS


class VendedCredentials:
    """The credentials of one table, asked for when they are first needed and again before they expire. A catalog that
    cannot give new ones for a moment ends nothing while the old ones are good.
    """

    def __init__(self, fetch: Callable[[], Credentials], *, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Credentials | None = None
        self._fetched_at = 0.0
        self._not_before = 0.0

    def __repr__(self) -> str:
        expires_at = None if self._current is None else self._current.expires_at
        return f"VendedCredentials(expires_at={expires_at})"

    def options(self) -> Mapping[str, str]:
        """Return options that stay valid for a while. Raises what a request to the catalog raises."""
        with self._lock:
            now, current = self._clock(), self._current
            if current is None:
                current = self._current = self._fetched(now)
            elif is_due(now, self._fetched_at, current.expires_at):
                usable = is_usable(now, self._fetched_at, current.expires_at)
                if usable and now < self._not_before:
                    return current.options
                try:
                    current = self._current = self._fetched(now)
                except RetryError:
                    if not usable:
                        raise
                    self._not_before = now + _LAST_SECS
            return current.options

    def _fetched(self, now: float) -> Credentials:
        found, self._fetched_at = self._fetch(), now
        return found
