"""What the documents say is so: configurations load, commands exist, files are where they are said to be."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import config
from engine.cli import commands

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md")),
]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("text", blocks("README.md", "yaml"))
def test_configurations_in_the_readme_run(text, tmp_path):
    path = tmp_path / "plant.yaml"
    path.write_text(text)
    loaded = config.load(str(path), env={"PI_PASSWORD": "pw"})
    config.check_runnable(loaded.config)
    assert loaded.config.pi_web_api.username in {r"CORP\svc_pi", None}


def test_commands_in_the_documents_exist_with_their_options():
    found = 0
    for document in DOCUMENTS:
        for line in re.findall(r"python -m engine (.+)", (ROOT / document).read_text()):
            words = re.split(r"\s+#|`|;|\)", line)[0].split()
            command = commands.get_command(click.Context(commands), words[0])
            while isinstance(command, click.Group):
                words = words[1:]
                command = command.get_command(click.Context(command), words[0])
            assert command is not None, line
            options = {o for p in command.params for o in p.opts}
            assert {w for w in words if w.startswith("-")} <= options, line
            found += 1
    assert found >= 5


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_documents_name_are_there(document):
    text = (ROOT / document).read_text()
    named = {ROOT / n for n in re.findall(r"`((?:config|writers|engine|tests|benchmarks)/[\w./-]+)`", text)}
    named |= {(ROOT / document).parent / link for link in re.findall(r"\]\((?!http)([\w./-]+)\)", text)}
    # A name may go on into a module: `engine/flow/pipeline.Source`.
    missing = {n for n in named if not n.exists() and not n.with_suffix(".py").exists()}
    assert not missing


def test_make_targets_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z -]+)`", (ROOT / document).read_text()))
        assert {word for words in named for word in words.split()} <= targets
