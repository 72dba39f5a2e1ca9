"""Puts Databricks secrets into a configuration, just before a run needs them, and cleans credentials.

The function that reads a secret can be replaced. databricks-sdk takes seconds to import, so it is imported only when
there is a secret to read. Invariant: an error names scope and key, never a value.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import SecretStr

from .checks import uses_simulator
from .errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    ExtractError,
    UnavailableError,
)
from .fields import Section
from .model import Config
from .model_source import PiWebApiConfig
from .problems import InvalidConfigurationError, Path, Problem, dotted
from .references import SECRETS, put_secrets, resolve, secret_references
from .validation import validate

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

SecretReader: TypeAlias = Callable[[str, str], str]
"""(scope, key) to value. Raises `UnknownSecretError` where there is no such secret."""
Address: TypeAlias = tuple[str, str]

# `str.strip` leaves a byte order mark and a zero-width space alone.
_INVISIBLE = "\ufeff\u200b"
_OF_PI = ("url", "username", "password", "token")
_OF_OAUTH = ("client_id", "client_secret", "token_url")
# Keys of SECRETS that say who logs in, and prove nothing.
_NAMES = frozenset({"username", "client_id"})
_SECRET_OPTION = re.compile("secret|key|token|password|sas", re.IGNORECASE)
_S = TypeVar("_S", bound=Section)


class UnknownSecretError(ConfigurationError):
    """No such scope or key."""


def resolve_secrets(config: Config, secret_reader: SecretReader | None = None) -> Config:
    """`config` with every `${secret:scope/key}` and every credential of `secrets_scope` put in.

    Sends no request where there is nothing to look up. Blocks; call it from a thread inside an event loop.

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


def put_local_references(config: Config) -> Config:
    """`config`, loaded without secrets, with each environment variable and file put in where a credential stands.

    Raises `InvalidConfigurationError`, which names every one that is not there.
    """
    document = _as_written(config)
    texts = dict(_credentials(document))
    if not any("${" in text for text in texts.values()):
        return config
    referenced = resolve(_put_all({}, texts), env=os.environ)
    return validate(
        _put_all(document, dict(_credentials(referenced.document))),
        source="the configuration with its references",
        references=referenced.references,
        problems=referenced.problems,
    )


def credentials_in_full(config: Config) -> tuple[str, ...]:
    """The keys of credentials that are no reference. `config` is one that was loaded without secrets."""
    return tuple(
        dotted(path)
        for path, text in _credentials(_as_written(config))
        if "${" not in text
        and path[-1] not in _NAMES
        and (path[0] != "storage" or _SECRET_OPTION.search(str(path[-1])))
    )


def _credentials(document: Any) -> Iterator[tuple[Path, str]]:
    """The texts of all keys that hold credentials."""
    for key in SECRETS:
        yield from _texts_at(document, key)


def _texts_at(value: Any, key: Path, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if not key:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str):
            yield path, text
    elif isinstance(value, dict):
        for name in value if key[0] == "*" else {key[0]} & value.keys():
            yield from _texts_at(value[name], key[1:], (*path, name))
    elif isinstance(value, list | tuple) and key[0] == "*":
        for index, item in enumerate(value):
            yield from _texts_at(item, key[1:], (*path, index))


def _put_all(document: Any, values: Mapping[Path, str]) -> Any:
    for path, value in values.items():
        document = _with(document, path, value)
    return document


def without_alerts(config: Config) -> Config:
    """The configuration without receivers of alerts: a run does not need their secrets."""
    monitoring = config.monitoring.model_copy(update={"slack_webhook_url": None, "alerts": ()})
    return config.model_copy(update={"monitoring": monitoring})


def only_alerts(config: Config) -> Config:
    """The receivers of alerts alone."""
    return Config(monitoring=config.monitoring)


def _as_written(section: Section) -> dict[str, Any]:
    """The values under their YAML keys, without those that are left to their defaults."""
    return {
        field.alias or name: _plain(getattr(section, name))
        for name, field in type(section).model_fields.items()
        if name in section.model_fields_set
    }


def _plain(value: Any) -> Any:
    """Sections as mappings, those of a list too."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return _as_written(value) if isinstance(value, Section) else value


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


def _scope_credentials(pi: PiWebApiConfig) -> Iterator[tuple[Path, Address]]:
    """The credentials that the login needs, that the configuration does not have, and that the scope must hold."""
    if pi.secrets_scope is None:
        return
    scope = pi.secrets_scope
    if pi.auth_type in {"auto", "basic", "ntlm"}:
        if pi.username is None:
            yield ("pi_web_api", "username"), (scope, pi.username_key)
        if pi.password is None:
            yield ("pi_web_api", "password"), (scope, pi.password_key)
    elif pi.token is None and (pi.auth_type == "bearer" or (pi.auth_type == "oauth" and pi.oauth.client_id is None)):
        yield ("pi_web_api", "token"), (scope, pi.oauth_token_key)


def _read_all(wanted: dict[Path, list[Address]], reader: SecretReader) -> dict[Address, str]:
    """Read every wanted secret once."""
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
            if client is None:
                from .workspace import workspace_client

                client = workspace_client()
            value = client.secrets.get_secret(scope, key).value
        except (OSError, ValueError) as error:  # the SDK's errors are OSErrors; its setup raises ValueError
            refused = _translated(error, scope, key)
        else:
            return _decoded(value)
        # Raised out here: the SDK's errors quote the answer.
        raise refused

    return read


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


def tidied(pi: PiWebApiConfig) -> tuple[PiWebApiConfig, tuple[str, ...]]:
    """Strip blanks and line breaks, as files and secrets end with, from credentials and addresses. Warn of each."""
    oauth, inner = _stripped(pi.oauth, _OF_OAUTH)
    outer, names = _stripped(pi, _OF_PI)
    if inner:
        outer = outer.model_copy(update={"oauth": oauth})
    found = [*(f"pi_web_api.{name}" for name in names), *(f"pi_web_api.oauth.{name}" for name in inner)]
    return outer, tuple(
        f"{key} begins or ends with blanks or a line break, which are left out: take them out of the secret or file"
        for key in found
    )


def _stripped(section: _S, names: tuple[str, ...]) -> tuple[_S, list[str]]:
    changed: dict[str, str | SecretStr] = {}
    for name in names:
        value = getattr(section, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            continue
        bare = _bare(text)
        if bare != text:
            changed[name] = SecretStr(bare) if isinstance(value, SecretStr) else bare
    if "url" in changed and isinstance(url := changed["url"], str):
        changed["url"] = url.rstrip("/")
    return (section.model_copy(update=changed) if changed else section), list(changed)


def _bare(text: str) -> str:
    while (bare := text.strip().strip(_INVISIBLE)) != text:
        text = bare
    return text
