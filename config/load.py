"""Loads a `Config` from a YAML file, command-line overrides and the environment."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from .checks import warnings
from .errors import ConfigurationError
from .model import Config
from .problems import InvalidConfigurationError, Path, Position, Problem, dotted, shown_key
from .references import SECRETS, resolve
from .validation import validate
from .yaml_text import Document, parse_document, parse_scalar

_DEFAULT = "examples/local.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, its warnings, and where it came from. `options`: the paths that options have set, and which.

    `written`: the document with its overrides, before any reference was put in, so that another process can load it.
    """

    config: Config
    warnings: tuple[str, ...]
    source: str
    options: Mapping[Path, str] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict, repr=False)


def load(
    path: str | os.PathLike[str] | None,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
    *,
    options: Mapping[str, str] = MappingProxyType({}),
    secrets: bool = True,
) -> Loaded:
    """Read the file at `path`, or the embedded default, with `overrides` such as `extraction.mode=full`.

    `options`: the options that stand for an override, by its key: errors name them. The others came from `--set`.
    `secrets`: whether environment variables and files are looked up where a secret stands.

    Raises:
        ConfigurationError: the file cannot be read or is no YAML.
        InvalidConfigurationError: names everything that is wrong with its content.

    """
    if path is None:
        source = "the embedded default"
        text = files(__package__).joinpath(_DEFAULT).read_bytes()
    else:
        source = os.fspath(path)
        text = _read(source)
    return _loaded(parse_document(text, source), overrides, env, source, options, secrets=secrets)


def from_mapping(
    document: Any,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
    *,
    source: str = "the configuration",
    options: Mapping[str, str] = MappingProxyType({}),
    secrets: bool = True,
) -> Loaded:
    """The same from a document that is already in memory."""
    return _loaded(Document(document, None), overrides, env, source, options, secrets=secrets)


def _loaded(
    written: Document,
    overrides: Sequence[str],
    env: Mapping[str, str],
    source: str,
    options: Mapping[str, str],
    *,
    secrets: bool,
) -> Loaded:
    document = {} if written.value is None else written.value
    if not isinstance(document, dict):
        problem = Problem((), "a list" if isinstance(document, list) else "one value", "sections such as pi_web_api")
        raise ConfigurationError(f"{source}: {problem}", hint="`config schema` describes every key")
    given: dict[Path, str] = {}

    def locate(path: Path) -> Position | None:
        if any(path[: len(keys)] == keys for keys in given):
            return None
        return written.position(path)

    refused: ConfigurationError
    try:
        document = copy.deepcopy(document)
        given |= {keys: _option(keys, options) for keys in [_override(document, override) for override in overrides]}
        referenced = resolve(document, env=env, left=() if secrets else SECRETS)
        config = validate(
            referenced.document,
            source=source,
            references=referenced.references,
            problems=referenced.problems,
            locate=locate,
        )
    except RecursionError:
        refused = ConfigurationError(
            f"{source}: an alias contains itself", hint="a configuration has at most four levels"
        )
    except InvalidConfigurationError as error:
        refused = error.named_by(given)
    else:
        return Loaded(config, tuple(warnings(config)), source, given, document)
    raise refused


def _option(keys: Path, options: Mapping[str, str]) -> str:
    name = ".".join(map(str, keys))
    return options.get(name) or f"--set {name}"


def _read(path: str) -> bytes:
    try:
        return FilePath(path).read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or type(error).__name__}"
    raise ConfigurationError(message, hint="give the path of a YAML file with -c")


def _override(document: dict[str, Any], override: str) -> Path:
    """Put one `a.b=value` into `document`. Gives the path that it set."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        # What was written may be a value without its key, so it is not repeated.
        raise ConfigurationError("--set: found no `key=value`", hint="write for example --set extraction.mode=full")
    value = parse_scalar(text, f"--set {'.'.join(map(shown_key, keys))}")
    section = document
    for depth, key in enumerate(keys[:-1], start=1):
        if section.get(key) is None:
            section[key] = {}
        section = section[key]
        if not isinstance(section, dict):
            raise ConfigurationError(f"--set: {dotted(tuple(keys[:depth]))} is no section", hint="set it as a whole")
    section[keys[-1]] = value
    return tuple(keys)
