"""What is written below each key of a section. Read from the source when asked for: a run does not ask."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache

from .fields import Section


@cache
def descriptions(section: type[Section]) -> Mapping[str, str]:
    """The text below each key, by the key as written in YAML. A key without a text is left out."""
    texts = {name: text for each in reversed(section.__mro__) if issubclass(each, Section) for name, text in _of(each)}
    return {field.alias or name: texts[name] for name, field in section.model_fields.items() if name in texts}


def _of(section: type[Section]) -> Iterator[tuple[str, str]]:
    [written] = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(written, ast.ClassDef)  # noqa: S101 - the source of a class
    for key, below in zip(written.body, written.body[1:], strict=False):
        match key, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
            case _:
                pass
