"""The reference is made from the code: no page is stale, and what it says loads."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import config
from config.errors import ExtractError
from config.model import known_keys
from config.yaml_text import parse
from docs.generate import SINCE, main, pages
from docs.generating import errors, pictures, report
from docs.generating.keys import Key, parts
from docs.generating.markdown import cell

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "config/connector_config.yaml"
EXAMPLES = [key for part in parts() for key in part.keys if key.example is not None]
FILLED_IN = {"pi_web_api": {"url", "secrets_scope"}, "extraction": {"tag_name_filter"}}
# Sections that are not there by default: one line names their keys.
ABSENT = {part.path for part in parts() for key in EXAMPLES if part.path.removesuffix("[]") == key.path}
# What a section needs beside the key of the example.
BESIDE = {
    **{part.path: {key.name: key.example for key in part.keys if key.default == "needed"} for part in parts()},
    "extraction.classes[]": {"name": "critical", "tags": ["CRIT.*"]},
    "monitoring.alerts[]": {"kind": "slack", "url": "https://hooks.company.com/plant", "max_age": "1h"},
}


def test_every_page_is_what_the_code_says(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err


@pytest.fixture
def copied(tmp_path):
    for name in pages():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_stale_page_fails_the_check_and_writing_heals_it(copied, capsys):
    page = copied / "docs/reference/tables.md"
    page.write_text(page.read_text().replace("BIGINT", "INT"))
    assert main(["--check", "--root", str(copied)]) == 1
    assert capsys.readouterr().err == "stale: docs/reference/tables.md; run make docs\n"
    assert main(["--root", str(copied)]) == 0
    assert main(["--check", "--root", str(copied)]) == 0


def test_the_version_that_brought_a_key_stays_and_a_new_key_gets_the_version_of_today(copied):
    known = json.loads((copied / SINCE).read_text())
    today = known.pop("key:extraction.lag")
    known["key:retry.max_wait"] = "0.0.7"
    (copied / SINCE).write_text(json.dumps(known))
    assert main(["--root", str(copied)]) == 0
    written = json.loads((copied / SINCE).read_text())
    assert (written["key:retry.max_wait"], written["key:extraction.lag"]) == ("0.0.7", today)
    assert re.search(
        r"^\| `max_wait` .* 0\.0\.7 \|$", (copied / "docs/reference/configuration.md").read_text(), re.MULTILINE
    )


def document(key: Key, value: object) -> dict:
    """The smallest configuration with this key."""
    *above, name = key.path.split(".")
    found: object = {**BESIDE.get(".".join(above), {}), name: value}
    for part in reversed(above):
        found = {part.removesuffix("[]"): [found] if part.endswith("[]") else found}
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("key", EXAMPLES, ids=lambda key: key.path)
def test_an_example_of_a_key_loads_as_it_is_written(key):
    [(_, value)] = parse(key.written(key.example), key.path).items()
    assert value == key.example
    env = {"PI_PASSWORD": "x"}
    if "${file:" not in str(value):
        config.from_mapping(document(key, value), env=env)


def test_every_key_has_a_meaning_and_an_example():
    keys = {key.path.replace("[]", "") for part in parts() for key in part.keys}
    assert keys == {".".join((*map(str, path), name)) for path, names in known_keys().items() for name in names}
    assert [key.path for part in parts() for key in part.keys if not key.meaning] == []
    assert [key.path for part in parts() for key in part.keys if key.example is None and not key.holds_keys] == []


def test_the_file_with_every_key_could_run_and_changes_nothing_but_what_is_to_be_filled_in():
    loaded = config.load(SAMPLE, env={})
    config.check_runnable(loaded.config)
    assert loaded.warnings == ()
    found, plain = config.masked(loaded.config), config.masked(config.Config())
    for section, names in FILLED_IN.items():
        for name in names:
            assert found[section].pop(name) != plain[section].pop(name, None)
    assert found == plain


def test_the_file_with_every_key_leaves_none_out():
    text = SAMPLE.read_text()
    for part in parts():
        for key in part.keys:
            told = rf"\b{key.name}\b" if part.path in ABSENT else rf"^ *(# )?{key.name}:"
            assert re.search(told, text, re.MULTILINE), key.path


def test_a_key_that_is_a_comment_loads_once_it_is_none():
    env = {"PI_PASSWORD": "x"}
    lines = SAMPLE.read_text().splitlines()
    commented = [n for n, line in enumerate(lines) if re.match(r" *# [a-z_]+: \S", line) and "auto:" not in line]
    tried = 0
    for n in commented:
        one = re.sub(r"# ", "", lines[n], count=1)
        name = one.strip().partition(":")[0]
        if not any(key.name == name for key in EXAMPLES) or "${file:" in one:
            continue
        text = "\n".join([*lines[:n], one, *lines[n + 1 :]])
        config.from_mapping(parse(text, "the file"), env=env)
        tried += 1
    assert tried > 15


def test_every_kind_of_error_ends_with_a_code_that_the_page_explains():
    page = (ROOT / "docs/reference/errors.md").read_text()
    assert {kind.exit_code for kind in errors.kinds()} <= errors.EXIT_CODES.keys()
    tree = re.findall(r"[├└]── (\w+)", config.errors.__doc__ or "")
    assert {kind.__name__ for kind in errors.kinds()} == set(tree) - {"StopError", "RetryError", "TagError"}
    assert ExtractError not in errors.kinds()
    for kind in errors.kinds():
        assert f"| `{kind.__name__}` | {kind.exit_code} |" in page


def test_the_exit_codes_are_those_of_the_guide_to_operations():
    guide = (ROOT / "docs/operations.md").read_text().partition("The exit codes of all commands:")[2]
    told = re.findall(r"^\| (\d+) \| (.+?) \|$", guide.partition("###")[0], re.MULTILINE)
    assert [int(code) for code, _ in told] == list(errors.EXIT_CODES)


def test_every_field_of_the_report_has_a_meaning_and_no_meaning_lacks_its_field():
    assert report.fields().keys() == report.MEANINGS.keys()


def test_a_picture_is_well_formed_and_needs_nothing_from_elsewhere():
    for name, picture in pictures.pictures().items():
        root = ET.fromstring(picture)
        assert root.find("{http://www.w3.org/2000/svg}title") is not None, name
        assert re.findall(r"https?://[^\"]+", picture) == ["http://www.w3.org/2000/svg"]
        assert f"(images/{name})" in (ROOT / "docs/how_it_works.md").read_text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`a|b` or c|d", "<code>a&#124;b</code> or c&#124;d"),
        ("two\nlines", "two lines"),
        ("`<b>`", "`<b>`"),
        ("`<b>|c`", "<code>&lt;b&gt;&#124;c</code>"),
    ],
)
def test_a_cell_of_a_table_never_ends_early(text, shown):
    assert cell(text) == shown
