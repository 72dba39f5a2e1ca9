"""YAML text to plain values, strictly: a key may stand once, and only YAML 1.2's plain words mean more than text.

PyYAML reads YAML 1.1, in which `NO` is false, `1:30` is ninety, `0123` is eighty-three, and an
unquoted date is read as a datetime. Tags and times look like that, so this loader leaves them as text.
Invariants: a message names a line and a column, and repeats nothing that could be a value. Aliases add no more than
`_MOST_REPEATED` values to those that are written, so that time and memory are bounded by the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from .errors import ConfigurationError
from .problems import Path, Position, shown_key

# Values and keys that stand in a document through aliases only. A list of 30,000 tags may be used four times.
_MOST_REPEATED = 100_000
_TABS = "indent with spaces: YAML takes no tabs"
_INDENTATION = "keys of one section begin in the same column"
_QUOTES = "values that start with one of * & ! | > % @ ` or hold `: ` or ` #` need quotes around them"
# PyYAML quotes names of its own ('<stream end>'), single characters, and pieces of the text; the last may be secret.
_QUOTED = re.compile("""'[^']*'|"[^"]*"|`[^`]*`""")
_HARMLESS = re.compile("""'<[a-z ]+>'|['"].?['"]""")


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's core schema, no key twice, and aliases within bounds."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's way to declare

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}  # of each node that is written, with its aliases written out, by identity

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count what stands in a node, and in the nodes that its aliases stand for."""
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # stub of PyYAML
        node = super().compose_node(parent, index)
        if node is None or alias:  # an alias inside of its own anchor is not counted yet: it is refused later
            return node
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = sum(self._sizes.get(id(part), 1) for part in parts) if isinstance(node, yaml.CollectionNode) else 0
        self._sizes[id(node)] = size = 1 + inner
        if size > len(self._sizes) + _MOST_REPEATED:
            problem = f"aliases repeat more than {_MOST_REPEATED:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            key.tag = "tag:yaml.org,2002:str"  # `1:` and `true:` are keys like any other
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {shown_key(key.value)} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node


for _tag, _pattern, _first in (
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


@dataclass(frozen=True, slots=True)
class Document:
    """The plain value of a YAML document, and where its keys stand."""

    value: Any
    root: yaml.Node | None

    def position(self, path: Path) -> Position | None:
        """Line and column, from 1, of the key or the item at `path`, or of the closest one above it that is written.

        None if nothing of the path is written. What an alias stands for is where its anchor is.
        """
        node, found = self.root, None
        for part in path:
            step = _step(node, part)
            if step is None:
                break
            mark, node = step
            found = mark.line + 1, mark.column + 1
        return found


def _step(node: yaml.Node | None, part: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    """Where the key or the item `part` of `node` begins, and its value."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item: yaml.Node = node.value[part]
        return item.start_mark, item
    if isinstance(node, yaml.MappingNode):
        # The constructor puts merged keys before those of the mapping itself, and the last one of a name counts.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                return key.start_mark, value
    return None


def parse(text: str | bytes, source: str) -> Any:
    """The value of the one document in `text`. Raises `ConfigurationError` with line and column."""
    return parse_document(text, source).value


def parse_document(text: str | bytes, source: str) -> Document:
    """The one document in `text`. Raises `ConfigurationError` with line and column."""
    try:
        return _load(text)
    except yaml.MarkedYAMLError as error:
        message, hint = _sentence(error, source)
    except yaml.reader.ReaderError as error:
        message, hint = f"{source}: not a text file in UTF-8 (at position {error.position})", "save it as UTF-8"
    except ValueError:  # e.g. an integer of thousands of digits
        message, hint = f"{source}: a number in it cannot be read", "put quotes around text that looks like a number"
    except RecursionError:
        message, hint = f"{source}: nested too deeply", "a configuration has at most four levels"
    # Raised out here, so that no traceback carries the parser's error, which quotes the text.
    raise ConfigurationError(message, hint=hint)


def parse_scalar(text: str, source: str) -> Any:
    """A value from the command line: a list, a section or quoted text in YAML, or one plain word.

    Unlike in a file, a plain word may hold anything: `*TEMP*`, `a #b` and `p@ss: word` are text.
    """
    text = text.strip()
    if text[:1] in {"[", "{", '"', "'"}:
        return parse(text, source)
    loader = _Loader("")
    try:
        tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # stub of PyYAML
        node = yaml.ScalarNode(tag, text)
        if node.tag.endswith(":merge"):
            return text
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _load(text: str | bytes) -> Document:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        return Document(None if root is None else loader.construct_document(root), root)
    finally:
        loader.dispose()


def _sentence(error: yaml.MarkedYAMLError, source: str) -> tuple[str, str]:
    mark = error.problem_mark or error.context_mark
    where = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
    context, problem = (_without_values(part or "") for part in (error.context, error.problem))
    if context and error.context_mark and mark and error.context_mark.line != mark.line:
        context += f" that begins in line {error.context_mark.line + 1}"
    return f"{where}: {', '.join(filter(None, (context, problem)))}", _hint(error.problem or "")


def _hint(problem: str) -> str:
    """What to do about it, by PyYAML's own words."""
    if "stands twice" in problem:
        return ""
    if "aliases" in problem:
        return "write out what is needed, without aliases (*name) of aliases"
    if r"'\t'" in problem:
        return _TABS
    if problem.startswith("expected <block end>"):
        return _INDENTATION
    # A line that is indented too far looks like a value with a colon in it.
    return f"{_INDENTATION}; {_QUOTES}" if problem.startswith("mapping values") else _QUOTES


def _without_values(sentence: str) -> str:
    return _QUOTED.sub(lambda quoted: quoted[0] if _HARMLESS.fullmatch(quoted[0]) else "...", sentence)
