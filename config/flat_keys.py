"""The flat keys that notebooks use in place of sections, such as `pi_web_api_url`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import ConfigurationError
from .problems import FLAT_KEYS, InvalidConfigurationError, Path

# Their values come from a secret scope: a `${` in a password is part of it.
_VERBATIM = frozenset({"pi_username", "pi_password", "pi_token", "oauth_token"})
_REFERENCE = re.compile(r"\$\{(?:env|file|secret):[^{}]+\}")


def has_flat_keys(document: Mapping[str, Any]) -> bool:
    """Whether a document has any of these keys."""
    return not FLAT_KEYS.keys().isdisjoint(document)


def nested(document: Mapping[str, Any]) -> dict[str, Any]:
    """Sections as in YAML, with flat keys put into theirs. Raises `ConfigurationError` for a value given twice."""
    sections = {key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()}
    for key in [key for key in sections if key in FLAT_KEYS]:
        value = sections.pop(key)
        section, name = FLAT_KEYS[key]
        inner = sections.setdefault(section, {})
        if not isinstance(inner, dict) or name in inner:
            raise ConfigurationError(f"{key} stands beside {section}.{name}", hint="write one of the two")
        inner[name] = _as_given(key, value)
        if key == "af_database_id" and value:
            inner.setdefault("enabled", True)  # a database that is named is to be read
    return sections


def _as_given(key: str, value: Any) -> Any:
    if key in _VERBATIM and isinstance(value, str):
        return value if _REFERENCE.fullmatch(value) else value.replace("${", "$${")
    if key == "tags" and isinstance(value, list | tuple):  # "A, B".split(",") leaves blanks, and "" one empty name
        return [bare for tag in value if (bare := tag.strip() if isinstance(tag, str) else tag) != ""]
    return value


def with_flat_keys(error: InvalidConfigurationError, document: Mapping[str, Any]) -> InvalidConfigurationError:
    """The same error, with the flat keys named that the document has."""
    flat: dict[Path, str] = {path: key for key, path in FLAT_KEYS.items() if key in document}
    problems = [
        replace(problem, found=f"{problem.found} (`{flat[names]}`)") if (names := problem.path[:2]) in flat else problem
        for problem in error.problems
    ]
    return InvalidConfigurationError(error.source, problems, hint=error.hint)
