"""Classes of tags: how often a tag is read, how far it is looked back at, and how far ahead. Pure.

Invariant: every tag is of exactly one class: the first in the configuration that matches its name, else the default.
PI ignores case in names, and so do classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from config import ExtractionConfig
from config.checks import DEFAULT_CLASS

from ..model import Micros

_WILD = frozenset("*?")


@dataclass(frozen=True, slots=True)
class TagClass:
    """A class as the engine needs it; `lookback_micros` 0: nothing is compared again.

    `horizon_micros`: how far ahead tags that store future data are read; None: not configured.
    """

    name: str
    interval_micros: Micros
    lookback_micros: Micros
    horizon_micros: Micros | None = None


def classes_of(extraction: ExtractionConfig) -> tuple[TagClass, ...]:
    """All classes in their order, the default one last."""
    own = (
        TagClass(
            one.name,
            _micros(one.interval or extraction.interval),
            _micros(_first(one.lookback, extraction.lookback)),
            _horizon(_first(one.future_horizon, extraction.future_horizon)),
        )
        for one in extraction.classes
    )
    default = TagClass(
        DEFAULT_CLASS, _micros(extraction.interval), _micros(extraction.lookback), _horizon(extraction.future_horizon)
    )
    return (*own, default)


def class_of(extraction: ExtractionConfig) -> Callable[[str], TagClass]:
    """Tell the class of a tag by its name. Patterns are compiled here, once, for names by the ten thousand."""
    *own, default = classes_of(extraction)
    matchers = [(matcher(one.tags), found) for one, found in zip(extraction.classes, own, strict=True)]

    if not matchers:
        return lambda _name: default

    def of(name: str) -> TagClass:
        return next((found for matches, found in matchers if matches(name)), default)

    return of


def matcher(texts: Iterable[str]) -> Callable[[str], bool]:
    """Tell whether a name is among these names, patterns with `*` and `?`, and paths. Case is ignored.

    Plain names by the ten thousand are looked up; only patterns are tried.
    """
    names = [_name_in(text).casefold() for text in texts]
    plain = frozenset(name for name in names if not _WILD.intersection(name))
    patterns = "|".join(_expression(name) for name in names if name not in plain)
    wild = re.compile(patterns, re.DOTALL).fullmatch if patterns else _nothing

    def matches(name: str) -> bool:
        folded = name.casefold()
        return folded in plain or wild(folded) is not None

    return matches


def _expression(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern)


def _nothing(_name: str) -> None:
    return None


def _name_in(text: str) -> str:
    r"""The name in `\\SERVER\tag`; anything else is a name, or a pattern of names, as it is."""
    if not text.startswith("\\\\"):
        return text
    return text[2:].partition("\\")[2] or text


def _first(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    return other if one is None else one


def _horizon(duration: timedelta | None) -> Micros | None:
    return None if duration is None else _micros(duration)


def _micros(duration: timedelta | None) -> Micros:
    return 0 if duration is None else duration // timedelta(microseconds=1)
