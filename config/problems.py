"""What is wrong with a configuration, in words: one problem per place, all of them at once.

Knows pydantic's error list and turns it into sentences. Reads nothing, decides nothing about what is
valid. The invariant: a value is repeated in a sentence only where the kind of the error proves that
the field is public (a number, a duration, one of a set of words) and the user wrote it there
himself; text, and anything that came out of a `${...}` reference, is only named by its kind.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_core import ErrorDetails

from .errors import ConfigurationError

__all__ = ["ExpectedError", "InvalidConfigurationError", "Path", "Problem", "dotted", "from_pydantic"]

Path: TypeAlias = tuple[str | int, ...]


class ExpectedError(ValueError):
    """Raised by our own validators: what they expected, never what they found.

    `suggestion` is a value the user probably meant; `public` says that the value found may be shown.
    """

    def __init__(self, expected: str, *, suggestion: str = "", public: bool = True) -> None:
        super().__init__(expected)
        self.expected = expected
        self.suggestion = suggestion
        self.public = public


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right. `involves` are other places that play a part in it."""

    path: Path
    found: str
    expected: str
    suggestion: str = ""
    involves: tuple[Path, ...] = ()

    def __str__(self) -> str:
        sentence = f"{dotted(self.path)}: found {self.found}; expected {self.expected}"
        return f"{sentence}; did you mean `{self.suggestion}`?" if self.suggestion else sentence


class InvalidConfigurationError(ConfigurationError):
    """Everything that is wrong with one configuration."""

    def __init__(self, source: str, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.source = source
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            message = f"{source}: {self.problems[0]}"
        else:
            message = "\n  ".join([f"{source} has {len(self.problems)} problems:", *map(str, self.problems)])
        super().__init__(message, hint=hint)


def dotted(path: Path) -> str:
    """`("extraction", "tags", 3)` as `$.extraction.tags[3]`."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}" for part in path)


def shown_key(key: str) -> str:
    """A key as it may be shown: one that looks like no key may be a value that lost its place."""
    return key if re.fullmatch(r"[\w.-]{1,60}", key) else f"<a key of {len(key)} characters>"


def closest(word: str, known: Iterable[str]) -> str:
    """The known word a typing error away, or nothing."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), "")


# What was expected, by the kind of pydantic's error; the braces are filled from the error's context.
_EXPECTED = {
    "missing": "a value",
    "model_type": "a section with keys of its own",
    "dict_type": "a section with keys of its own",
    "string_type": "text (put it in quotes)",
    "string_sub_type": "text (put it in quotes)",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "the path of a file",
    "byte_size": "a size such as 256MiB, or a number of bytes",
    "byte_size_unit": "a size such as 256MiB, or a number of bytes",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
}
# Errors of fields that hold public values. Text fields report string_type and are not among them.
_PUBLIC = frozenset(
    {
        "int_type", "int_parsing", "int_parsing_size", "int_from_float", "float_type", "float_parsing", "finite_number",
        "bool_type", "bool_parsing", "byte_size", "byte_size_unit", "greater_than", "greater_than_equal", "less_than",
        "less_than_equal", "literal_error",
    }
)  # fmt: skip


def from_pydantic(
    details: Iterable[ErrorDetails], *, references: Mapping[Path, str], keys: Mapping[Path, Sequence[str]]
) -> list[Problem]:
    """Pydantic's errors as problems.

    `references` names the places whose text came out of `${...}`; `keys` lists what each section knows.
    """
    return [
        _unknown_key(detail["loc"], keys) if detail["type"] == "extra_forbidden" else _wrong_value(detail, references)
        for detail in details
    ]


def _unknown_key(path: Path, keys: Mapping[Path, Sequence[str]]) -> Problem:
    section = tuple(part for part in path[:-1] if isinstance(part, str))  # items of a list are alike
    key = str(path[-1])
    known = keys.get(section, ())
    guess = closest(key, known)
    if not guess:  # right key, wrong section
        homes = [(*home, key) for home, names in keys.items() if key in names]
        guess = dotted(homes[0]).removeprefix("$.") if len(homes) == 1 else ""
    expected = "a known key" if guess else "one of " + ", ".join(known)
    return Problem(path, "an unknown key", expected, guess)


def _wrong_value(detail: ErrorDetails, references: Mapping[Path, str]) -> Problem:
    kind, path, value, context = detail["type"], detail["loc"], detail["input"], detail.get("ctx", {})
    suggestion, public = "", kind in _PUBLIC
    error = context.get("error")
    if kind == "missing":
        value = None  # pydantic gives what it is missing in
    if kind == "literal_error":
        # The context holds the words only as a sentence: "'basic', 'bearer' or 'ntlm'".
        words = re.findall(r"'([^']*)'", context["expected"])
        expected = "one of " + ", ".join(words)
        suggestion = closest(value.lower(), words) if isinstance(value, str) else ""
    elif isinstance(error, ExpectedError):
        expected, suggestion, public = error.expected, error.suggestion, error.public
    else:
        expected = _EXPECTED.get(kind, "a valid value").format_map(context)
    if path in references:
        return Problem(path, f"the value of {references[path]}", expected)
    return Problem(path, _described(value, public=public), expected, suggestion)


def _described(value: Any, *, public: bool) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a section"
        case list() | tuple():
            return "a list"
        case _ if not public:
            return _kind(value)
        case str():
            return f"'{value}'" if len(value) <= 60 else f"text of {len(value)} characters"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _kind(value: Any) -> str:
    match value:
        case "":
            return "empty text"
        case str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case _:
            return f"a {type(value).__name__}"
