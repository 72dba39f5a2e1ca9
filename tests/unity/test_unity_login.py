"""Logging in through the Databricks SDK, and tables that several make at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread

import pytest

from config.errors import AuthenticationError
from engine.datasets.registry import DATASETS
from tests.unity.stand_in import TOKEN, StandIn
from writers import PI_TIMESERIES, Lakehouse
from writers.unity import open_unity
from writers.unity.transport import Transport


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nobody is logged in on this machine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HOST", "TOKEN", "CLIENT_ID", "CLIENT_SECRET", "CONFIG_FILE", "CONFIG_PROFILE", "AUTH_TYPE"):
        monkeypatch.delenv(f"DATABRICKS_{name}", raising=False)
    return monkeypatch


def test_the_sdk_finds_out_who_we_are(catalog: StandIn, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("DATABRICKS_HOST", catalog.host)
    bare.setenv("DATABRICKS_TOKEN", TOKEN)
    assert open_unity().table(PI_TIMESERIES).open().exists()


def test_a_profile_is_a_way_in(catalog: StandIn, bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".databrickscfg").write_text(f"[DEFAULT]\nhost = {catalog.host}\ntoken = {TOKEN}\n")
    assert open_unity().table(PI_TIMESERIES).open().exists()


def test_a_proxy_of_the_environment_is_gone_through(catalog: StandIn, bare: pytest.MonkeyPatch) -> None:
    """As the Databricks SDK itself does, and delta-rs: behind a company's proxy nothing else leads to a workspace."""
    bare.setenv("HTTP_PROXY", catalog.host)
    bare.setenv("DATABRICKS_HOST", "http://workspace.invalid")
    bare.setenv("DATABRICKS_TOKEN", TOKEN)
    assert open_unity().table(PI_TIMESERIES).open().exists()


def test_a_login_of_netrc_does_not_take_the_place_of_ours(
    catalog: StandIn, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    bare.setenv("DATABRICKS_HOST", catalog.host)
    bare.setenv("DATABRICKS_TOKEN", TOKEN)
    assert open_unity().table(PI_TIMESERIES).open().exists()


def test_without_credentials_it_is_said_what_to_set(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuthenticationError, match="no credentials") as refused:
        open_unity()
    assert "DATABRICKS_TOKEN" in refused.value.hint


@pytest.mark.parametrize("kind", ["managed", "external"])
def test_several_may_make_the_tables_at_once(catalog: StandIn, opened: Callable[..., Lakehouse], kind: str) -> None:
    together, failures = Barrier(4), []

    def make() -> None:
        lakehouse = opened(kind)
        together.wait()
        try:
            for spec in DATASETS.tables:
                lakehouse.table(spec).open()
        except BaseException as error:  # noqa: BLE001  the test asserts that there is none
            failures.append(error)

    threads = [Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(catalog.tables) == len(DATASETS.tables)
    assert {table.kind for table in catalog.tables.values()} == {kind.upper()}


def test_what_an_answer_says_of_the_server_holds_from_then_on(catalog: StandIn) -> None:
    transport = Transport(catalog.host, lambda: {"Authorization": f"Bearer {TOKEN}"})
    seen = []
    for catalog.databricks in (False, True, False):
        seen.append((transport.get("catalogs").databricks, transport.databricks))
    assert seen == [(False, False), (True, True), (True, True)]
