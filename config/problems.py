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
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pydantic_core import ErrorDetails

from .errors import ConfigurationError
from .text import one_line

Path: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]


FLAT_KEYS: Mapping[str, tuple[str, str]] = {
    "pi_web_api_url": ("pi_web_api", "url"),
    "pi_auth_type": ("pi_web_api", "auth_type"),
    "pi_username": ("pi_web_api", "username"),
    "pi_password": ("pi_web_api", "password"),
    "pi_token": ("pi_web_api", "token"),
    "oauth_token": ("pi_web_api", "token"),
    "secrets_scope": ("pi_web_api", "secrets_scope"),
    "catalog": ("unity_catalog", "catalog"),
    "schema": ("unity_catalog", "schema"),
    "storage_root": ("storage", "root"),
    "tags": ("extraction", "tags"),
    "tag_name_filter": ("extraction", "tag_name_filter"),
    "start_date": ("extraction", "start_date"),
    "end_date": ("extraction", "end_date"),
    "af_query": ("extraction", "af_query"),
    "af_database_id": ("asset_framework", "database"),
    "include_event_frames": ("event_frames", "enabled"),
}
"""The keys that notebooks write without sections (`config.flat_keys`), and where YAML has them."""
# Sections of guides for other connectors, and where their content belongs.
_ELSEWHERE = dict.fromkeys(
    ("cluster_config", "spark_conf"), "nothing here: set it in the bundle (databricks.yml and resources/)"
)
_LONGEST_SHOWN = 60


class ExpectedError(ValueError):
    """Raised by our own validators: what they expected, never what they found.

    `suggestion` is a value the user probably meant; `public` says that the value found may be shown. `found`: what to
    show in its place.
    """

    def __init__(self, expected: str, *, suggestion: str = "", public: bool = True, found: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.suggestion = suggestion
        self.public = public
        self.found = found


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right. `involves` are other paths that play a part in it.

    `position` is the line and the column, both from 1, where the key stands in the file. Without a file there is none.
    `option`: the option of the command line that has set the value; empty if no option has.
    """

    path: Path
    found: str
    expected: str
    suggestion: str = ""
    involves: tuple[Path, ...] = ()
    position: Position | None = None
    option: str = ""

    def __str__(self) -> str:
        sentence = f"{self.option or dotted(self.path)}: found {self.found}; expected {self.expected}"
        return f"{sentence}; did you mean `{self.suggestion}`?" if self.suggestion else sentence

    def named_by(self, options: Mapping[Path, str]) -> Problem:
        """The same problem, named after the option that has set the value; `options` has the paths that options set.

        If an option has set only a value that plays a part in it, that is added.
        """
        option = _option_of(self.path, options)
        others = dict.fromkeys(filter(None, (_option_of(path, options) for path in self.involves)))
        if option or not others:
            return replace(self, option=option)
        return replace(self, expected=f"{self.expected} (by {', '.join(others)})")


class InvalidConfigurationError(ConfigurationError):
    """Everything that is wrong with one configuration."""

    def __init__(self, source: str, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.source = source
        self.problems = tuple(problems)
        if all(problem.option for problem in self.problems):
            source = "the command line"  # the file is not wrong
        if len(self.problems) == 1:
            [only] = self.problems
            lines = [str(only) if only.option else f"{', '.join(filter(None, (source, _place(only))))}: {only}"]
        else:
            lines = [f"{source} has {len(self.problems)} problems:", *map(_placed, self.problems)]
        super().__init__("", hint=hint)
        self.message = "\n  ".join(map(one_line, lines))  # a line for each problem
        self.args = (self.message,)

    def named_by(self, options: Mapping[Path, str]) -> InvalidConfigurationError:
        """The same error, with the options named that have set what is wrong."""
        problems = [problem.named_by(options) for problem in self.problems]
        return InvalidConfigurationError(self.source, problems, hint=self.hint)


def _placed(problem: Problem) -> str:
    place = _place(problem)
    return f"{place}: {problem}" if place else str(problem)


def _place(problem: Problem) -> str:
    return f"line {problem.position[0]}, column {problem.position[1]}" if problem.position else ""


def dotted(path: Path) -> str:
    """`("extraction", "tags", 3)` as `$.extraction.tags[3]`."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}" for part in path)


def _option_of(path: Path, options: Mapping[Path, str]) -> str:
    """The option that has set the value at `path`, or a section around it."""
    for length in range(len(path), 0, -1):
        if (option := options.get(path[:length])) is not None:
            inner = "".join(f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}" for part in path[length:])
            return f"{option}{inner}"
    return ""


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

    `references` names the paths whose text came out of `${...}`; `keys` lists what each section knows.
    """
    return [
        _unknown_key(detail["loc"], keys) if detail["type"] == "extra_forbidden" else _wrong_value(detail, references)
        for detail in details
    ]


def _unknown_key(path: Path, keys: Mapping[Path, Sequence[str]]) -> Problem:
    section = tuple(part for part in path[:-1] if isinstance(part, str))  # items of a list are alike
    key = str(path[-1])
    known = keys.get(section, ())
    if not section and key in _ELSEWHERE:
        return Problem(path, "settings of the compute", _ELSEWHERE[key])
    if not section and key in FLAT_KEYS:
        return Problem(path, "a key of notebooks", "a section", ".".join(FLAT_KEYS[key]))
    guess = closest(key, known)
    if not guess:  # right key, wrong section
        homes = [(*home, key) for home, names in keys.items() if key in names]
        guess = dotted(homes[0]).removeprefix("$.") if len(homes) == 1 else ""
    expected = "a known key" if guess else "one of " + ", ".join(known)
    return Problem(path, "an unknown key", expected, guess)


def _wrong_value(detail: ErrorDetails, references: Mapping[Path, str]) -> Problem:
    kind, path, value, context = detail["type"], detail["loc"], detail["input"], detail.get("ctx", {})
    suggestion, public, shown = "", kind in _PUBLIC, ""
    error = context.get("error")
    if kind == "missing":
        value = None  # pydantic gives what it is missing in
    if kind == "literal_error":
        # The context holds the words only as a sentence: "'basic', 'bearer' or 'ntlm'".
        words = re.findall(r"'([^']*)'", context["expected"])
        expected = "one of " + ", ".join(words)
        suggestion = closest(value.lower(), words) if isinstance(value, str) else ""
    elif isinstance(error, ExpectedError):
        expected, suggestion, public, shown = error.expected, error.suggestion, error.public, error.found
    else:
        expected = _EXPECTED.get(kind, "a valid value").format_map(context)
    if path in references:
        return Problem(path, f"the value of {references[path]}", expected)
    return Problem(path, shown or _described(value, public=public), expected, suggestion)


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
            return f"'{value}'" if len(value) <= _LONGEST_SHOWN else f"text of {len(value)} characters"
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
