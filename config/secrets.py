"""Databricks secrets into a configuration, just before a run needs them.

Which secrets are needed is decided here, purely; reading one is a function that can be exchanged.
databricks-sdk takes seconds to import and is imported only when there is something to read. The
invariant: an error names scope and key, never a value.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import SecretStr

from .checks import uses_simulator
from .errors import AccessDeniedError, AuthenticationError, ConfigurationError, ExtractError, UnavailableError
from .fields import Section
from .model import Config, PiWebApi
from .problems import InvalidConfigurationError, Path, Problem
from .references import put_secrets, secret_references
from .validation import validate

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

__all__ = ["SecretReader", "UnknownSecretError", "resolve_secrets", "workspace_secrets"]

SecretReader: TypeAlias = Callable[[str, str], str]
"""(scope, key) to value. Raises `UnknownSecretError` where there is no such secret."""
Address: TypeAlias = tuple[str, str]

RETRY_TIMEOUT_SECS = 30  # the SDK's own 300 s is longer than anybody watches an unreachable workspace


class UnknownSecretError(ConfigurationError):
    """No such scope or key."""


def resolve_secrets(config: Config, secret_reader: SecretReader | None = None) -> Config:
    """`config` with every `${secret:scope/key}` and every credential of `secrets_scope` put in.

    Asks nobody where there is nothing to look up. Blocks; call it from a thread inside an event loop.

    Raises:
        InvalidConfigurationError: names every secret that does not exist or does not fit.
        AuthenticationError, AccessDeniedError, UnavailableError: the workspace cannot be asked.

    """
    document = _as_written(config)
    written = dict(_written_references(document))
    scoped = {} if uses_simulator(config) else dict(_scope_credentials(config.pi_web_api))
    if not written and not scoped:
        return config
    reader = secret_reader or workspace_secrets()
    wanted = {path: secret_references(text) for path, text in written.items()}
    wanted |= {path: [address] for path, address in scoped.items()}
    secrets = _read_all(wanted, reader)
    for path, text in written.items():
        document = _with(document, path, put_secrets(text, secrets))
    for path, address in scoped.items():
        document = _with(document, path, secrets[address])
    references = {
        path: ", ".join(f"${{secret:{'/'.join(each)}}}" for each in addresses) for path, addresses in wanted.items()
    }
    return validate(document, source="the configuration with its secrets", references=references)


def _as_written(section: Section) -> dict[str, Any]:
    """The values under their YAML keys; what was left to defaults stays left to them."""
    return {
        field.alias or name: _as_written(value) if isinstance(value := getattr(section, name), Section) else value
        for name, field in type(section).model_fields.items()
        if name in section.model_fields_set
    }


def _written_references(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    match value:
        case dict():
            items: Iterable[tuple[str | int, Any]] = value.items()
        case list() | tuple():
            items = enumerate(value)
        case SecretStr():
            yield from _written_references(value.get_secret_value(), path)
            return
        case str() if secret_references(value):
            yield path, value
            return
        case _:
            return
    for key, item in items:
        yield from _written_references(item, (*path, key))


def _scope_credentials(pi: PiWebApi) -> Iterator[tuple[Path, Address]]:
    """What the way to log in needs, the configuration does not give, and the scope must hold."""
    if pi.secrets_scope is None:
        return
    scope = pi.secrets_scope
    if pi.auth_type in {"basic", "ntlm"}:
        if pi.username is None:
            yield ("pi_web_api", "username"), (scope, pi.username_key)
        if pi.password is None:
            yield ("pi_web_api", "password"), (scope, pi.password_key)
    elif pi.token is None and (pi.auth_type == "bearer" or (pi.auth_type == "oauth" and pi.oauth.client_id is None)):
        yield ("pi_web_api", "token"), (scope, pi.oauth_token_key)


def _read_all(wanted: dict[Path, list[Address]], reader: SecretReader) -> dict[Address, str]:
    """Every wanted secret, each asked for once."""
    secrets: dict[Address, str] = {}
    problems: list[Problem] = []
    asked: set[Address] = set()
    for path, addresses in wanted.items():
        for scope, key in addresses:
            if (scope, key) in asked:
                continue
            asked.add((scope, key))
            try:
                secrets[scope, key] = reader(scope, key)
            except UnknownSecretError as error:
                problems.append(Problem(path, f"secret {scope}/{key}, which {error.message}", "a secret that is text"))
    if problems:
        hint = "`databricks secrets list-secrets SCOPE` shows what is there, `databricks secrets put-secret SCOPE KEY` adds to it"
        raise InvalidConfigurationError("secrets", problems, hint=hint)
    return secrets


def _with(document: Any, path: Path, value: Any) -> Any:
    """`document` with `value` at `path`."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(document, list | tuple):
        return [_with(item, rest, value) if index == key else item for index, item in enumerate(document)]
    inner = document.get(key) if isinstance(document, dict) else None
    return {**document, key: _with(inner if inner is not None else {}, rest, value)}


def workspace_secrets(client: WorkspaceClient | None = None) -> SecretReader:
    """Read secrets of a Databricks workspace; without `client`, of the one the environment names."""

    def read(scope: str, key: str) -> str:
        nonlocal client
        try:
            client = client or _default_client()
            value = client.secrets.get_secret(scope, key).value
        except (OSError, ValueError) as error:  # the SDK's errors are OSErrors; its setup raises ValueError
            refused = _translated(error, scope, key)
        else:
            return _decoded(value)
        # Raised out here: the SDK's errors quote the answer.
        raise refused

    return read


def _default_client() -> WorkspaceClient:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config as WorkspaceConfig

    return WorkspaceClient(config=WorkspaceConfig(retry_timeout_seconds=RETRY_TIMEOUT_SECS))


def _decoded(value: str | None) -> str:
    try:
        return base64.b64decode(value or "", validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise UnknownSecretError("is not text")


def _translated(error: OSError | ValueError, scope: str, key: str) -> ExtractError:
    from databricks.sdk import errors

    match error:
        case errors.NotFound():
            return UnknownSecretError("does not exist")
        case errors.PermissionDenied():
            return AccessDeniedError(
                f"the workspace does not let us read secret {scope}/{key}",
                hint=f"grant it: databricks secrets put-acl {scope} PRINCIPAL READ",
            )
        case errors.Unauthenticated() | ValueError():
            return AuthenticationError(
                f"no login to the Databricks workspace, which is needed to read secret {scope}/{key}",
                hint="run `databricks auth login`, or set DATABRICKS_HOST and DATABRICKS_TOKEN",
            )
        case _:
            return UnavailableError(
                f"the Databricks workspace gave no answer for secret {scope}/{key} ({type(error).__name__})",
                hint="check DATABRICKS_HOST and the network",
            )
