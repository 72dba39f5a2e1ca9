"""The page on security names tests that exist, and the page of licences all that we install."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line.conftest import environment
from tests.documents.licences import direct, licence_of

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", SECURITY)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_the_tests_that_the_page_names_exist(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    functions = [one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert test in functions if test else any(name.startswith("test_") for name in functions)


def test_each_line_of_the_page_names_what_holds_it() -> None:
    lines = [line for line in SECURITY.splitlines() if line.startswith("| ") and not line.startswith("| who |")]
    assert len(lines) > 10
    assert all("`tests/" in line.split("|")[4] for line in lines)


def test_the_page_of_licences_has_all_direct_dependencies_as_they_are() -> None:
    listed = dict(re.findall(r"^\| ([\w.-]+) \| (.+?) \|", (ROOT / "docs/licences.md").read_text(), re.MULTILINE))
    assert len(direct()) > 10
    assert {name: listed.get(name) for name in direct()} == {name: licence_of(name) for name in direct()}


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
def test_files_of_the_command_line_are_for_owner_and_group(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine", "run", "--set", "development.simulator.tags=3"]
    shell = ["/bin/sh", "-c", 'umask 022; exec "$0" "$@"', *command]
    done = subprocess.run(shell, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "lakehouse").rglob("*")}
    assert len(modes) > 20
    assert any("_osipi" in path.parts for path in modes)
    for path, mode in modes.items():
        assert mode == (0o750 if path.is_dir() else 0o640), path


def sources() -> dict[str, str]:
    files = [each for folder in ("engine", "config", "writers") for each in (ROOT / folder).rglob("*.py")]
    named = {each.relative_to(ROOT).as_posix(): each.read_text() for each in (*files, ROOT / "osipi_connector.py")}
    return {name: text for name, text in named.items() if not name.startswith("engine/simulator/")}


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        (r"(?<!\w)Console\((?!\))", set()),  # of rich itself: ours is PrintableConsole
        (r"(?<!\w)WorkspaceClient\(", {"config/workspace.py"}),
        (r"\bprint_exception\(|\bformat_exception\(", {"engine/commands/terminal.py"}),
        (r"\brequests\.Session\(", {"writers/unity/transport.py"}),
        (r"\bClientSession\(", {"engine/net/client.py"}),
        (r"\burlopen\(|\bbuild_opener\(", {"engine/net/webhooks.py"}),
        (r"\ballow_redirects=(?!False)|\bmarkup=True", set()),
    ],
)
def test_what_guards_a_door_is_the_only_way_through_it(pattern: str, places: set[str]) -> None:
    found = {name for name, text in sources().items() if re.search(pattern, text)}
    if "Console" in pattern:
        found -= {"engine/telemetry/console.py"}  # its class derives from it
    assert found == places


def test_every_request_says_that_it_follows_no_redirect() -> None:
    calls = r"(?:session|_session|_session\(\))\.(?:request|get|post|put)\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
    found = [(name, call) for name, text in sources().items() for call in re.findall(calls, text)]
    assert len(found) >= 4
    assert all("allow_redirects=False" in call for _, call in found), found
