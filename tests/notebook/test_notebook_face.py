"""`PILakeflowConnector` as notebooks use it."""

from __future__ import annotations

import pytest

from config.errors import ConfigurationError
from osipi_connector import PILakeflowConnector, RunFailedError

PASSWORD = "pl4nted-p${ss}word"
GUIDE = {
    "pi_web_api_url": "https://pi.example/piwebapi",
    "pi_auth_type": "basic",
    "pi_username": "CORP\\svc_pi",
    "pi_password": PASSWORD,
    "catalog": "plant",
    "schema": "bronze_dev",
    "tags": ["SINUSOID", r"\\PISRV01\CDT158"],
}


def local(folder, **sections):
    return {
        "development": {"simulator": {"tags": 3, "history": "1h"}},
        "pi_auth_type": "anonymous",
        "storage_root": str(folder),
        "extraction": {"tag_name_filter": "*", "start_date": "now-1h"},
        **sections,
    }


def test_flat_keys_say_the_same_as_sections():
    connector = PILakeflowConnector(GUIDE)
    sections = PILakeflowConnector(
        {
            "pi_web_api": {
                "url": GUIDE["pi_web_api_url"],
                "username": GUIDE["pi_username"],
                "password": PASSWORD.replace("${", "$${"),
                "auth_type": "basic",
            },
            "unity_catalog": {"catalog": "plant", "schema": "bronze_dev"},
            "extraction": {"tags": GUIDE["tags"]},
        }
    )
    assert connector.config == sections.config
    assert connector.config.pi_web_api.password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(connector) + repr(connector.config)


def test_a_reference_in_a_flat_key_is_one():
    connector = PILakeflowConnector({**GUIDE, "pi_password": "${secret:pi-connector/pi_password}"})
    assert connector.config.pi_web_api.password.get_secret_value() == "${secret:pi-connector/pi_password}"


def test_the_users_dictionary_is_left_as_it_was():
    given = {**GUIDE, "extraction": {"lag": "5s"}}
    PILakeflowConnector(given)
    assert given == {**GUIDE, "extraction": {"lag": "5s"}}


def test_complaints_speak_the_users_words():
    with pytest.raises(ConfigurationError, match=r"pi_auth_type"):
        PILakeflowConnector({**GUIDE, "pi_auth_type": "psychic"})
    with pytest.raises(ConfigurationError, match=r"catalog stands beside unity_catalog\.catalog"):
        PILakeflowConnector({**GUIDE, "unity_catalog": {"catalog": "other"}})
    with pytest.raises(ConfigurationError, match="pi_web_api_ulr"):
        PILakeflowConnector({"pi_web_api_ulr": "https://pi"})


def test_what_is_not_read_yet_is_refused_by_its_flat_name(tmp_path):
    asked = {**local(tmp_path), "af_database_id": "F1RDatabase", "include_event_frames": True}
    with pytest.raises(ConfigurationError, match="include_event_frames"):
        PILakeflowConnector(asked).run()


def test_it_runs_and_the_report_is_worth_showing(tmp_path):
    report = PILakeflowConnector(local(tmp_path)).run(run_id="<7>")
    assert report.status == "succeeded"
    assert repr(report).startswith("RunReport(succeeded: run <7> of pipeline default, 3 of 3 tags")
    shown = report._repr_html_()
    assert "&lt;7&gt;" in shown
    assert "<7>" not in shown
    assert str(tmp_path) in shown
    report.raise_for_status()


async def test_it_runs_where_a_loop_runs_already(tmp_path):
    assert PILakeflowConnector(local(tmp_path)).run().status == "succeeded"


def test_a_path_and_shards_are_taken(tmp_path):
    (tmp_path / "plant.yaml").write_text(
        f"development: {{simulator: {{tags: 8}}}}\npi_web_api: {{auth_type: anonymous}}\n"
        f"extraction: {{tag_name_filter: '*', start_date: now-10m}}\nstorage: {{root: '{tmp_path}/lake'}}\n"
    )
    halves = [PILakeflowConnector(tmp_path / "plant.yaml").run(shard=f"{i}/2") for i in range(2)]
    assert sum(half.tags_requested for half in halves) == 8


def test_failed_tags_are_in_the_report_and_raise_only_on_request(tmp_path):
    extraction = {"tags": ["NOTHING<b>"], "tag_name_filter": "*", "start_date": "now-10m"}
    report = PILakeflowConnector(local(tmp_path, extraction=extraction)).run()
    assert report.status == "incomplete"
    assert "NOTHING&lt;b&gt;" in report._repr_html_()
    with pytest.raises(RunFailedError, match=r"1 tag failed: .*NOTHING"):
        report.raise_for_status()


def test_the_guides_cell_works_in_a_kernel_and_displays(kernel, tmp_path):
    answer = kernel.run(
        "from osipi_connector import PILakeflowConnector\n"
        f"connector = PILakeflowConnector({local(tmp_path / 'lake')!r})\n"
        "connector.run()"
    )
    assert answer.status == "ok", answer
    assert "<table>" in answer.displayed[-1]["text/html"]
    assert "RunReport(succeeded" in answer.displayed[-1]["text/plain"]
