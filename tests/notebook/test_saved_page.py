"""A notebook that is run from top to end and saved as a page: what a person finds on it a year later."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.patience import HANGS_AFTER_SECS

# The guide's way to be told of a failure.
ALERT = """
try:
    PILakeflowConnector({**config, "storage_root": config["storage_root"] + "2", "tags": ["NOTHING"]}).run()
except Exception as e:
    print(f"Connector failed: {str(e)}")
    raise
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory, installed) -> tuple[nbformat.NotebookNode, str]:
    folder: Path = tmp_path_factory.mktemp("page")
    config = {
        "development": {"simulator": {"tags": 300, "history": "1h"}},
        "pi_auth_type": "anonymous",
        "storage_root": str(folder / "lake"),
        "tag_name_filter": "*",
        "start_date": "now-1h",
        "monitoring": {"log_level": "info"},
    }
    cells = [
        f"from osipi_connector import PILakeflowConnector\nconfig = {config!r}",
        "connector = PILakeflowConnector(config)\nconnector.run()",
        "connector.check()",
        "connector.plan()",
        "connector.status()",
        "connector.verify()",
        "PILakeflowConnector({**config, 'pi_auth_type': 'psychic'})",
        ALERT,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    environment = {"PYTHONPATH": str(installed), "IPYTHONDIR": str(folder / "ipython")}
    client = NotebookClient(notebook, kernel_name="python3", allow_errors=True, timeout=HANGS_AFTER_SECS)
    client.execute(cwd=str(folder), env={**_kept(), **environment})
    from nbconvert import HTMLExporter  # a second, which only the worker takes that makes the page

    html, _ = HTMLExporter().from_notebook_node(notebook)
    return notebook, html


def _kept() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("DATABRICKS", "PYTHON"))}


def outputs(page, cell: int) -> list[nbformat.NotebookNode]:
    return page[0].cells[cell].outputs


def test_progress_is_one_bar_that_is_full_at_the_end(page):
    bar, report = outputs(page, 1)
    assert bar.output_type == "display_data"
    assert bar.data["text/plain"].startswith("100 %  succeeded: ")
    assert 'value="1.0000"' in bar.data["text/html"]
    assert "<table>" in report.data["text/html"]
    assert page[1].count("<progress") == 1


def test_checks_plan_status_and_comparison_show_themselves(page):
    said = (
        "\u2713 login",
        "The next run of pipeline default would ask",
        "all of 300 tags read",
        "PI and the table agree on",
    )
    for cell, text in enumerate(said, start=2):
        [shown] = outputs(page, cell)
        assert text in shown.data["text/plain"]
        assert shown.data["text/html"].startswith("<pre")
        assert "\x1b" not in shown.data["text/plain"] + shown.data["text/html"]


def test_an_error_is_its_sentence_and_what_to_do(page):
    [error] = outputs(page, 6)
    assert error.traceback == [f"InvalidConfigurationError: {error.evalue.rpartition(' (')[0]}", error.traceback[1]]
    assert "`pi_auth_type`" in error.evalue
    assert error.traceback[1].startswith("what to do: ")


def test_a_run_with_failed_tags_reaches_the_guides_alert(page):
    bar, printed, error = outputs(page, 7)
    assert bar.data["text/plain"].startswith("incomplete: ")
    assert re.fullmatch(
        r"Connector failed: run \w+ of pipeline default is incomplete: 1 tag failed: .*NOTHING.*\n", printed.text
    )
    assert error.ename == "RunFailedError"
    assert len(error.traceback) == 2


def test_no_stack_trace_is_on_the_page(page):
    text = re.sub(r"<[^>]+>", "", page[1])
    assert "Traceback" not in text
    assert "site-packages" not in text.split("</style>")[-1]
