"""Whatever a server or a configuration puts into a name or a message: no character of it steers a terminal, no line of
it is forged, no markup of it counts. The tables hold it exactly.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import config.text
from config.errors import ExtractError
from config.text import sql_name, sql_quoted, sql_string
from engine.commands.check.grants import AccountRights, Securable, missing_grants
from engine.task import TaskFailedError
from engine.telemetry import formats
from engine.telemetry.console import PrintableConsole
from engine.telemetry.formats import json_text
from engine.telemetry.log import set_up_logging
from tests.command_line.conftest import NOW, Called, simulated, written
from tests.exactness.reading import read_table
from tests.variants import slowly

EVIL = "\n2024-03-05T00:00:00Z ERROR forged\r\x1b[2J\x1b]0;t\x07\x9b31m\x7f\u202e\u200b\u2066\u2028[red]m[/red]<script>"
# What rich itself sends to a terminal: styles, moves of the cursor, whether it shows.
OF_RICH = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*A|2K)|\r(?=\x1b\[|$)")
texts = st.text(st.characters() | st.sampled_from(EVIL) | st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]))


def assert_clean(output: str) -> None:
    rest = OF_RICH.sub("", output).replace("\r", "") if "\x1b[" in output else output
    for line in rest.split("\n"):
        assert line.isprintable(), repr(line)
        assert not line.startswith("2024-03-05T00:00:00Z ERROR forged")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with names and messages of the worst kind."""
    plan = {
        "edits": [
            {"action": "rename", "tag": 0, "name": f"A{EVIL}"},
            {"action": "rename", "tag": 1, "name": f"B{EVIL}"},
            {"action": "rename_state", "digital_set": "Mode", "code": 1, "name": f"S{EVIL}"},
        ],
        "asset_edits": [
            {"action": "create_element", "name": f"E{EVIL}", "description": EVIL},
            {"action": "create_frame", "name": f"F{EVIL}", "start": "2024-03-05T11:10:00Z", "description": EVIL},
        ],
        "rules": [
            {"match": {"route": "*recorded", "tag": f"B{EVIL}"}, "do": {"status": 500, "body": {"Errors": [EVIL]}}},
        ],
    }
    file = tmp_path_factory.mktemp("hostile") / "faults.yaml"
    file.write_text(json.dumps(plan))
    with simulated("--tags", "8", "--elements", "9", "--now", NOW, "--faults", str(file)) as url:
        yield url


WINDOW = ("--start", "2024-03-05T11:00:00Z", "--end", "2024-03-05T12:00:00Z")
OPTIONS = ("-c", "plant.yaml")
COMMANDS = [
    ("tags",), ("plan",), ("check",), ("run", "--debug"), ("status", "--gaps"), ("verify",), ("af", "databases"),
    ("af", "elements"), ("frames", *WINDOW), ("views", "show"), ("config", "show"), ("tags", "--json"),
    ("run", "--json"), ("status", "--json"), ("verify", "--json"), ("af", "elements", "--json"),
    ("af", "elements", "--csv"), ("frames", *WINDOW, "--csv"), ("plan", "--json"), ("maintain",),
    ("report", "--html", "-"), ("rebuild-watermarks", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("terminal", "log_format"), [(False, "text"), (True, "text"), *slowly((False, "json"), (True, "json"))]
)
def test_no_command_shows_a_name_or_message_raw(
    called: Called, here: Path, hostile: str, monkeypatch: pytest.MonkeyPatch, terminal: bool, log_format: str
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    assets = {"asset_framework": {"enabled": True, "database": "Plant"}, "event_frames": {"enabled": True}}
    written(here, hostile, monitoring={"log_format": log_format}, **assets)
    shown = ""
    for name, *options in COMMANDS:
        done = called(name, *options, *OPTIONS)
        assert done.code in {0, 1}, (name, *options, done.err)
        assert_clean(done.out)
        assert_clean(done.err)
        if "--json" in options:
            json.loads(done.out)
        shown += done.out + done.err
    assert shown.count("forged") > 10, "they were shown"
    bronze = here / "lakehouse/main/bronze"
    assert {f"A{EVIL}", f"B{EVIL}"} <= set(read_table(bronze / "pi_tags")["name"].to_pylist())
    assert f"E{EVIL}" in read_table(bronze / "pi_asset_hierarchy")["element_name"].to_pylist()
    metrics = read_table(here / "lakehouse/main/monitoring/pi_connector_metrics")["error"].to_pylist()
    assert all(error is None or error.isprintable() for error in metrics)
    assert any(metrics)


@given(texts)
def test_both_rules_replace_the_same_and_keep_the_length(text: str) -> None:
    line = config.text.one_line(text)
    assert line == formats.one_line(text)
    assert line.isprintable()
    assert len(line) == len(text)
    assert line == text or not text.isprintable()
    line.encode()


@given(texts, texts)
def test_an_error_is_one_line_and_so_is_what_a_task_raises(message: str, hint: str) -> None:
    error = ExtractError(message, hint=hint)
    assert str(error).isprintable()
    assert error.hint.isprintable()
    assert all(line.isprintable() for line in str(TaskFailedError(f"{message} ({hint})", 1)).split("\n"))


@given(st.recursive(texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=5))
def test_json_is_printable_and_means_the_same(content: object) -> None:
    for indent in (None, 2):
        text = json_text(content, indent=indent)
        assert all(line.isprintable() for line in text.split("\n"))
        assert json.loads(text) == content


@given(texts)
@pytest.mark.parametrize("terminal", [False, True])
def test_the_console_prints_a_line_for_a_line(terminal: bool, text: str) -> None:
    table = Table(text)
    table.add_row(Text(text), text)
    for shown in (text, Text(text, style="bold"), table, Panel(Text(text), title=Text(text))):
        out = io.StringIO()
        console = PrintableConsole(file=out, force_terminal=terminal, markup=False, width=100, force_jupyter=False)
        console.print(shown, soft_wrap=isinstance(shown, str | Text))
        assert_clean(out.getvalue())
        if isinstance(shown, str | Text):
            assert out.getvalue().count("\n") == 1


@given(texts)
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_record_is_a_line_of_the_log(terminal: bool, as_json: bool, text: str) -> None:
    logger, out = logging.getLogger("osipi"), io.StringIO()
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        set_up_logging(
            PrintableConsole(file=out, force_terminal=terminal, width=10_000), level="debug", as_json=as_json
        )
        logging.getLogger("osipi.run").warning("tag %s: %s", text, "why")
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    assert_clean(out.getvalue())
    assert out.getvalue().count("\n") == 1
    if as_json:
        assert json.loads(out.getvalue())["message"] == f"tag {text}: why"


def test_a_traceback_of_debug_is_printable(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(*_: object) -> None:
        raise RuntimeError(f"foreign {EVIL}")

    monkeypatch.setattr("config.load", hostile)
    done = called("status", "--debug")
    assert "Traceback" in done.err
    assert all(line.isprintable() for line in done.err.split("\n"))


@given(texts, texts)
def test_no_name_ends_its_quotes_in_sql(name: str, other: str) -> None:
    inner = sql_quoted(name)[1:-1]
    assert "`" not in inner.replace("``", "")
    assert inner.isprintable()
    assert re.fullmatch(r"'(?:[^'\\]|\\['\\])*'", sql_string(name))
    for part in sql_name(name, other), sql_name(name):
        assert re.fullmatch(r"(?:[A-Za-z_]\w*|`(?:[^`]|``)*`)(?:\.(?:[A-Za-z_]\w*|`(?:[^`]|``)*`))*", part, re.ASCII)


def test_a_hostile_principal_gets_no_more_than_is_asked_for() -> None:
    principal = "eve`; GRANT ALL PRIVILEGES ON CATALOG main TO `eve"
    wanted = {Securable("EXTERNAL LOCATION", "a.b`c"): ("EXTERNAL USE LOCATION",)}
    [statement] = missing_grants(wanted, {one: AccountRights() for one in wanted}, principal)
    assert statement == (
        "GRANT EXTERNAL USE LOCATION ON EXTERNAL LOCATION `a.b``c` TO "
        "`eve``; GRANT ALL PRIVILEGES ON CATALOG main TO ``eve`;"
    )


def test_views_at_a_path_with_quotes_stay_one_statement(called: Called, here: Path) -> None:
    written(here, "http://127.0.0.1:9/piwebapi", storage={"root": "/data/a`b'c\x1b"})
    done = called("views", "show", "-c", "plant.yaml")
    assert done.code == 0, done.err
    assert "delta.`/data/a``b'c\N{REPLACEMENT CHARACTER}/main/bronze/" in done.out
    assert_clean(done.out)
