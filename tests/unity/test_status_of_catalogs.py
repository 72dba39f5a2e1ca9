"""What `status` and `report` say of tables in a catalog: its recent runs are read as those of a folder are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli import main
from tests.unity.stand_in import TOKEN, StandIn
from tests.variants import slowly


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    main(arguments)
    said = capsys.readouterr()
    assert said.out, said.err
    return json.loads(said.out)


@pytest.mark.parametrize(
    ("kind", "metrics"), [("managed", True), *slowly(("managed", False), ("external", True), ("external", False))]
)
def test_recent_runs_show_with_their_events(
    catalog: StandIn,
    kind: str,
    metrics: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", catalog.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    where = {"table_type": kind} | ({"location": f"file://{tmp_path}/external"} if kind == "external" else {})
    document = {
        "pipeline": "plant",
        "development": {"simulator": {"tags": 5, "history": "1h"}},
        "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 100_000},
        "extraction": {"tag_name_filter": "*", "start_date": "now-30m"},
        "unity_catalog": {"catalog": "plant", **where},
        "monitoring": {"metrics": metrics},
    }
    Path("plant.yaml").write_text(json.dumps(document))
    never = told(capsys, "status", "-c", "plant.yaml", "--json")
    assert never["problems"] == ["it has never run; `run` begins"]
    reports = [told(capsys, "run", "-c", "plant.yaml", "--json") for _ in range(2)]
    assert reports[0]["records_written"] > 0
    found = told(capsys, "status", "-c", "plant.yaml", "--json")
    assert (found["well"], found["problems"]) == (True, [])
    by_run = {run["run_id"]: run for run in found["runs"]}
    assert {report["run_id"]: report["records_written"] for report in reports} == {
        run_id: run["events"] for run_id, run in by_run.items()
    }
    assert {run["status"] for run in found["runs"]} == ({"succeeded"} if metrics else {""})
    assert main(["report", "-c", "plant.yaml", "--html", "report.html"]) == 0
    page = Path("report.html").read_text()
    assert all(f"<td>{run_id}</td>" in page for run_id in by_run)
    assert "plant.bronze, as of " in page
    assert not list(tmp_path.glob("plant.*/")), "names of the catalog were taken for folders"
