"""What holds for every command: help, light imports, one line for an error, an exit code, no secret."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from deltalake import DeltaTable

import engine.commands.options as options
from config import load
from config.errors import ConfigurationError
from engine.cli import commands, main
from engine.commands.exit_status import exit_status_of
from engine.import_check import claimed_package, shadowed_package
from engine.run.job import run_job
from tests.command_line.conftest import REPOSITORY, Called, engine, environment, process, written
from tests.patience import HANGS_AFTER_SECS
from tests.variants import slowly


def every_command(group: click.Group = commands, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found += every_command(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(called: Called, path: tuple[str, ...]):
    done = called(*path, "--help")
    assert (done.code, done.err) == (0, "")
    _, _, example = done.out.partition("Example:\n")
    assert f"python -m engine {' '.join(path)}".strip() in example
    assert called(*path, "-h").out == done.out


def test_examples_show_the_program_as_it_was_typed(called: Called, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/opt/bin/osipi-connector"])
    for path in (("run",), ("config", "show"), ("af",), ()):
        _, _, example = called(*path, "--help").out.partition("Example:\n")
        assert example.startswith("  osipi-connector ")
        assert "python -m engine" not in example


def test_validating_looks_up_no_secret(called: Called, here: Path):
    (here / "plant.yaml").write_text(
        "pi_web_api: {url: https://pi/piwebapi, auth_type: basic, username: '${env:NOT_SET}', password: '${file:/no}'}\n"
        "extraction: {tag_name_filter: '*'}\nstorage: {root: ./lake}\n"
    )
    assert called("config", "validate", "-c", "plant.yaml").code == 0
    assert "which is not set" in called("plan", "-c", "plant.yaml").err


def test_commands_are_all_there():
    assert {path[0] for path in every_command() if path} == {
        "init", "run", "check", "plan", "tags", "af", "frames", "status", "report", "verify", "maintain", "views", "simulate", "config",
        "rebuild-watermarks",
    }  # fmt: skip


def test_without_a_command_help_is_shown_and_nothing_succeeds(called: Called):
    done = called()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err


def test_help_of_every_command_imports_nothing_heavy():
    """All in one process, which starts without them."""
    code = f"""
import sys
from engine.cli import main
for path in {every_command()}:
    assert main([*path, "--help"]) == 0
heavy = {{"config", "writers", "pyarrow", "aiohttp", "deltalake", "rich", "asyncio", "yaml", "pydantic", "numpy"}}
print(*heavy & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr == "\n"


def test_a_command_is_imported_on_first_use():
    code = "import sys, engine.cli; print(*(name for name in sys.modules if name.startswith('engine.commands.') and name.endswith('.main')))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_simulate_simulates(here: Path):
    with process("simulate", "--tags", "3", cwd=here) as run:
        assert run.stdout.readline().startswith("listening on http://127.0.0.1:")
        run.terminate()
        assert run.wait(HANGS_AFTER_SECS) == 0


def test_what_simulate_cannot_use_is_one_clear_line(here: Path):
    done = engine("simulate", "--interval", "-5s", cwd=here)
    assert (done.code, done.out, done.err) == (2, "", "error: --interval: The time span '-5s' is not valid.\n")


def test_the_version_is_told(called: Called):
    assert called("--version").out.startswith("osipi-connector ")


class SecretiveError(Exception):
    """Not one of ours; its text holds what must not be told."""


def fail(*_: object, **__: object) -> None:
    raise SecretiveError("password=hunter2")


def test_a_bug_is_admitted_in_one_line_without_its_text(called: Called, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("config.load", fail)
    done = called("status", "--json")
    assert done.code == done.json["exit_code"] == 70
    error, hint = done.err.splitlines()
    assert error.startswith("error: this is a bug: SecretiveError in tests/command_line/test_frame.py, line ")
    assert hint.startswith("hint: Please report it")
    assert "hunter2" not in done.out + done.err


def test_with_debug_a_traceback_comes_first(called: Called, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("config.load", fail)
    done = called("status", "--debug")
    assert done.code == 70
    assert done.err.startswith("Traceback (most recent call last):")
    assert "hunter2" in done.err, "whoever asks for it gets it all"
    assert done.err.splitlines()[-2].startswith("error: this is a bug")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (SystemExit(5), 5),
        (SystemExit("text"), 1),
        (BrokenPipeError(), 1),
        (ConfigurationError("x"), 2),
        (ValueError(), 70),
        (MemoryError(), 70),
    ],
)
def test_every_end_of_a_command_has_an_exit_code(error: BaseException, code: int):
    assert exit_status_of(error).exit_code == code


def test_an_error_is_one_json_object_where_json_was_asked_for(called: Called):
    done = called("run", "-c", "nowhere.yaml", "--json")
    assert done.json == {
        "status": "failed",
        "exit_code": 2,
        "error": {
            "message": "nowhere.yaml: cannot be read: No such file or directory",
            "hint": "give the path of a YAML file with -c",
        },
    }


def test_text_of_a_server_cannot_steer_the_terminal(called: Called, monkeypatch: pytest.MonkeyPatch):
    def hostile(*_: object, **__: object) -> None:
        raise ConfigurationError("tag \x1b[2J\x07gone\r", hint="[bold]no markup[/bold]")

    monkeypatch.setattr("config.load", hostile)
    assert called("status").err == "error: tag \ufffd[2J\ufffdgone\ufffd\nhint: [bold]no markup[/bold]\n"


def test_output_that_is_not_read_is_no_bug(here: Path):
    with process("config", "schema", cwd=here) as run:
        run.stdout.close()
        assert run.wait(HANGS_AFTER_SECS) == 1
        assert run.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [("config", "show"), ("status", "--json"), *slowly((("status",),))])
def test_output_that_finds_no_room_is_no_bug(here: Path, arguments: tuple[str, ...]):
    command = [sys.executable, "-m", "engine", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=here, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "error: the output cannot be written: No space left on device\n"
        "hint: Only the output is lost; the work of the command is done.\n"
    )


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="no shell that closes streams")
def test_a_run_goes_well_whose_streams_are_closed(here: Path, site: str):
    """And no file of the tables gets the number of one of them, to which libraries may print."""
    written(here, site)
    command = f"exec {shlex.quote(sys.executable)} -m engine run -c plant.yaml <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=here, env=environment(), check=False)
    assert done.returncode == 0
    assert DeltaTable(str(here / "lakehouse/main/bronze/pi_timeseries")).version() > 0


def test_signs_are_ascii_where_the_encoding_knows_no_more(here: Path):
    written(here)
    done = engine("status", "-c", "plant.yaml", cwd=here, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.code == 1, done.err
    assert done.out == "!! pipeline plant: it has never run; `run` begins\n"


@pytest.mark.parametrize("command", [("status",), ("config", "validate")], ids=" ".join)
def test_warnings_of_the_configuration_are_told_once(called: Called, here: Path, command: tuple[str, ...]):
    written(here, "http://127.0.0.1:9", performance={"spark_partitions": 200})
    done = called(*command, "-c", "plant.yaml")
    [line] = done.err.splitlines()
    assert "WARNING" in line
    assert "spark_partitions" in line


def test_show_prints_what_can_be_loaded_again_and_no_secret(called: Called, here: Path):
    login = {"auth_type": "basic", "username": "pi", "password": "hunter2"}
    written(here, "https://pi.example/piwebapi", pi_web_api=login)
    shown = called("config", "show", "-c", "plant.yaml", "--set", "extraction.lag=5s")
    assert "lag: 5s" in shown.out
    assert "hunter2" not in shown.out
    (here / "again.yaml").write_text(shown.out)
    assert (
        load(here / "again.yaml").config.extraction
        == load(here / "plant.yaml", ["extraction.lag=5s"]).config.extraction
    )


def test_only_overrides_that_cannot_hold_a_secret_are_repeated():
    given = (
        "storage.root=/x",
        "pi_web_api.password=hunter2",
        "storage.options.key=hunter2",
        "unity_catalog.catalog=dev",
    )
    assert options.table_options("plant.yaml", given) == (
        "-c", "plant.yaml", "--set", "storage.root=/x", "--set", "unity_catalog.catalog=dev",
    )  # fmt: skip


def test_schema_is_the_one_that_ships(called: Called):
    assert called("config", "schema").out == (REPOSITORY / "config" / "schema.json").read_text()


def test_validate_says_whether_a_run_could_start(called: Called, here: Path):
    written(here, "https://pi.example/piwebapi")
    assert called("config", "validate", "-c", "plant.yaml").out.startswith("plant.yaml is valid")
    assert called("config", "validate", "-c", "plant.yaml", "--set", "pi_web_api.auth_type=ntlm").code == 2


def test_a_foreign_config_module_in_the_working_directory_is_named(here: Path):
    (here / "config.py").write_text("raise SystemExit('this must not run')")
    done = engine("status", cwd=here)
    assert done.code == 2
    error, hint = done.err.splitlines()
    assert error == (
        f"error: Python finds the package `config` at {here / 'config.py'}, and that is not the one of osipi-connector"
    )
    assert "python -P -m engine" in hint


def test_packages_are_ours_here_and_another_distribution_that_claims_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert shadowed_package() is None
    assert claimed_package() is None
    info = tmp_path / "config-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: config\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("config\n")
    monkeypatch.syspath_prepend(tmp_path)
    misfit = claimed_package()
    assert misfit is not None
    assert misfit.sentence == "the distribution config also installs a package `config`"


def test_a_python_without_our_dependencies_is_told_so(here: Path):
    """`-S` takes the installed packages away, click among them."""
    command = [sys.executable, "-S", "-m", "engine", "run"]
    done = subprocess.run(command, check=False, cwd=here, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert error == f"error: the package `click` is missing in this Python, {sys.executable}"
    assert hint.startswith("hint: Use the Python that osipi-connector is installed in")


def test_a_module_that_is_missing_is_a_bug_only_if_it_is_ours():
    assert exit_status_of(ModuleNotFoundError(name="pyarrow.lib")).exit_code == 2
    assert exit_status_of(ModuleNotFoundError(name="engine.nonsense")).exit_code == 70


async def test_a_job_runs_where_a_loop_is_running_already(here: Path, site: str):
    """As in a notebook, where `asyncio.run` is not allowed."""
    assert asyncio.get_running_loop().is_running()
    report = run_job(load(written(here, site)).config, warnings=("seen",))
    assert (report.status, report.tags_extracted, report.warnings) == ("succeeded", 50, ("seen",))
    assert json.dumps(report.as_dict())


def test_main_returns_and_ends_nothing(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["config", "validate"]) == 0
    assert capsys.readouterr().out.startswith("the embedded default is valid")
