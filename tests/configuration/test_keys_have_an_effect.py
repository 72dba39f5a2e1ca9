"""Every key of the configuration is read by code, or a value of it is refused or warned of by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from config.checks import NO_EFFECT
from config.model import Config, sections
from config.model_target import TablesConfig
from engine.datasets.registry import DATASETS
from writers import PI_CONNECTOR_METRICS, PI_QUARANTINE

ROOT = Path(config.__file__).parents[1]
# Modules that handle every key alike: the model, its schema, and copying, none of which acts on a value.
GENERIC = {"model.py", "model_source.py", "model_target.py", "fields.py", "schema.py"}
SECTIONS = sections()
# A parameter of this type has the attributes of a section, but does not name it.
PROTOCOLS = {"AuthFields": "PiWebApiConfig"}
# Code reads `table_properties` by the names of `tables` (config/properties.py).
# Values other than the default, of keys that do not take any text.
OTHER_VALUES = {
    ("extraction", "enable_paging"): False,
    ("performance", "spark_partitions"): 200,
}
TABLES = ("unity_catalog", "tables")
BY_TABLE = ("unity_catalog", "table_properties")


def code_files() -> Iterator[Path]:
    for folder in ("config", "writers", "engine"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name not in GENERIC and "simulator" not in path.relative_to(ROOT).parts:
                yield path


class Reads(ast.NodeVisitor):
    """The keys that a module reads: attributes of an expression that is known to be a section.

    Known are `<anything>.extraction` and the like for the sections of the top, sections below those, variables
    that were assigned one, loops over a list of sections, and parameters that are annotated with one.
    """

    def __init__(self) -> None:
        self.found: set[tuple[str, ...]] = set()
        self._variables: dict[str, tuple[str, ...]] = {}
        self._classes = {section.__name__: path for path, section in SECTIONS.items()}
        self._classes |= {name: self._classes[section] for name, section in PROTOCOLS.items()}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for argument in (*node.args.args, *node.args.kwonlyargs):
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id in self._classes:
                self._variables[argument.arg] = self._classes[argument.annotation.id]
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=False))
        elif isinstance(target, ast.Tuple) and ast.unparse(node.value).startswith("tidied("):
            # `pi, warnings = tidied(config.pi_web_api)` gives a section of the same kind.
            assert isinstance(node.value, ast.Call)
            pairs = [(target.elts[0], node.value.args[0])]
        for name, value in pairs:
            self._assign(name, value)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._assign(node.target, node.iter)
        self.generic_visit(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp | ast.ListComp) -> None:
        for generator in node.generators:
            self.visit(generator)
        self.visit(node.elt)

    visit_ListComp = visit_GeneratorExp  # noqa: N815

    def visit_For(self, node: ast.For) -> None:
        over, target = node.iter, node.target
        if isinstance(over, ast.Call) and ast.unparse(over.func) == "enumerate" and isinstance(target, ast.Tuple):
            over, target = over.args[0], target.elts[1]
        self._assign(target, over)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        section = self._section(node.value)
        if section is not None:
            self.found.add((*section, node.attr))
        self.generic_visit(node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name) and (section := self._section(value)) is not None:
            self._variables[target.id] = section

    def _section(self, value: ast.expr) -> tuple[str, ...] | None:
        if isinstance(value, ast.Name):
            return self._variables.get(value.id)
        if isinstance(value, ast.Attribute):
            outer = self._section(value.value)
            path = (value.attr,) if outer is None else (*outer, value.attr)
            return path if path in SECTIONS else None
        return None


@pytest.fixture(scope="module")
def unread() -> set[tuple[str, ...]]:
    read = set[tuple[str, ...]]()
    for path in code_files():
        module = Reads()
        module.visit(ast.parse(path.read_text(encoding="utf-8")))
        read |= module.found
    # `lakehouse_of` reads the names of all tables alike; those have an effect that something lands in.
    landed = {spec.name for spec in (*DATASETS.tables, PI_CONNECTOR_METRICS, PI_QUARANTINE)}
    read |= {(*TABLES, role) for role, field in TablesConfig.model_fields.items() if field.default in landed}
    read |= {(*BY_TABLE, path[-1]) for path in read if path[:-1] == TABLES}
    return {
        (*path, key)
        for path, section in SECTIONS.items()
        for name, field in section.model_fields.items()
        if (*path, key := field.alias or name) not in SECTIONS and (*path, name) not in read
    }


def test_every_key_is_read_or_refused_or_warned_of(unread):
    assert unread == set(NO_EFFECT)


@pytest.mark.parametrize("path", NO_EFFECT, ids=".".join)
def test_a_key_that_no_code_reads_is_warned_of_by_name(path):
    *outer, key = path
    value = OTHER_VALUES.get(path, "x")
    if "table_properties" in path:
        value = {"owner": "x"}
    document: object = {key: value}
    for section in reversed(outer):
        document = {section: document}
    (warning,) = config.from_mapping(document, env={}).warnings
    assert warning.startswith(f"{'.'.join(path)} has no effect: ")


@pytest.mark.parametrize("path", NO_EFFECT, ids=".".join)
def test_its_default_is_not_warned_of(path):
    default = config.masked(Config())
    for key in path:
        default = default.get(key) if default else None
    document: object = {path[-1]: default}
    for section in reversed(path[:-1]):
        document = {section: document}
    assert config.from_mapping(document, env={}).warnings == ()


def test_what_reads_a_key_is_recognised():
    module = Reads()
    module.visit(
        ast.parse(
            "def f(pi: PiWebApiConfig, config):\n"
            "    chosen, uc = self._config.extraction, config.unity_catalog\n"
            "    uc.tables.tags, pi.oauth.scope, chosen.lag, other.lookback\n"
            "    [one.interval for one in chosen.classes]\n"
        )
    )
    assert module.found - set(SECTIONS) == {
        ("unity_catalog", "tables", "tags"),
        ("pi_web_api", "oauth", "scope"),
        ("extraction", "lag"),
        ("extraction", "classes", "interval"),
    }
