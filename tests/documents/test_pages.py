"""What the pages tell people to type is understood: commands, units, images, options of the storage, words, links."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

import config
from benchmarks.figures import TUNED, tuning_block
from benchmarks.lab import results
from docs.generating.commands import every_command
from docs.generating.glossary import words
from docs.generating.markdown import anchor
from engine.cli import commands
from writers.storage.location import TableLocation
from writers.storage.objects import _known, _store

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# Options that are not read, with what they need where a store is built without a network.
KEY = "a2V5"


def blocks(*languages: str) -> list[tuple[str, str]]:
    """The page and the text of each block in one of these languages."""
    found = []
    for page in PAGES:
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE):
            found += [(page.name, text)] if language in languages else []
    return found


def typed() -> Iterator[tuple[str, list[str]]]:
    """The page and the arguments of every command of ours in a block that people copy."""
    for page, text in blocks("bash", "cron", "ini", "powershell", "dockerfile"):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith(("Description=", "journalctl ")):
                continue
            for found in re.findall(
                r"(?:[\w/~.-]*osipi-connector|python -m engine) ([a-z-]+ .*?)(?=$|[|;>&]| \d>)", line
            ):
                yield page, shlex.split(found.replace('"$plant.yaml"', "plant.yaml").rstrip('"'))


TYPED = list(typed())


@pytest.mark.parametrize(("page", "arguments"), TYPED, ids=[" ".join(arguments) for _, arguments in TYPED])
def test_every_command_is_one_that_exists_with_options_that_exist(page, arguments):
    command: click.Command = commands
    rest = arguments
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    with click.Context(command, **commands.context_settings) as context:
        command.parse_args(context, list(rest))


def test_most_commands_are_shown_by_some_page():
    assert {arguments[0] for _, arguments in TYPED} >= {"check", "plan", "run", "status", "verify", "maintain", "tags"}


@pytest.mark.parametrize(("page", "text"), blocks("bash"), ids=lambda value: value[:40])
def test_a_shell_understands_every_block(page, text):
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), page


@pytest.mark.parametrize(("page", "text"), blocks("cron"))
def test_a_line_of_cron_has_five_times_and_a_command(page, text):
    lines = [line for line in text.splitlines() if not re.match(r"[A-Z]+=", line)]
    assert lines
    for line in lines:
        *times, command = line.split(maxsplit=5)
        assert all(re.fullmatch(r"\*|\*/\d+|\d+", time) for time in times), line
        assert command.startswith("osipi-connector ")
        assert "%" not in command  # cron takes it for the end of the line


UNITS = [parsed for _, text in blocks("ini") for parsed in [configparser.ConfigParser(interpolation=None)] if not parsed.read_string(text)]  # fmt: skip


def test_a_unit_has_what_systemd_needs(tmp_path):
    assert [sorted(set(unit.sections()) - {"Unit"}) for unit in UNITS] == [
        ["Service"],
        ["Install", "Timer"],
        ["Install", "Service"],
    ]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there, which judges units")
    for (_, text), name in zip(blocks("ini"), ("a.service", "a.timer", "b.service"), strict=True):
        (tmp_path / name).write_text(
            re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text).replace("User=osipi\n", "")
        )
    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


def test_the_wheel_that_the_pages_name_is_the_one_that_is_built():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    named = [match for page in PAGES for match in re.findall(r"osipi_connector-([\d.]+)-py3", page.read_text())]
    assert set(named) == {version}


STORES = [document for _, text in blocks("yaml") if "root:" in text for document in [yaml.safe_load(text)] if "options" in document.get("storage", {})]  # fmt: skip


@pytest.mark.parametrize("document", STORES, ids=lambda document: document["storage"]["root"])
def test_the_storage_knows_each_option_and_takes_it(document, tmp_path):
    storage = (
        config.from_mapping(document, env={"LAKE_KEY_ID": "id"}).config.storage
        if "${file:" not in str(document)
        else None
    )
    options = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in document["storage"]["options"].items()
    }
    root = TableLocation.parse(document["storage"]["root"], options).uri
    assert [name for name in options if not _known(root, name.lower())] == []
    if not root.startswith("gs://"):  # its option is a file
        _store(root, {name: KEY if "${" in value else value for name, value in options.items()})
    assert storage is None or storage.root == document["storage"]["root"]


def test_every_cloud_has_an_example_of_its_options():
    assert {document["storage"]["root"].partition(":")[0] for document in STORES} == {"s3", "abfss", "gs"}


def test_the_import_of_the_guide_is_named_and_the_one_that_takes_its_place_works():
    text = (ROOT / "docs/migrating.md").read_text()
    assert "from src.connector.lakeflow_connector import PILakeflowConnector" in text
    found: dict[str, object] = {}
    exec("\n".join(block for page, block in blocks("python") if page == "migrating.md"), found)
    assert "PILakeflowConnector" in found


def test_the_figures_for_tuning_are_those_of_the_results():
    block = tuning_block(results.read_all(results.FOLDER))
    assert block in (ROOT / "docs/tuning.md").read_text()
    assert [f"`{scenario}` |" in block for _, scenario, _ in TUNED] == [True] * len(TUNED)


def test_the_glossary_has_every_word_of_the_architecture_once():
    names = [word for word, _ in words()]
    assert len(names) == len(set(names)) > 30
    assert {"watermark", "hole", "grain"} <= set(names)


def test_the_help_of_every_command_is_in_the_reference():
    page = (ROOT / "docs/reference/commands.md").read_text()
    every = dict(every_command())
    assert {f"osipi-connector {name}" for name in commands.commands} <= every.keys()
    assert [name for name in every if f"## {name}\n" not in page] == []


def test_the_index_and_the_site_name_every_page():
    index = (ROOT / "docs/README.md").read_text()
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "README.md" or f"]({name})" in index, name
        assert re.search(rf": {re.escape(name)}$", nav, re.MULTILINE), name


@pytest.mark.parametrize(
    ("heading", "place"), [("Cannot store tables at ..", "cannot-store-tables-at-"), ("`a_b` (c)", "a_b-c")]
)
def test_a_heading_is_found_where_github_puts_it(heading, place):
    assert anchor(heading) == place


def test_no_document_has_a_word_that_is_avoided():
    makefile = (ROOT / "Makefile").read_text()
    [documents] = re.findall(r"^PROSE := (.+)$", makefile, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *documents.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_each_word_that_is_avoided_is_found(tmp_path):
    listed = [line.partition("->")[0] for line in (ROOT / "docs/words.txt").read_text().splitlines()]
    (tmp_path / "page.md").write_text("".join(f"{word}\n" for word in listed))
    command = [sys.executable, "-m", "codespell_lib", "-D", str(ROOT / "docs/words.txt"), "page.md"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [line.split()[1] for line in done.stdout.splitlines()] == listed
    assert len(listed) > 15


@pytest.mark.slow
def test_the_site_is_built_and_every_link_leads_somewhere(tmp_path):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not there: `make site` installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "time_line.svg" in (tmp_path / "how_it_works.html").read_text()
