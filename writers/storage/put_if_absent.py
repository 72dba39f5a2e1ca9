"""Puts an object only where there is none, on every storage that delta-rs knows, as delta-rs does it.

obstore is the Python interface of the same library of storage clients. It takes the same options, in two groups.
Invariant: of many writers that put one name at once, one succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError, UnknownConfigurationKeyError
from obstore.store import LocalStore, from_url

# Options of the HTTP client, which obstore takes separately from those of the storage.
_CLIENT = frozenset(
    {
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only"),
        *("pool_idle_timeout", "pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes", "proxy_url"),
        *("timeout", "user_agent"),
    }
)
_PREFIXES = ("aws_", "azure_", "google_")


def create_object(uri: str, options: Mapping[str, str], path: str, content: bytes) -> None:
    """Put it. Raises `FileExistsError` where there is one, `OSError` for everything else that the storage says."""
    try:
        obstore.put(_store(uri, options), path, content, mode="create")
    except (AlreadyExistsError, PreconditionError):
        raise FileExistsError(path) from None
    except BaseError as error:
        raise OSError(str(error)) from None


def _store(uri: str, options: Mapping[str, str]) -> Any:
    if "://" not in uri:
        return LocalStore(uri)
    named = {name.lower(): value for name, value in options.items()}
    client: Any = {_bare(name): value for name, value in named.items() if _bare(name) in _CLIENT}
    config: Any = {name: value for name, value in named.items() if _bare(name) not in _CLIENT and _known(uri, name)}
    return from_url(uri, config=config, client_options=client)


def _known(uri: str, name: str) -> bool:
    """Whether an option means something to the storage. delta-rs, too, leaves out what does not."""
    config: Any = {name: ""}
    try:
        from_url(uri, config=config)
    except UnknownConfigurationKeyError:
        return False
    except BaseError:
        return True  # the option is known, but not enough by itself
    return True


def _bare(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)
