"""`init` writes a configuration that `check` passes, holds no secret, and says what was typed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from config import from_mapping
from config.yaml_text import parse
from engine.commands.init.answers import Answers, document_of, reference_of, whole_url, yaml_of
from engine.commands.init.command import AUTH_TYPES
from engine.commands.init.main import _Dialogue
from engine.telemetry.formats import one_line
from tests.patience import patiently

from .conftest import Called, simulated

_PASSWORD = "geh3im-und-lang"


@pytest.fixture(scope="module")
def plant() -> Iterator[str]:
    options = ("--tags", "30", "--elements", "12", "--frames-per-day", "10", "--basic", "reader:SIM_PASSWORD")
    with simulated(*options, SIM_PASSWORD=_PASSWORD) as url:
        yield url


def _options(url: str, *further: str) -> tuple[str, ...]:
    return ("init", "--no-input", "--url", url, "--username", "reader", "--root", "./lake", *further)


def test_what_it_writes_passes_check_and_holds_no_secret(
    plant: str, here: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_PASSWORD", _PASSWORD)
    done = called(*_options(plant, "--database", "plant", "--filter", "*Flow*"))
    assert done.code == 0, done.err
    assert "*Flow* selects 5 tags" in done.err
    written = (here / "plant.yaml").read_text(encoding="utf-8")
    assert _PASSWORD not in written + done.out + done.err
    assert "password: ${env:PI_PASSWORD}" in written
    checked = called("check", "-c", "plant.yaml")
    assert checked.code == 0, checked.out
    assert called("run", "-c", "plant.yaml").code == 0
    assert "1 element below" in called("af", "elements", "-c", "plant.yaml").out


def test_a_refused_login_writes_nothing(
    plant: str, here: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_PASSWORD", "wrong")
    done = called(*_options(plant))
    assert (done.code, list(here.iterdir())) == (3, [])
    assert "does not accept our credentials" in done.err


def test_offline_writes_the_file_untried(here: Path, called: Called) -> None:
    done = called(*_options("pi.company.com", "--offline", "--secret-from", "secret:pi/password"))
    assert done.code == 0, done.err
    assert called("config", "validate", "-c", "plant.yaml").code == 0
    assert "url: https://pi.company.com/piwebapi" in (here / "plant.yaml").read_text(encoding="utf-8")


def test_a_file_is_not_replaced_unless_it_is_said(here: Path, called: Called) -> None:
    (here / "plant.yaml").write_text("pipeline: mine\n", encoding="utf-8")
    offline = _options("pi.company.com", "--offline")
    done = called(*offline)
    assert (done.code, "plant.yaml exists already" in done.err) == (2, True)
    assert (here / "plant.yaml").read_text(encoding="utf-8") == "pipeline: mine\n"
    assert called(*offline, "--force").code == 0


@pytest.mark.parametrize(
    ("left_out", "option"), [("--url", "--url"), ("--username", "--username"), ("--root", "--root or --catalog")]
)
def test_without_a_terminal_what_is_missing_is_named(called: Called, left_out: str, option: str) -> None:
    options = list(_options("pi.company.com", "--offline"))
    at = options.index(left_out)
    done = called(*options[:at], *options[at + 2 :])
    assert (done.code, f"init: {option} is missing" in done.err) == (2, True)


def test_a_secret_typed_as_its_place_is_refused_and_not_repeated(called: Called) -> None:
    done = called(*_options("pi.company.com", "--offline", "--secret-from", _PASSWORD))
    assert (done.code, _PASSWORD in done.out + done.err) == (2, False)
    assert "env:PI_PASSWORD" in done.err


def test_an_unknown_data_server_or_database_is_named(
    plant: str, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PI_PASSWORD", _PASSWORD)
    done = called(*_options(plant, "--database", "Plnat"))
    assert (done.code, "there is no AF database 'Plnat'" in done.err, "Plant" in done.err) == (2, True, True)
    done = called(*_options(plant, "--data-server", "OTHER"))
    assert (done.code, "OTHER" in done.err) == (2, True)


def test_a_bundle_gets_its_variables_and_keeps_the_others(here: Path, called: Called) -> None:
    options = ("init", "--no-input", "--offline", "--url", "pi.company.com", "--secrets-scope", "pi", "--bundle", "dev")
    target = ("--catalog", "lake", "--schema", "raw")
    assert called(*options, *target).code == 2  # no bundle here
    (here / "databricks.yml").write_text("bundle: {name: x}\n", encoding="utf-8")
    variables = here / ".databricks" / "bundle" / "dev" / "variable-overrides.json"
    variables.parent.mkdir(parents=True)
    variables.write_text('{"shards": "[]", "catalog": "old"}', encoding="utf-8")
    assert called(*options, *target).code == 0
    assert json.loads(variables.read_text(encoding="utf-8")) == {
        "shards": "[]",
        "catalog": "lake",
        "pi_web_api_url": "https://pi.company.com/piwebapi",
        "secret_scope": "pi",
        "schema": "raw",
    }
    assert called("config", "validate", "-c", "pipelines/plant.yaml").code == 0


_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() and "${" not in text
)


@given(username=_text, data_server=_text, database=_text, root=_text.map(lambda text: f"./{text.strip()}"))
def test_the_file_says_what_was_answered(username: str, data_server: str, database: str, root: str) -> None:
    answers = Answers(
        url="https://pi.company.com/piwebapi",
        username=username,
        secret="env:PI_PASSWORD",
        data_server=data_server,
        database=database,
        root=root,
    )
    read = parse(yaml_of(answers, heading=f"for {username}"), "the file")
    assert read == document_of(answers)


def test_the_addresses_that_people_type() -> None:
    assert whole_url("pi.company.com") == "https://pi.company.com/piwebapi"
    assert whole_url(" https://pi.company.com/ ") == "https://pi.company.com/piwebapi"
    assert whole_url("http://127.0.0.1:8443/other") == "http://127.0.0.1:8443/other"
    assert reference_of("${env:PI}") == reference_of(" env:PI ") == "env:PI"


def test_each_way_to_log_in_makes_a_configuration_that_can_be_loaded() -> None:
    for auth_type in AUTH_TYPES:
        answers = Answers(
            url="https://pi.company.com/piwebapi",
            auth_type=auth_type,
            username="reader",
            secret="env:SOME",
            root="./lake",
        )
        config = from_mapping(parse(yaml_of(answers, heading=""), "it"), env={"SOME": "s"}).config
        assert config.pi_web_api.auth_type == auth_type


def test_a_person_at_a_terminal_is_asked_and_may_try_again(plant: str, here: Path) -> None:
    """The process itself, at a terminal of its own: a wrong password first, then the right one."""
    dialogue = [
        ("Address of the PI Web API:", plant),
        ("How to log in", ""),
        ("User name", "reader"),
        ("Where will the password be", ""),
        ("Type the secret", "wrong"),
        ("Try again", ""),
        ("Address of the PI Web API [", ""),
        ("How to log in", ""),
        ("[reader]", ""),
        ("Where will the password be", ""),
        ("Type the secret", _PASSWORD),
        ("Names of tags", "*Level*"),
        ("Take these tags", ""),
        ("AF database", "Plant"),
        ("Where do the tables go", "folder"),
        ("Folder or URL", ""),
    ]
    screen, code = _at_terminal(here, dialogue)
    assert code == 0, screen
    assert _PASSWORD not in screen
    written = (here / "plant.yaml").read_text(encoding="utf-8")
    assert 'tag_name_filter: "*Level*"' in written
    assert "databases: Plant" in written


def _at_terminal(here: Path, dialogue: list[tuple[str, str]]) -> tuple[str, int]:
    """What stood on the screen, and the exit code."""
    ours, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key != "PI_PASSWORD"} | {"TERM": "xterm", "NO_COLOR": "1"}
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "init"],
        cwd=here,
        env={**env, "PYTHONPATH": str(root)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen = ""
    try:
        for question, answer in dialogue:
            screen += _read_until(ours, question)
            os.write(ours, f"{answer}\n".encode())
        screen += _read_until(ours, None)
        return screen, process.wait(patiently(20))
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(terminal: int, text: str | None) -> str:
    """What is written until this text is there; None: until the end."""
    seen = ""
    deadline = time.monotonic() + patiently(30)
    while text is None or text not in seen:
        assert time.monotonic() < deadline, f"{text!r} was not asked: {seen}"
        if select.select([terminal], [], [], 0.2)[0]:
            with contextlib.suppress(OSError):  # the end, on Linux
                if piece := os.read(terminal, 4096):
                    seen += piece.decode(errors="replace")
                    continue
            return seen
    return seen


def test_a_name_that_the_server_gives_is_no_reference_to_our_secrets(
    tmp_path: Path, here: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data server called `${env:OTHER}` was put in as what the variable holds, and sent to the server in paths of tags."""
    monkeypatch.setenv("OTHER", "not-for-the-server")
    with simulated("--tags", "3") as url, urllib.request.urlopen(f"{url}/dataservers") as answer:
        [server] = json.load(answer)["Items"]
    body = {"Items": [server | {"Name": "${env:OTHER}"}]}
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps({"rules": [{"match": {"route": "dataservers"}, "do": {"status": 200, "body": body}}]}))
    with simulated("--tags", "3", "--faults", str(faults)) as url:
        done = called("init", "--no-input", "--url", url, "--auth-type", "anonymous", "--root", "./lake")
        assert done.code == 0, done.err
    text = (here / "plant.yaml").read_text(encoding="utf-8")
    assert from_mapping(parse(text, "plant.yaml"), env=os.environ).config.extraction.data_server == "${env:OTHER}"
    assert "not-for-the-server" not in text + done.out + done.err


def test_names_to_choose_from_are_shown_on_one_line() -> None:
    """They come from the server: one with an escape sequence steered the terminal of who was asked."""
    evil = "A\x1b[2J\nB"
    with CliRunner().isolation(input=f"{one_line(evil)}\n") as (_, errors, _):
        chosen = _Dialogue(asking=True).choice(None, "Which data server", (evil, "C"), "C")
        shown = errors.getvalue().decode()
    assert "\x1b" not in shown
    assert chosen == evil
