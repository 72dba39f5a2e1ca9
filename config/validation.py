"""A plain document to a typed configuration, with everything that is wrong reported at once. Pure.

Validation stops at the first layer that fails, and people do not want to hear about one layer a
try. So where keys are wrong, what is right is judged without them, and a contradiction is reported
as long as none of the keys it involves is among the wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .checks import contradictions
from .model import Config, known_keys
from .problems import InvalidConfigurationError, Path, Position, Problem, from_pydantic

_HINT = "`config schema` describes every key"


def validate(
    document: Any,
    *,
    source: str,
    references: Mapping[Path, str] | None = None,
    problems: Sequence[Problem] = (),
    locate: Callable[[Path], Position | None] = lambda _path: None,
) -> Config:
    """The configuration in `document`.

    `references` are the paths that came out of `${...}`, `problems` what went wrong before. `locate` says where the key of
    a path stands in the file.

    Raises:
        InvalidConfigurationError: names every problem.

    """
    # A place that is known to be wrong is not judged a second time.
    config, details = _attempt(_without(document, [problem.path for problem in problems]))
    found = [*problems, *from_pydantic(details, references=references or {}, keys=known_keys())]
    if config is None:
        wrong = [problem.path for problem in found]
        config, _ = _attempt(_without(document, wrong))
    if config is not None:
        found += [problem for problem in contradictions(config) if not _touches(problem, found)]
    if found or config is None:
        found = [replace(problem, position=locate(problem.path)) for problem in found]
        raise InvalidConfigurationError(source, found, hint=_HINT)
    return config


def _attempt(document: Any) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(document), []
    except ValidationError as error:
        # Taken out of the exception here: it holds the values, and must not travel.
        return None, error.errors(include_url=False)


def _without(document: Any, paths: Sequence[Path]) -> Any:
    for path in paths:
        document = _pruned(document, path)
    return document


def _pruned(document: Any, path: Path) -> Any:
    """`document` without the key at `path`; of a list with one wrong item nothing is kept."""
    if not isinstance(document, dict) or not path:
        return {}
    key, rest = path[0], path[1:]
    if key not in document:
        return document
    inner = document[key]
    kept = {name: value for name, value in document.items() if name != key}
    return {**kept, key: _pruned(inner, rest)} if rest and isinstance(inner, dict) else kept


def _touches(problem: Problem, others: Sequence[Problem]) -> bool:
    wrong = {other.path for other in others}
    # A section that is wrong as a whole takes its keys with it.
    return any(path[:length] in wrong for path in (problem.path, *problem.involves) for length in range(len(path) + 1))
