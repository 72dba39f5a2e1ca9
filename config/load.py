"""A YAML file, command-line overrides and the environment to one `Config`. The only place that opens the file."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Any

from .checks import warnings
from .errors import ConfigurationError
from .model import Config
from .problems import Problem, dotted, shown_key
from .references import resolve
from .validation import validate
from .yaml_text import parse, parse_scalar

__all__ = ["Loaded", "from_mapping", "load"]

_DEFAULT = "examples/local.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, what to say about it, and where it came from."""

    config: Config
    warnings: tuple[str, ...]
    source: str


def load(
    path: str | os.PathLike[str] | None,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
) -> Loaded:
    """Read the file at `path`, or the embedded default, with `overrides` such as `extraction.mode=full`.

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
    return from_mapping(parse(text, source), overrides, env, source=source)


def from_mapping(
    document: Any,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
    *,
    source: str = "the configuration",
) -> Loaded:
    """The same from values that are already in memory."""
    try:
        return _from_mapping(document, overrides, env, source)
    except RecursionError:
        message = f"{source}: an alias contains itself"
    raise ConfigurationError(message, hint="a configuration has at most four levels")


def _from_mapping(document: Any, overrides: Sequence[str], env: Mapping[str, str], source: str) -> Loaded:
    if document is None:
        document = {}
    if not isinstance(document, dict):
        problem = Problem((), "a list" if isinstance(document, list) else "one value", "sections such as pi_web_api")
        raise ConfigurationError(f"{source}: {problem}", hint="`config schema` describes every key")
    document = copy.deepcopy(document)
    for override in overrides:
        _override(document, override)
    referenced = resolve(document, env=env)
    config = validate(
        referenced.document, source=source, references=referenced.references, problems=referenced.problems
    )
    return Loaded(config, tuple(warnings(config)), source)


def _read(path: str) -> bytes:
    try:
        return FilePath(path).read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or type(error).__name__}"
    raise ConfigurationError(message, hint="give the path of a YAML file with -c")


def _override(document: dict[str, Any], override: str) -> None:
    """Put one `a.b=value` into `document`."""
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
