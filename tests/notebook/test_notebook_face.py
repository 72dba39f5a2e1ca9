"""`PILakeflowConnector` as notebooks use it."""

from __future__ import annotations

import pytest

from config.errors import ConfigurationError
from osipi_connector import PILakeflowConnector, RunFailedError, RunReport
from writers import CorrectionCounts

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


def test_event_frames_are_asked_for_by_their_flat_names():
    asked = {**GUIDE, "af_database_id": "F1RDatabase", "include_event_frames": True}
    connector = PILakeflowConnector(asked)
    assert (connector.config.asset_framework.database, connector.config.event_frames.enabled) == ("F1RDatabase", True)


def test_an_af_database_that_is_named_is_read(tmp_path):
    asked = local(tmp_path, development={"simulator": {"tags": 3, "history": "1h", "elements": 12}})
    report = PILakeflowConnector({**asked, "af_database_id": "Plant"}).run()
    assert report.status == "succeeded"
    assert "pi_asset_hierarchy" in report.tables
    settings = PILakeflowConnector({**asked, "af_database_id": "Plant", "asset_framework": {"enabled": False}})
    assert settings.config.asset_framework.enabled is False


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


def test_failed_tags_raise_unless_asked_not_to_and_the_report_names_them(tmp_path):
    extraction = {"tags": ["NOTHING<b>"], "tag_name_filter": "*", "start_date": "now-10m"}
    connector = PILakeflowConnector(local(tmp_path, extraction=extraction))
    with pytest.raises(RunFailedError, match=r"1 tag failed: .*NOTHING.*raise_on_failure=False") as caught:
        connector.run()
    assert caught.value.report.tags_extracted == 3
    report = connector.run(raise_on_failure=False)
    assert report.status == "incomplete"
    assert "NOTHING&lt;b&gt;" in report._repr_html_()
    with pytest.raises(RunFailedError, match=r"1 tag failed: .*NOTHING"):
        report.raise_for_status()


def test_every_flat_key_of_the_guide_is_taken():
    """The dictionary of the deployment guide; its tags come out of one secret."""
    guide = {**GUIDE, "tags": [" SINUSOID", " CDT158", ""], "af_database_id": "F1RD", "include_event_frames": True}
    connector = PILakeflowConnector(guide)
    assert connector.config.extraction.tags == ("SINUSOID", "CDT158")
    assert connector.config.event_frames.enabled
    oauth = {"pi_web_api_url": "https://pi.example/piwebapi", "pi_auth_type": "oauth", "oauth_token": "t${x}"}
    connector = PILakeflowConnector({**oauth, "tag_name_filter": "*", "catalog": "c", "schema": "s"})
    assert connector.config.pi_web_api.token.get_secret_value() == "t${x}"
    assert connector.config.extraction.tag_name_filter == ("*",)


def test_an_error_names_the_flat_key_that_was_written():
    with pytest.raises(ConfigurationError, match=r"`oauth_token`"):
        PILakeflowConnector({**GUIDE, "oauth_token": 7})
    with pytest.raises(ConfigurationError, match=r"`pi_token`"):
        PILakeflowConnector({**GUIDE, "pi_token": 7})


def test_the_text_of_an_error_holds_what_to_do_and_ipython_gets_no_stack_trace(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        PILakeflowConnector({"pi_auth_type": "basic", "pi_web_api_url": "https://pi/piwebapi"}).run()
    assert str(caught.value) == f"{caught.value.message} ({caught.value.hint})"
    assert caught.value.hint in str(caught.value)
    sentence, hint = caught.value._render_traceback_()
    assert sentence == f"InvalidConfigurationError: {caught.value.message}"
    assert hint == f"what to do: {caught.value.hint}"
    assert caught.value.__suppress_context__
    with pytest.raises(ConfigurationError, match="expected a time"):
        PILakeflowConnector(local(tmp_path)).verify(start="soon")
    with pytest.raises(ConfigurationError, match="repair=True"):
        PILakeflowConnector(local(tmp_path)).verify(deep=True)


async def test_checking_planning_looking_and_comparing_work_where_a_loop_runs(tmp_path):
    connector = PILakeflowConnector(local(tmp_path, development={"simulator": {"tags": 3, "history": "1d"}}))
    assert not connector.status().well
    with pytest.raises(RunFailedError, match="status: pipeline default"):
        connector.status().raise_for_status()
    checked = connector.check()
    assert checked.well
    assert "pi_connector_metrics" in repr(checked)
    assert {one["name"] for one in checked.as_dict()["checks"]} >= {"login", "tags", "writing"}
    planned = connector.plan()
    assert planned.found.tags_to_read == planned.as_dict()["tags_to_read"] == 3
    assert "The next run of pipeline default would ask" in repr(planned)
    report = connector.run()
    assert {"pi_connector_metrics", "pi_watermarks"} < set(report.tables)
    shown = connector.status()
    assert shown.well
    assert report.run_id in repr(shown)
    assert shown.as_dict()["tags"] == 3
    compared = connector.verify(start="now-30d")
    assert compared.well
    assert "agree on" in repr(compared)
    assert compared.as_dict()["exit_code"] == 0
    for one in (checked, planned, shown, compared):
        assert "\x1b" not in repr(one) + one._repr_html_()
        assert one._repr_html_().startswith("<pre")


def test_what_a_source_named_is_escaped_in_html(tmp_path):
    asked = local(tmp_path, extraction={"tags": ["<script>"], "start_date": "now-1h"})
    checked = PILakeflowConnector(asked).check()
    assert not checked.well
    assert "<script>" in repr(checked)
    assert "<script>" not in checked._repr_html_()


def test_the_report_shows_separators_seconds_and_stages():
    tags = RunReport(
        "r", "p", "0-of-1", "succeeded", 30_000, 30_000, (), 0, 1_234_567, 1_234_567, 30_000, 1, 1, 10, 1, 0, 0, 10, 61.4,
        {"fetch": 50.2, "decode": 0.001}, 10, "2024-01-01T00:00:00.000000Z", {"pi_tags": "/x"},
        corrections=CorrectionCounts(1_200, 3, 4, 2),
    )  # fmt: skip
    for text in (str(tags), tags._repr_html_()):
        assert "1,234,567 written in 1 min 1 s" in text
        assert "1,200 inserted, 3 changed, 4 deleted" in text
        assert "fetch 50 s" in text
        assert "decode 0" not in text


def test_the_guides_cell_works_in_a_kernel_and_displays(kernel, tmp_path):
    answer = kernel.run(
        "from osipi_connector import PILakeflowConnector\n"
        f"connector = PILakeflowConnector({local(tmp_path / 'lake')!r})\n"
        "connector.run()"
    )
    assert answer.status == "ok", answer
    assert "<table>" in answer.displayed[-1]["text/html"]
    assert "RunReport(succeeded" in answer.displayed[-1]["text/plain"]
