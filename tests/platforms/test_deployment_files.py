"""The image, the systemd units and shell completion: judged by the tools of their own, where these are at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line.conftest import REPOSITORY, environment
from tests.command_line.conftest import here as here  # noqa: PLC0414 - a fixture

UNITS = REPOSITORY / "deploy/systemd"
HADOLINT = Path(sys.executable).with_name("hadolint")
SHELLS = {"bash": ("-n",), "zsh": ("-n",), "fish": ("--no-execute",)}


def done(*command: str | Path, **named: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **named)


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not installed: no wheel of it for this machine")
def test_the_image_pleases_its_linter():
    judged = done(HADOLINT, REPOSITORY / "Dockerfile")
    assert (judged.returncode, judged.stdout) == (0, "")


def test_the_image_copies_what_the_wheel_is_built_from_and_its_context_holds_nothing_else():
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE):
        copied |= set(line.split()[:-1])
    let_in = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in
    assert copied >= {"config", "engine", "writers", "osipi_connector.py", "osipi_start.py", "pyproject.toml"}
    assert all((REPOSITORY / name).exists() for name in copied)


def _builder() -> bool:
    docker = shutil.which("docker")
    return docker is not None and done(docker, "info").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_image_builds_and_brings_the_example_in():
    if not _builder():
        pytest.skip("no builder of images at hand: `docker info` fails")
    built = done("docker", "build", "-q", ".", cwd=REPOSITORY)
    assert built.returncode == 0, built.stderr
    ran = done("docker", "run", "--rm", built.stdout.strip(), "run", "--json")
    assert ran.returncode == 0, ran.stderr
    assert '"status": "succeeded"' in ran.stdout
    user = done("docker", "run", "--rm", "--entrypoint", "id", built.stdout.strip(), "-u")
    assert user.stdout.strip() == "10001"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_units_please_systemd(here: Path):
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/osipi/bin/osipi-connector", "/bin/true")  # the program must be there
        (here / unit.name).write_text(text)
    judged = done("systemd-analyze", "verify", *sorted(here.iterdir()))
    assert (judged.returncode, judged.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_service_may_do_little(here: Path):
    text = (UNITS / "osipi-connector.service").read_text().replace("/opt/osipi/bin/osipi-connector", "/bin/true")
    (here / "osipi-connector.service").write_text(text)
    command = ("systemd-analyze", "security", "--offline=true", "--threshold=20", here / "osipi-connector.service")
    judged = done(*command)
    if "unrecognized option" in judged.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit that is not loaded")
    assert judged.returncode == 0, judged.stdout


def test_the_timer_starts_the_service():
    assert {unit.name for unit in UNITS.iterdir()} == {"osipi-connector.service", "osipi-connector.timer"}


PROGRAM = "import sys; sys.argv[0] = 'osipi-connector'; from osipi_start import program; program()"


def completed(here: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return done(sys.executable, "-c", PROGRAM, cwd=here, env=environment(**changes))


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_that_it_can_read(here: Path, shell: str):
    given = completed(here, _OSIPI_CONNECTOR_COMPLETE=f"{shell}_source")
    assert (given.returncode, given.stderr) == (0, "")
    assert f"_OSIPI_CONNECTOR_COMPLETE={shell}_complete" in given.stdout
    (here / "script").write_text(given.stdout)
    if shutil.which(shell) is None:
        return  # its text was looked at
    judged = done(shell, *SHELLS[shell], here / "script")
    assert (judged.returncode, judged.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("osipi-connector ver", ["plain,verify"]),
        ("osipi-connector run --fol", ["plain,--follow"]),
        ("osipi-connector run --mode i", ["plain,incremental"]),
        ("osipi-connector status -c pl", ["file,pl"]),
    ],
)
def test_words_are_completed(here: Path, words: str, expected: list[str]):
    number = str(len(words.split()) - 1)
    given = completed(here, _OSIPI_CONNECTOR_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=number)
    assert (given.stdout.splitlines(), given.stderr) == (expected, "")
