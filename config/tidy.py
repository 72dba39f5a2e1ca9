"""Credentials and addresses as they are meant: without the line break that files and secrets end with. Pure."""

from __future__ import annotations

from typing import TypeVar

from pydantic import SecretStr

from .fields import Section
from .model_source import PiWebApi

__all__ = ["tidied"]

# `str.strip` leaves a byte order mark and a zero-width space alone.
_INVISIBLE = "\ufeff\u200b"
_OF_PI = ("url", "username", "password", "token")
_OF_OAUTH = ("client_id", "client_secret", "token_url")
_S = TypeVar("_S", bound=Section)


def tidied(pi: PiWebApi) -> tuple[PiWebApi, tuple[str, ...]]:
    """The same without blanks and line breaks around credentials and addresses, and a warning for each there were."""
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
